// The delta encoding, version 1: how a flush carries (hour, video) -> views. Pure C++, no Postgres.
// All integers big-endian:
//   deltas := 0x01 hour*
//   hour   := start_ms int64 (since 1970-01-01 UTC)   count uint32 (> 0)   entry{count}
//   entry  := length uint16 (1..256)   id bytes (UTF-8, no NUL)   views int64 (> 0)
// Hours ascend strictly, ids ascend strictly bytewise within an hour, nothing follows the last hour.
// The reader trusts nothing: every field is checked before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace topk {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t kDeltaVersion = 1;
constexpr std::size_t kMaxVideoIdBytes = 256;

struct DeltaHour {
    std::int64_t start_ms;
    std::uint32_t count;
};

struct DeltaEntry {
    Bytes id;  ///< borrowed from the deltas
    std::int64_t views;
};

/// Reads deltas in order. Owns nothing, allocates nothing.
/// Call next_hour(); after each true call next_entry() until it returns false; false from next_hour() ends it.
/// Then fault() is null if the deltas were well-formed, else a static sentence fragment, with fault_offset() its byte.
class DeltaReader {
  public:
    explicit DeltaReader(Bytes deltas) : deltas_(deltas) {}

    bool next_hour(DeltaHour* hour);
    bool next_entry(DeltaEntry* entry);

    const char* fault() const { return fault_; }
    std::size_t fault_offset() const { return fault_offset_; }

  private:
    bool fail(const char* what, std::size_t offset);
    bool has(std::size_t count) const { return deltas_.size() - position_ >= count; }

    Bytes deltas_;
    Bytes previous_id_;
    std::size_t position_ = 0;
    std::size_t fault_offset_ = 0;
    const char* fault_ = nullptr;
    std::int64_t previous_hour_ = 0;
    std::uint32_t entries_left_ = 0;
    bool any_hour_ = false;
};

/// True if the bytes are UTF-8 as PostgreSQL accepts it in text: no NUL, no overlong form, no surrogate.
bool is_utf8_text(Bytes bytes);

}  // namespace topk
