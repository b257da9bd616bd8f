#include "options.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <sstream>

#include "log.h"

namespace topkd {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::array kDurationUnits{Unit{"ms", 1},     Unit{"s", 1'000},     Unit{"min", 60'000},
                                    Unit{"m", 60'000}, Unit{"h", 3'600'000}, Unit{"d", 86'400'000}};
constexpr std::array kSizeUnits{Unit{"", 1},
                                Unit{"B", 1},
                                Unit{"KiB", 1ull << 10},
                                Unit{"MiB", 1ull << 20},
                                Unit{"GiB", 1ull << 30},
                                Unit{"TiB", 1ull << 40},
                                Unit{"kB", 1'000},
                                Unit{"KB", 1'000},
                                Unit{"MB", 1'000'000},
                                Unit{"GB", 1'000'000'000}};

/// A whole number and its unit; nothing when either is not known or the product overflows int64.
template <std::size_t N>
std::optional<std::uint64_t> parse_with_unit(std::string_view text, const std::array<Unit, N>& units) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
    for (const Unit& known : units) {
        if (known.name == unit) {
            std::uint64_t product = 0;
            if (__builtin_mul_overflow(number, known.factor, &product) || product > INT64_MAX) {
                return std::nullopt;
            }
            return product;
        }
    }
    return number == 0 && unit.empty() ? std::optional<std::uint64_t>(0) : std::nullopt;
}

std::string environment_name(const std::string& option) {
    std::string name = "TOPKD_" + option;
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
    return name;
}

/// The options that may come from the environment and the file: those with a long name, but not help or the file itself.
std::vector<const CLI::Option*> configurable(const CLI::App& subcommand) {
    std::vector<const CLI::Option*> options = subcommand.get_options();
    std::erase_if(options, [](const CLI::Option* option) {
        return option->get_lnames().empty() || option->get_lnames().front() == "help" || option->get_lnames().front() == "config";
    });
    return options;
}

const CLI::Option* find_option(const CLI::App& subcommand, const std::string& name) {
    for (const CLI::Option* option : configurable(subcommand)) {
        if (option->get_lnames().front() == name) {
            return option;
        }
    }
    return nullptr;
}

/// --config's value among the arguments or in the environment, without a full parse: the file must be read before it.
std::optional<std::string> config_path(const std::vector<std::string>& arguments, const Environment& environment) {
    std::optional<std::string> path = environment("TOPKD_CONFIG");
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (arguments[i] == "--config" && i + 1 < arguments.size()) {
            path = arguments[i + 1];
        } else if (arguments[i].starts_with("--config=")) {
            path = arguments[i].substr(std::string("--config=").size());
        }
    }
    return path;
}

tl::expected<std::vector<std::string>, std::string> file_arguments(const CLI::App& app, const CLI::App& subcommand,
                                                                   const std::string& path) {
    std::vector<CLI::ConfigItem> items;
    try {
        items = CLI::ConfigTOML().from_file(path);
    } catch (const CLI::Error& error) {
        return tl::unexpected("cannot read the configuration file " + path + ": " + error.what());
    }
    std::vector<std::string> arguments;
    for (const CLI::ConfigItem& item : items) {
        if (item.name == "++" || item.name == "--") {
            continue;  // CLI11's marks for the beginning and end of a section
        }
        const bool top = item.parents.empty();
        if (!top && (item.parents.size() != 1 || item.parents.front() != subcommand.get_name())) {
            continue;
        }
        const auto commands = app.get_subcommands([&](const CLI::App* one) { return find_option(*one, item.name) != nullptr; });
        if (top ? commands.empty() : find_option(subcommand, item.name) == nullptr) {
            return tl::unexpected(path + ": unknown option " + item.fullname());
        }
        if (find_option(subcommand, item.name) != nullptr) {
            for (const std::string& input : item.inputs) {
                arguments.push_back("--" + item.name + "=" + input);
            }
        }
    }
    return arguments;
}

std::vector<std::string> environment_arguments(const CLI::App& subcommand, const Environment& environment) {
    std::vector<std::string> arguments;
    for (const CLI::Option* option : configurable(subcommand)) {
        const std::string& name = option->get_lnames().front();
        const std::optional<std::string> value = environment(environment_name(name));
        if (!value) {
            continue;
        }
        if (option->get_items_expected_max() <= 1) {
            arguments.push_back("--" + name + "=" + *value);
            continue;
        }
        std::istringstream lines(*value);
        for (std::string line; std::getline(lines, line);) {
            if (!line.empty()) {
                arguments.push_back("--" + name + "=" + line);
            }
        }
    }
    return arguments;
}

bool speaks_of_secret(std::string_view name) {
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower == "ssl.key.location" || lower == "sslkey" || lower == "passfile") {
        return false;  // paths
    }
    for (const std::string_view word : {"password", "secret", "token", "ssl.key", "oauthbearer.config", ".pem"}) {
        if (lower.find(word) != std::string::npos) {
            return true;
        }
    }
    return false;
}

/// user:password@ in an authority: the password runs from the colon to the last @ before the path.
std::string mask_authority(std::string text) {
    const std::size_t scheme = text.find("://");
    if (scheme == std::string::npos) {
        return text;
    }
    const std::size_t start = scheme + 3;
    const std::size_t end = std::min(text.find_first_of("/?", start), text.size());
    const std::size_t at = text.rfind('@', end == 0 ? 0 : end - 1);
    const std::size_t colon = text.find(':', start);
    if (at == std::string::npos || at < start || colon == std::string::npos || colon > at) {
        return text;
    }
    return text.replace(colon + 1, at - colon - 1, "***");
}

/// The end of a value that begins at `from`: quoted as in conninfo, or up to a blank (or & in a URI).
std::size_t value_end(std::string_view text, std::size_t from) {
    if (from < text.size() && text[from] == '\'') {
        for (std::size_t i = from + 1; i < text.size(); ++i) {
            if (text[i] == '\\') {
                ++i;
            } else if (text[i] == '\'') {
                return i + 1;
            }
        }
        return text.size();
    }
    for (std::size_t i = from; i < text.size(); ++i) {
        if (text[i] == '\\') {
            ++i;
        } else if (std::isspace(static_cast<unsigned char>(text[i])) != 0 || text[i] == '&') {
            return i;
        }
    }
    return text.size();
}

}  // namespace

tl::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text) {
    if (const auto value = parse_with_unit(text, kDurationUnits)) {
        return std::chrono::milliseconds(static_cast<std::int64_t>(*value));
    }
    return tl::unexpected("not a duration: " + std::string(text) + " (a whole number and ms, s, min, h or d)");
}

tl::expected<std::uint64_t, std::string> parse_size(std::string_view text) {
    if (const auto value = parse_with_unit(text, kSizeUnits)) {
        return *value;
    }
    return tl::unexpected("not a size: " + std::string(text) + " (a whole number and KiB, MiB, GiB, kB, MB or GB)");
}

std::string format_duration(std::chrono::milliseconds duration) {
    const std::int64_t count = duration.count();
    for (const Unit unit : {Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"min", 60'000}, Unit{"s", 1'000}}) {
        const auto factor = static_cast<std::int64_t>(unit.factor);
        if (count != 0 && count % factor == 0) {
            return std::to_string(count / factor) + std::string(unit.name);
        }
    }
    return std::to_string(count) + "ms";
}

std::string format_size(std::uint64_t bytes) {
    for (const Unit unit : {Unit{"GiB", 1ull << 30}, Unit{"MiB", 1ull << 20}, Unit{"KiB", 1ull << 10}}) {
        if (bytes != 0 && bytes % unit.factor == 0) {
            return std::to_string(bytes / unit.factor) + std::string(unit.name);
        }
    }
    return std::to_string(bytes);
}

CLI::Option* add_duration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value, const std::string& help) {
    const auto assign = [&value, name](const std::string& text) {
        const auto parsed = parse_duration(text);
        if (!parsed) {
            throw CLI::ValidationError(name, parsed.error());
        }
        value = *parsed;
    };
    return app.add_option_function<std::string>(name, assign, help)->default_str(format_duration(value))->type_name("DURATION");
}

CLI::Option* add_size(CLI::App& app, const std::string& name, std::uint64_t& value, const std::string& help) {
    const auto assign = [&value, name](const std::string& text) {
        const auto parsed = parse_size(text);
        if (!parsed) {
            throw CLI::ValidationError(name, parsed.error());
        }
        value = *parsed;
    };
    return app.add_option_function<std::string>(name, assign, help)->default_str(format_size(value))->type_name("SIZE");
}

void prepare_subcommands(CLI::App& app) {
    for (CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; })) {
        subcommand->add_option("--config", "Read options from this file (TOML or INI); flags and environment win")->type_name("FILE");
        subcommand
            ->add_option_function<std::string>(
                "--log-level",
                [](const std::string& level) {
                    if (!set_log_level(level)) {
                        throw CLI::ValidationError("--log-level", "one of trace, debug, info, warning, error");
                    }
                },
                "trace, debug, info, warning or error")
            ->default_str("info");
        for (CLI::Option* option : subcommand->get_options()) {
            if (option->get_items_expected_max() <= 1) {
                option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
            } else {
                option->allow_extra_args(false);  // --kafka a=b takes one value; repeat it for more
            }
        }
    }
}

tl::expected<std::vector<std::string>, std::string> merged_arguments(const CLI::App& app, const std::vector<std::string>& arguments,
                                                                     const Environment& environment) {
    const auto commands =
        app.get_subcommands([&](const CLI::App* subcommand) { return !arguments.empty() && subcommand->get_name() == arguments.front(); });
    if (commands.empty()) {
        return arguments;  // --help, --version, or a usage error that the parser words
    }
    const CLI::App& subcommand = *commands.front();
    std::vector<std::string> merged{arguments.front()};
    if (const auto path = config_path(arguments, environment)) {
        const auto from_file = file_arguments(app, subcommand, *path);
        if (!from_file) {
            return tl::unexpected(from_file.error());
        }
        merged.insert(merged.end(), from_file->begin(), from_file->end());
    }
    const std::vector<std::string> from_environment = environment_arguments(subcommand, environment);
    merged.insert(merged.end(), from_environment.begin(), from_environment.end());
    merged.insert(merged.end(), arguments.begin() + 1, arguments.end());
    return merged;
}

std::string effective_configuration(const CLI::App& subcommand) {
    std::string text;
    for (const CLI::Option* option : configurable(subcommand)) {
        const std::string& name = option->get_lnames().front();
        std::vector<std::string> values = option->results();
        if (values.empty() && !option->get_default_str().empty()) {
            values.push_back(option->get_default_str());
        }
        if (option->get_items_expected_max() <= 1 && values.size() > 1) {
            values.erase(values.begin(), values.end() - 1);
        }
        for (const std::string& value : values) {
            text += (text.empty() ? "" : " ") + name + "=" + (speaks_of_secret(name) ? std::string("***") : mask_secrets(value));
        }
    }
    return text;
}

std::string mask_secrets(std::string_view text) {
    std::string masked;
    const std::string input = mask_authority(std::string(text));
    std::size_t copied = 0;
    for (std::size_t equals = input.find('='); equals != std::string::npos; equals = input.find('=', equals + 1)) {
        if (equals < copied) {
            continue;  // inside a value already masked
        }
        std::size_t name_end = equals;
        while (name_end > copied && std::isspace(static_cast<unsigned char>(input[name_end - 1])) != 0) {
            --name_end;
        }
        const std::size_t before = input.find_last_of(" \t\n?&", name_end == 0 ? 0 : name_end - 1);
        const std::size_t name_start = before == std::string::npos ? 0 : before + 1;
        if (!speaks_of_secret(std::string_view(input).substr(name_start, name_end - name_start))) {
            continue;
        }
        const std::size_t value = std::min(input.find_first_not_of(" \t\n", equals + 1), input.size());
        // A property's value may hold anything; only conninfo and URI values have an end before the text's.
        const bool property = name_start == 0 && input.find('.') < equals;
        masked += input.substr(copied, equals + 1 - copied) + "***";
        copied = property ? input.size() : value_end(input, value);
    }
    return masked + input.substr(copied);
}

}  // namespace topkd
