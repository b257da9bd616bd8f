// The subcommand `topkd verify`: counts a topic again, from where its books begin, with code of its own, and compares every
// row, every book and every dead letter. May run while the ingest goes on: what is stored is read in one snapshot, and the
// log is read up to that snapshot's offsets.
#pragma once

#include <CLI/App.hpp>

namespace topkd {

/// Adds the subcommand to `app`; running it prints the differences and a closing line to standard output, and sets
/// `exit_code`: 0 equal, 1 differences, or something could not be recounted, 2 usage.
void register_verify(CLI::App& app, int& exit_code);

}  // namespace topkd
