#include "pg_maintainer.h"

namespace topkd {

tl::expected<void, SinkError> PgMaintainer::seal() {
    if (!connection_.connected()) {
        if (auto opened = connection_.open(); !opened) {
            return opened;
        }
    }
    const auto called = connection_.query("CALL topk.seal($1)", {{counter_}});
    if (!called) {
        SinkError error = called.error();
        if (error.sqlstate == "42501") {
            error.message += "; sealing needs the counter's owner or topk.grant_access(role, 'admin', counter)";
        }
        return tl::unexpected(std::move(error));
    }
    return {};
}

}  // namespace topkd
