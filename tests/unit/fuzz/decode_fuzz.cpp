// libFuzzer target: any bytes, as a record's value and as its key, through the decoder. It must not crash, what it accepts
// must obey every bound, and it must agree with the naive decoder on what an event is.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "../naive_decode.h"

namespace {

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "violated: %s\n", what);
    std::abort();
}

void check(topkd::Decoder& decoder, const topkd::Record& record) {
    const auto event = decoder.decode(record);
    const auto expected = topkd::naive::decode(record);
    require(event.has_value() == expected.has_value(), "both decoders see an event, or neither");
    if (!event) {
        require(!event.error().text.empty(), "a reason is given");
        return;
    }
    const std::string_view id = event->video_id;
    require(!id.empty() && id.size() <= 256, "1 to 256 bytes of id");
    require(topkd::naive::valid_utf8(id), "the id is UTF-8");
    require(id.find('\0') == std::string_view::npos, "no NUL in the id");
    require(event->views >= 1 && event->views <= 1'000'000, "views 1 to 1 000 000");
    require(topkd::in_timestamp_range(event->time), "the time is a timestamptz");
    require(topkd::naive::OwnedEvent{std::string(id), raw(event->time), event->views} == *expected, "both decoders see the same event");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static topkd::Decoder decoder;  // buffers are reused, as in the daemon
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    topkd::Record record;
    record.value = bytes;
    check(decoder, record);
    record.timestamp = topkd::Millis{1'700'000'000'000};
    check(decoder, record);
    record.key = bytes;
    record.value = "";
    check(decoder, record);
    return 0;
}
