#include "sink_error.h"

#include <algorithm>
#include <array>

namespace topkd {

SinkErrorKind classify_sqlstate(std::string_view sqlstate) {
    using enum SinkErrorKind;
    struct Exact {
        std::string_view code;
        SinkErrorKind kind;
    };
    constexpr std::array kExact{
        Exact{"TK001", kFenced},    Exact{"TK002", kSealed},  Exact{"22023", kProtocol},  // our own arguments, not a record's content
        Exact{"42704", kNoCounter}, Exact{"25006", kOutage},                              // read only: a standby, or a failover under way
        Exact{"55P03", kOutage},    Exact{"55006", kOutage},                              // lock not available, object in use
        Exact{"57014", kOutage},                                                          // statement timeout or a cancelled query
        Exact{"25001", kRefused},   Exact{"55000", kRefused},
    };
    const auto* found = std::find_if(kExact.begin(), kExact.end(), [&](const Exact& e) { return e.code == sqlstate; });
    if (found != kExact.end()) {
        return found->kind;
    }
    const std::string_view sql_class = sqlstate.substr(0, 2);
    // 54: a record that exceeds a limit of the server (an index row too large) is a matter of its content.
    if (sql_class == "22" || sql_class == "23" || sql_class == "54") {
        return kData;
    }
    // 42: no right, no such function; 3D, 3F: no such database or schema; 28: not let in; 0A: not supported.
    if (sql_class == "42" || sql_class == "3D" || sql_class == "3F" || sql_class == "28" || sql_class == "0A") {
        return kRefused;
    }
    return kOutage;
}

}  // namespace topkd
