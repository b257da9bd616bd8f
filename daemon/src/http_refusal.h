// What a client is told instead of by a handler: its request is none, can be read in two ways, is too large; there are too many clients.
// Knows no server. Everything here is called on the library's threads.
#pragma once

#include <microhttpd.h>

#include <cstdint>

#include "http_message.h"

namespace topkd {

/// As problem+json, of the route "other", with the end of the connection.
HttpResponse refusal(int status);

/// For when the library cannot be given an answer: writes it to the socket, as far as there is room, throws away some of what came in, and
/// shuts the connection down, which the library then finds closed. Requires: no answer is under way, the socket does not block.
void refuse_at_once(int socket, int status);

/// True of what a proxy in front could read otherwise than we: whose request it is, or where it ends.
bool is_ambiguous(MHD_Connection* connection, const char* version);

/// The length that a request announces for its body; 0 if it announces none, or by chunks.
std::uint64_t announced_body(MHD_Connection* connection);

}  // namespace topkd
