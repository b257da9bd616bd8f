// The live page and its assets, which are in the binary.
#pragma once

#include <optional>

#include "http_message.h"

namespace topkd {

/// "/" and "/assets/…": the file, or 304 if the client has it. None: there is no such file. Any thread.
std::optional<HttpResponse> page_response(const HttpRequest& request);

}  // namespace topkd
