// What a failure of the database means for the batch that met it. The whole of recovery hangs on this classification.
#pragma once

#include <string>
#include <string_view>

namespace topkd {

enum class SinkErrorKind {
    kOutage,        ///< away, busy, or unknown what happened: wait, reconnect if needed, resume, read again
    kFenced,        ///< TK001: another owner, or other offsets, than we believed
    kSealed,        ///< TK002: a window of the batch was sealed meanwhile
    kData,          ///< some record of the batch is the cause: cut it down to find it
    kProtocol,      ///< the batch is not what the database expects, e.g. its hours changed: load them again
    kOtherCluster,  ///< the progress belongs to another Kafka cluster
    kNoCounter,     ///< the counter does not exist
    kRefused,       ///< only a human can help: rights, versions, configuration
};

struct SinkError {
    SinkErrorKind kind = SinkErrorKind::kOutage;
    std::string sqlstate;   ///< empty when the server gave none
    std::string message;    ///< one line: message, detail and hint
    std::string primary{};  ///< the server's message alone; empty when the server gave none
    std::string hint{};     ///< and its hint
};

/// Classifies by SQLSTATE alone; empty (no answer) is an outage. 55000, which claim raises for two reasons, is refused.
SinkErrorKind classify_sqlstate(std::string_view sqlstate);

}  // namespace topkd
