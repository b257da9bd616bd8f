#include "http_message.h"

#include <strings.h>

namespace topkd {

HttpBody http_body(std::string text) {
    return std::make_shared<const std::string>(std::move(text));
}

std::optional<std::string> HttpRequest::header(std::string_view name) const {
    std::optional<std::string> value;
    for (const auto& [key, text] : headers) {
        if (key.size() == name.size() && ::strncasecmp(key.data(), name.data(), name.size()) == 0) {
            value = value ? *value + ", " + text : text;
        }
    }
    return value;
}

}  // namespace topkd
