// JSON that is written, never read: strings escaped as RFC 8259 wants them.
#pragma once

#include <string>
#include <string_view>

namespace topkd {

/// Appends the text as a JSON string with its quotes. Requires UTF-8: bytes above 0x7F go through as they are.
void append_json_string(std::string& to, std::string_view text);

/// The bytes that it appends.
std::size_t json_string_size(std::string_view text);

}  // namespace topkd
