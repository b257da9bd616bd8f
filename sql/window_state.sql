-- topk.window_state: the window of topk()'s same arguments, sealed or not, its revision, the least watermark; of one snapshot with the list.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = notice;
SELECT topk.create_counter('state', time_zone => 'Europe/Berlin');
CREATE FUNCTION state(span text, at timestamptz) RETURNS TABLE (window_start timestamptz, window_end timestamptz, sealed boolean, revision bigint, watermark timestamptz) LANGUAGE sql AS
    $$ SELECT window_start, window_end, sealed, revision, watermark FROM topk.window_state(span, at, 'state') $$;
-- No partition yet: nothing is known of the watermark. The counter's zone has the days; one of them has 25 hours.
SELECT * FROM state('hour', '2020-01-31 21:30Z');
SELECT span, s.window_start, s.window_end, s.sealed, s.revision FROM unnest('{hour,day,month,all_time,24 hours,"25 hours"}'::text[]) span, state(span, '2020-10-25 22:59:59.999999Z') s;
SELECT counter_created_at = (SELECT created_at FROM topk.counter WHERE name = 'state') AS made FROM topk.window_state('day', counter => 'state');
SELECT window_start <= now() AND window_end > now() AS is_now FROM topk.window_state('hour', NULL, 'state');

-- The least watermark of all partitions; one that was never claimed is at -infinity.
SELECT partition FROM topk.claim('state', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{100,100}');
SELECT topk.flush('state', 'events', t.deltas(t.hour('2020-01-31 21:00Z', t.entry('a', 1)), t.hour('2020-01-31 22:00Z', t.entry('a', 2))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, '2020-02-01 23:30Z')]);
SELECT watermark FROM state('hour', '2020-01-31 21:30Z');
SELECT topk.flush('state', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(1, 1, 0, 10, '2020-01-31 23:01Z')]);
CALL topk.seal('state');
SELECT span, s.* FROM unnest('{hour,day,month,all_time,2 hours}'::text[]) span, state(span, '2020-01-31 22:30Z') s;

-- A correction raises the revision of the hour, its day and month, and of every range of hours that it is in.
SELECT topk.correct('state', '2020-01-31 21:00Z', 'a', 5, 'counted too little');
SELECT topk.correct('state', '2020-01-31 22:00Z', 'a', 5, 'counted too little');
SELECT topk.correct('state', '2020-01-31 22:00Z', 'a', -1, 'counted too much');
SELECT span, s.revision, s.revision IS NOT DISTINCT FROM (SELECT w.revision FROM topk.time_window w WHERE w.counter = 'state' AND w.span = spans.span AND w.window_start = s.window_start) AS as_in_time_window
    FROM unnest('{hour,day,month,1 hour,2 hours,3 hours,all_time}'::text[]) spans (span), state(span, '2020-01-31 22:30Z') s;

-- What it refuses, and whom
SELECT t.error($$SELECT topk.window_state('fortnight', now(), 'state')$$);
SELECT t.error($$SELECT topk.window_state(NULL, now(), 'state')$$);
SELECT t.error($$SELECT topk.window_state('1.5 hours', now(), 'state')$$);
SELECT t.error($$SELECT topk.window_state('hour', 'infinity', 'state')$$);
SELECT t.error($$SELECT topk.window_state('hour', now(), 'nobody')$$);
CREATE ROLE regress_topk_stranger;
SET ROLE regress_topk_stranger;
SELECT t.error($$SELECT topk.window_state('hour', now(), 'state')$$);
RESET ROLE;
SELECT topk.grant_access('regress_topk_stranger', 'read', 'state');
SET ROLE regress_topk_stranger;
SELECT t.error($$SELECT topk.window_state('hour', now(), 'state')$$);
SET default_transaction_read_only = on;
SELECT s.revision, t.views FROM topk.window_state('hour', '2020-01-31 22:30Z', 'state') s, topk.top('hour', 1, '2020-01-31 22:30Z', 'state') t;
RESET default_transaction_read_only;
RESET ROLE;
SELECT topk.revoke_access('regress_topk_stranger', 'read', 'state');
SELECT topk.drop_counter('state');
DROP ROLE regress_topk_stranger;
DROP FUNCTION state;
