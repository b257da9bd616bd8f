// Why a record was not counted. The texts are part of the public behaviour: operators group dead letters by them, so
// the part before the first colon never changes; what follows a colon is detail for a human.
#pragma once

#include <string>

namespace topkd {

struct DeadReason {
    std::string text;

    friend bool operator==(const DeadReason&, const DeadReason&) = default;
};

}  // namespace topkd
