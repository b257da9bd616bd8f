// The subcommand `topkd serve`: lists over HTTP, as JSON and as streams, a live page, health and metrics.
#pragma once

#include <CLI/App.hpp>

namespace topkd {

/// Adds the subcommand; its exit code goes to `exit_code` when it has run.
void register_serve(CLI::App& app, int& exit_code);

}  // namespace topkd
