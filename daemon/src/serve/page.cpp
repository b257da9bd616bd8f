#include "serve/page.h"

namespace topkd {

std::optional<HttpResponse> page_response(const HttpRequest&) {
    return std::nullopt;
}

}  // namespace topkd
