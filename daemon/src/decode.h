// From a record's bytes to an event, or to the reason why it is none. Bytes are hostile: any input gives one of the two,
// never a crash, and never a guess. Format only: what depends on a clock is in event_time.h.
//
// Reasons, in the order they are checked: "null value", "empty value without key", "not JSON[: detail]", "not an object",
// "video_id missing", "video_id not a string", "video_id empty", "video_id longer than 256 bytes", "video_id not UTF-8",
// "video_id contains NUL", "ts not an integer or RFC 3339 string", "ts missing", "ts out of range",
// "views not an integer", "views out of range".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <tl/expected.hpp>

#include "dead_reason.h"
#include "types.h"

namespace topkd {

inline constexpr std::size_t kMaxVideoIdBytes = 256;
inline constexpr std::int64_t kMaxViewsPerEvent = 1'000'000;
/// Values nested deeper than this (the outermost object is level 1) are "not JSON".
inline constexpr int kMaxJsonDepth = 512;

/// One event. video_id is 1 to 256 bytes of valid UTF-8 without NUL; time lies in PostgreSQL's timestamp range
/// (event_time.h); views is 1 to kMaxViewsPerEvent.
struct Event {
    std::string_view video_id;
    Millis time{};
    std::int64_t views = 1;
};

/// Decodes records one after the other, reusing its buffers. Not thread safe: one decoder a thread.
///
/// The whole value must be one JSON text (RFC 8259) in UTF-8, members that nobody reads included, with nothing but white
/// space around it and no byte order mark. Escapes that no UTF-8 can hold (lone surrogates) make it "not JSON", wherever
/// they stand. Numbers of any size are JSON. Of duplicate members the last counts, whatever the earlier ones were.
/// "Integer" is JSON's int without fraction and exponent. Null is a wrong type, not an absent member.
class Decoder {
  public:
    Decoder();
    ~Decoder();
    Decoder(Decoder&&) noexcept;
    Decoder& operator=(Decoder&&) noexcept;

    /// The event's video_id borrows from the decoder or from the record: valid until the next decode, or until the
    /// record's bytes go, whichever is first.
    tl::expected<Event, DeadReason> decode(const Record& record);

  private:
    class Json;  // keeps the JSON library out of this header
    std::unique_ptr<Json> json_;
};

}  // namespace topkd
