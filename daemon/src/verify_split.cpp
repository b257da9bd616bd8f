#include "verify_split.h"

#include <fmt/format.h>

namespace topkd::verify {

namespace {

std::optional<std::string> obstacle_of(const Book& book, std::optional<Instant> created_first) {
    if (!book.reset_reason.empty()) {
        return fmt::format("partition {} was {} ({})", book.partition, book.retired ? "retired" : "reset", book.reset_reason);
    }
    if (book.clock_advanced) {
        return fmt::format("partition {} was silent, and its watermark followed the clock", book.partition);
    }
    if (book.created_at != created_first) {
        return fmt::format("partition {} was added later than others", book.partition);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> split_obstacle(const Stored& stored, const EventTimes& times) {
    for (const Book& book : stored.books) {
        if (auto obstacle = obstacle_of(book, stored.books.front().created_at)) {
            return obstacle;
        }
        const auto time = times.find(book.partition);
        if (time != times.end() && book.watermark && time->second.reached() > book.watermark) {
            return fmt::format("records of partition {} were ahead of the clock when they were consumed", book.partition);
        }
    }
    for (const auto& [place, letters] : stored.dead_letters) {
        for (const DeadLetter& letter : letters) {
            if (letter.reason.starts_with("ahead of the clock")) {
                return fmt::format("the record at offset {} of partition {} was ahead of the clock by more than max_clock_skew",
                                   place.second, place.first);
            }
        }
    }
    return std::nullopt;
}

}  // namespace topkd::verify
