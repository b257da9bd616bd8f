// The parameters of a list: /views/top-k?window=…&k=…&at=…&counter=…
#pragma once

#include <tl/expected.hpp>

#include "http_message.h"
#include "serve/problem.h"
#include "serve/top_list.h"

namespace topkd {

struct ListRequest {
    ListKey key;
    int k = 10;
};

/// Reads them; other parameters are ignored. Fails with 400 and a sentence that names the parameter: missing, given twice, or not what it
/// should be. What a window is, the database decides: only one that is empty or longer than any is refused here.
tl::expected<ListRequest, Problem> read_list_request(const HttpRequest& request, const std::string& default_counter);

/// RFC 3339, but '+' before the zone may have become a space, as it does in a query that was not encoded.
std::optional<Millis> read_at(std::string text);

}  // namespace topkd
