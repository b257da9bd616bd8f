#include "log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace topkd {

void initialise_log() {
    auto logger = std::make_shared<spdlog::logger>("topkd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %-7l %v", spdlog::pattern_time_type::utc);
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
}

bool set_log_level(const std::string& level) {
    const spdlog::level::level_enum parsed = spdlog::level::from_str(level);
    if (parsed == spdlog::level::off) {  // from_str's answer to anything unknown
        return false;
    }
    spdlog::set_level(parsed);
    return true;
}

}  // namespace topkd
