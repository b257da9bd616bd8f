// How old things may become, as SQL that the statements of expiry and of leaderboards share. c is the counter's registry row.
#pragma once

/// What a retention (an interval column) reaches back to: from now, or from the frontier where event time is behind. An interval lasts
/// as long as its epoch says, whatever the session's time zone.
#define TOPK_KEPT_FROM(retention) "(least(now(), c.sealed_through) - make_interval(secs => extract(epoch FROM c." retention ")::float8))"
