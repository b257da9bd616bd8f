// The subcommand `topkd produce`: a synthetic producer of view events, repeatable by seed (synthetic.h says what it sends).
// Idempotent, acks from all replicas; keyed by video. A record that could not be delivered makes it fail.
#pragma once

#include <CLI/App.hpp>

namespace topkd {

/// Adds the subcommand to `app`; running it blocks until the count is reached or SIGTERM or SIGINT comes, prints how many
/// records were delivered to standard output, and sets `exit_code`.
void register_produce(CLI::App& app, int& exit_code);

}  // namespace topkd
