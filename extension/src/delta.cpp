// Decoding and checking of the delta encoding.
#include "delta.h"

#include <algorithm>
#include <cstring>

namespace topk {

namespace {

template <typename T>
T big_endian(const std::uint8_t* bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value = value << 8 | bytes[i];
    return static_cast<T>(value);
}

int compare(Bytes left, Bytes right) {
    const int order = std::memcmp(left.data(), right.data(), std::min(left.size(), right.size()));
    if (order != 0) return order;
    return left.size() < right.size() ? -1 : left.size() > right.size();
}

/// Length of the UTF-8 sequence at the front of bytes, 0 if there is no valid one.
std::size_t utf8_sequence(Bytes bytes) {
    const std::uint8_t lead = bytes[0];
    if (lead < 0x80) return lead != 0;
    const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || bytes.size() < length) return 0;
    // The second byte carries what makes a form overlong, a surrogate, or greater than U+10FFFF.
    const std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < low || bytes[1] > high) return 0;
    for (std::size_t i = 2; i < length; ++i)
        if ((bytes[i] & 0xc0) != 0x80) return 0;
    return length;
}

}  // namespace

bool is_utf8_text(Bytes bytes) {
    while (!bytes.empty()) {
        const std::size_t length = utf8_sequence(bytes);
        if (length == 0) return false;
        bytes = bytes.subspan(length);
    }
    return true;
}

bool DeltaReader::fail(const char* what, std::size_t offset) {
    fault_ = what;
    fault_offset_ = offset;
    return false;
}

bool DeltaReader::next_hour(DeltaHour* hour) {
    constexpr std::size_t kHeader = sizeof(std::int64_t) + sizeof(std::uint32_t);
    if (fault_ != nullptr) return false;
    if (position_ == 0) {
        if (deltas_.empty()) return fail("they are empty, not even a version", 0);
        if (deltas_[0] != kDeltaVersion) return fail("their version is unknown", 0);
        position_ = 1;
    }
    if (position_ == deltas_.size()) return false;
    const std::size_t at = position_;
    if (!has(kHeader)) return fail("an hour is cut off", at);
    hour->start_ms = big_endian<std::int64_t>(&deltas_[at]);
    hour->count = big_endian<std::uint32_t>(&deltas_[at + sizeof(std::int64_t)]);
    if (any_hour_ && hour->start_ms <= previous_hour_) return fail("hours do not ascend", at);
    if (hour->count == 0) return fail("an hour has no entries", at);
    any_hour_ = true;
    previous_hour_ = hour->start_ms;
    previous_id_ = {};
    entries_left_ = hour->count;
    position_ += kHeader;
    return true;
}

bool DeltaReader::next_entry(DeltaEntry* entry) {
    if (fault_ != nullptr || entries_left_ == 0) return false;
    const std::size_t at = position_;
    if (!has(sizeof(std::uint16_t))) return fail("an entry is cut off", at);
    const std::size_t length = big_endian<std::uint16_t>(&deltas_[at]);
    if (length == 0 || length > kMaxVideoIdBytes) return fail("a video id is not 1 to 256 bytes long", at);
    if (!has(sizeof(std::uint16_t) + length + sizeof(std::int64_t))) return fail("an entry is cut off", at);
    entry->id = deltas_.subspan(at + sizeof(std::uint16_t), length);
    entry->views = big_endian<std::int64_t>(entry->id.data() + length);
    if (!previous_id_.empty() && compare(previous_id_, entry->id) >= 0) return fail("video ids do not ascend", at);
    if (!is_utf8_text(entry->id)) return fail("a video id is not UTF-8", at);
    if (entry->views <= 0) return fail("views are not positive", at);
    previous_id_ = entry->id;
    --entries_left_;
    position_ += sizeof(std::uint16_t) + length + sizeof(std::int64_t);
    return true;
}

}  // namespace topk
