#include "process_numbers.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace topkd {
namespace {

std::string text_of(const char* path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

double boot_time() {
    const std::string text = text_of("/proc/stat");
    const auto found = text.find("\nbtime ");
    return found == std::string::npos ? 0 : std::strtod(text.c_str() + found + 7, nullptr);
}

/// The fields of /proc/self/stat from the third on; the second, the name, may hold anything.
void read_stat(ProcessNumbers& numbers) {
    constexpr int kUserTime = 14, kSystemTime = 15, kStarted = 22, kResidentPages = 24;
    const std::string text = text_of("/proc/self/stat");
    std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    std::string field;
    for (int number = 3; number <= kResidentPages && fields >> field; ++number) {
        const double value = std::strtod(field.c_str(), nullptr);
        if (number == kUserTime || number == kSystemTime) {
            numbers.cpu_seconds += value / ticks;
        } else if (number == kStarted) {
            numbers.started = boot_time() + value / ticks;
        } else if (number == kResidentPages) {
            numbers.resident_bytes = value * static_cast<double>(::sysconf(_SC_PAGESIZE));
        }
    }
}

}  // namespace

ProcessNumbers process_numbers() {
    ProcessNumbers numbers;
    read_stat(numbers);
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end; entry.increment(error)) {
        ++numbers.open_fds;
    }
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        numbers.max_fds = static_cast<double>(limit.rlim_cur);
    }
    return numbers;
}

}  // namespace topkd
