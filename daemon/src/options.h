// How options are read, alike for every subcommand: units ("500ms", "512MiB"), the precedence
// flag > environment > configuration file > default, and the effective configuration with secrets masked.
// A subcommand only declares its options on its CLI::App; prepare_subcommands and merged_arguments do the rest,
// so every option is an environment variable TOPKD_<OPTION> and a key of the file without further code.
#pragma once

#include <CLI/App.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace topkd {

/// "500ms", "30s", "5m"/"5min", "2h", "1d", "250us" is refused (below a millisecond). A bare 0 is 0 ms.
tl::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text);

/// "512MiB", "64KiB", "1GiB", "100MB", "4096" (bytes). Binary and decimal units, no fractions.
tl::expected<std::uint64_t, std::string> parse_size(std::string_view text);

std::string format_duration(std::chrono::milliseconds duration);
std::string format_size(std::uint64_t bytes);

/// Options with a unit; a value that does not parse is a usage error. `value`'s present content is the default shown.
CLI::Option* add_duration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value, const std::string& help);
CLI::Option* add_size(CLI::App& app, const std::string& name, std::uint64_t& value, const std::string& help);

/// Adds --config and --log-level to every subcommand and lets the last value of a single-valued option win.
/// Call once, after all subcommands have registered.
void prepare_subcommands(CLI::App& app);

using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The arguments to parse: subcommand, then what the configuration file says, then the environment, then `arguments`
/// (without the program's name) themselves, so that the last one wins. A repeatable option (--kafka) accumulates; its
/// environment variable holds one value a line. Fails with a usage message on an unreadable file or an unknown key.
/// A file's keys are option names without dashes, at the top (for every subcommand that has them) or in [subcommand].
tl::expected<std::vector<std::string>, std::string> merged_arguments(const CLI::App& app, const std::vector<std::string>& arguments,
                                                                     const Environment& environment);

/// One "name=value" per option of a parsed subcommand, defaults included, secrets masked.
std::string effective_configuration(const CLI::App& subcommand);

/// Replaces passwords by "***": in URIs (user:password@, ?password=), in conninfo strings (password=…,
/// sslpassword=…), and the values of properties whose name speaks of a password, secret, key or token.
std::string mask_secrets(std::string_view text);

}  // namespace topkd
