// The subcommand `topkd ingest`: options, start-up checks, and the wiring of source, sink and pipeline.
#pragma once

#include <CLI/App.hpp>

namespace topkd {

/// Adds the subcommand to `app`; running it blocks until the end of the ingest and sets `exit_code`.
void register_ingest(CLI::App& app, int& exit_code);

}  // namespace topkd
