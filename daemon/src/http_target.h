// The target of a request line, decoded: "/views/top-k?window=24%20hours" to a path and a query. Hostile bytes come in here; what comes
// out is UTF-8 without NUL, or marked as malformed.
#pragma once

#include <string>
#include <string_view>

#include "http_message.h"

namespace topkd {

struct HttpTarget {
    std::string path;
    HttpFields query;
    bool malformed = false;  ///< a bad percent-encoding, a NUL, or not UTF-8; path and query are then of no use
};

/// Reads an origin-form target ("/path?query"), or the path and query of an absolute one ("http://host/path").
/// In the query '+' is a space, parameters are separated by '&', and one without '=' has an empty value.
HttpTarget parse_target(std::string_view target);

/// True if the text is well-formed UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace topkd
