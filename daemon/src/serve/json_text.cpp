#include "serve/json_text.h"

#include <fmt/format.h>

namespace topkd {

void append_json_string(std::string& to, std::string_view text) {
    to += '"';
    for (const char c : text) {
        switch (c) {
            case '"':
                to += "\\\"";
                break;
            case '\\':
                to += "\\\\";
                break;
            case '\n':
                to += "\\n";
                break;
            case '\t':
                to += "\\t";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    fmt::format_to(std::back_inserter(to), "\\u{:04x}", static_cast<unsigned char>(c));
                } else {
                    to += c;
                }
        }
    }
    to += '"';
}

std::size_t json_string_size(std::string_view text) {
    std::size_t size = 2;
    for (const char c : text) {
        const bool has_short = c == '"' || c == '\\' || c == '\n' || c == '\t';
        size += has_short ? 2 : static_cast<unsigned char>(c) < 0x20 ? 6 : 1;
    }
    return size;
}

}  // namespace topkd
