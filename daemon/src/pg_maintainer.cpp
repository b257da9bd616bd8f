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

/// An extension that was not updated yet only seals; ALTER EXTENSION topk UPDATE may come at any time.
tl::expected<void, SinkError> PgMaintainer::look_for_steps() {
    const auto found = connection_.query("SELECT to_regprocedure('topk.maintain_step(text, text, timestamptz)') IS NOT NULL", {});
    if (!found) {
        return tl::unexpected(found.error());
    }
    has_steps_ = is_true(found->get());
    return {};
}

tl::expected<bool, SinkError> PgMaintainer::step(MaintenancePart part) {
    if (!connection_.connected()) {
        has_steps_ = false;
        if (auto opened = connection_.open(); !opened) {
            return tl::unexpected(std::move(opened.error()));
        }
    }
    if (!has_steps_) {
        if (auto looked = look_for_steps(); !looked) {
            return tl::unexpected(std::move(looked.error()));
        }
    }
    if (!has_steps_ && part != MaintenancePart::kSeal) {
        return false;
    }
    const auto called = has_steps_ ? connection_.query("SELECT topk.maintain_step($1, $2)", {{counter_}, {name_of(part)}})
                                   : connection_.query("CALL topk.seal($1)", {{counter_}});
    if (!called) {
        SinkError error = called.error();
        if (part == MaintenancePart::kPartitions && error.sqlstate == "22023") {
            return false;  // the extension is of 1.1, and was not updated yet
        }
        if (error.sqlstate == "42501") {
            error.message += "; maintenance needs the counter's owner or topk.grant_access(role, 'admin', counter)";
        }
        return tl::unexpected(std::move(error));
    }
    return has_steps_ && is_true(called->get());
}

}  // namespace topkd
