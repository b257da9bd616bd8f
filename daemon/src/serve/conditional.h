// The two headers by which a client says which answer it wants: If-None-Match and Accept-Encoding, by RFC 9110's grammar. Bytes of
// strangers: whatever they are, the answer is yes or no.
#pragma once

#include <string_view>

namespace topkd {

/// True if the field, a list of entity tags or "*", names the tag (with its quotes). Weak comparison: W/ makes no difference.
bool names_etag(std::string_view if_none_match, std::string_view etag);

/// True if gzip is acceptable, by name or by "*", with a weight above 0 and not below that of "identity", if that is named.
bool prefers_gzip(std::string_view accept_encoding);

}  // namespace topkd
