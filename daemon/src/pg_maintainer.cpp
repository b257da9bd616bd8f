#include "pg_maintainer.h"

#include <string_view>

namespace topkd {

namespace {

const char* name_of(MaintenancePart part) {
    return kMaintenancePartNames[static_cast<std::size_t>(part)];
}

bool is_true(const PGresult* result) {
    return PQntuples(result) == 1 && std::string_view(PQgetvalue(result, 0, 0)) == "t";
}

}  // namespace

tl::expected<bool, SinkError> PgMaintainer::step(MaintenancePart part) {
    if (!connection_.connected()) {
        if (auto opened = connection_.open(); !opened) {
            return tl::unexpected(std::move(opened.error()));
        }
    }
    const auto stepped = connection_.query("SELECT topk.maintain_step($1, $2)", {{counter_}, {name_of(part)}});
    if (!stepped) {
        SinkError error = stepped.error();
        if (error.sqlstate == "42501") {
            error.message += "; maintenance needs the counter's owner or topk.grant_access(role, 'admin', counter)";
        }
        return tl::unexpected(std::move(error));
    }
    return is_true(stepped->get());
}

}  // namespace topkd
