// Wires the subcommands to the command line. Exit codes: 0 done, 1 runtime failure, 2 usage.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "ingest.h"
#include "log.h"
#include "options.h"
#include "produce.h"
#include "serve.h"
#include "verify.h"

namespace {

constexpr int kUsage = 2;

std::optional<std::string> environment(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"topkd: counts views from a Kafka topic in PostgreSQL, exactly once"};
    app.set_version_flag("--version", "topkd " TOPKD_VERSION " (for the extension topk " TOPKD_EXTENSION_VERSION ")");
    app.require_subcommand(1);

    int exit_code = 0;
    topkd::register_ingest(app, exit_code);
    topkd::register_produce(app, exit_code);
    topkd::register_serve(app, exit_code);
    topkd::register_verify(app, exit_code);
    topkd::prepare_subcommands(app);
    topkd::initialise_log();

    auto arguments = topkd::merged_arguments(app, {argv + 1, argv + argc}, environment);
    if (!arguments) {
        std::cerr << "topkd: " << arguments.error() << "\n";
        return kUsage;
    }
    try {
        // CLI11 takes the vector from its end.
        app.parse(std::vector<std::string>(arguments->rbegin(), arguments->rend()));
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    return exit_code;
}
