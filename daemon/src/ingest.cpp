#include "ingest.h"

namespace topkd {

void register_ingest(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("ingest", "Consume a Kafka topic and count its views in PostgreSQL");
    command->callback([&exit_code] { exit_code = 1; });
}

}  // namespace topkd
