// Logging to standard error, one line an event, UTC times; spdlog does the work. Standard output belongs to results.
#pragma once

#include <string>

namespace topkd {

/// Installs the logger; call first. Every line from info up is flushed at once.
void initialise_log();

/// trace, debug, info, warning, error; anything else is refused with false.
bool set_log_level(const std::string& level);

}  // namespace topkd
