#include "fault_point.h"

#ifdef TOPKD_FAULT_POINTS

#include <spdlog/spdlog.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>

namespace topkd {
namespace {

struct Fault {
    std::string point;
    int signal = 0;
    int nth = 1;
};

Fault configured() {
    const char* text = std::getenv("TOPKD_FAULT");
    if (text == nullptr) {
        return {};
    }
    const std::string fault(text);
    const std::size_t action = fault.find(':');
    const std::size_t nth = action == std::string::npos ? action : fault.find(':', action + 1);
    const std::string verb = action == std::string::npos ? "" : fault.substr(action + 1, nth - action - 1);
    if (verb != "stop" && verb != "kill") {
        spdlog::error("TOPKD_FAULT={} is not <point>:stop|kill[:<nth>]", fault);
        std::exit(2);
    }
    return {fault.substr(0, action), verb == "stop" ? SIGSTOP : SIGKILL, nth == std::string::npos ? 1 : std::stoi(fault.substr(nth + 1))};
}

}  // namespace

void fault_point(const char* name) {
    static const Fault fault = configured();
    static std::atomic<int> passages = 0;
    if (fault.point == name && ++passages == fault.nth) {
        spdlog::warn("fault point {}: signal {}", name, fault.signal);
        std::raise(fault.signal);
    }
}

}  // namespace topkd

#endif
