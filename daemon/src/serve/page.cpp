#include "serve/page.h"

#include <fmt/format.h>

#include <map>

#include "serve/answer.h"
#include "serve/conditional.h"
#include "serve/page_files.h"

namespace topkd {
namespace {

// Nothing but what this server sends: no script or style in the page itself, no other origin, no frame of strangers around it.
constexpr const char* kPolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

struct Asset {
    const PageFile* file;
    HttpBody plain;
    HttpBody gzipped;  ///< null where zlib refused
};

const Asset* find(const std::string& path) {
    static const std::map<std::string, Asset, std::less<>> kAssets = [] {
        std::map<std::string, Asset, std::less<>> assets;
        for (const PageFile& file : page_files()) {
            HttpBody plain = http_body(std::string(file.text));
            HttpBody gzipped = gzip(*plain);
            assets.emplace(file.path, Asset{&file, std::move(plain), std::move(gzipped)});
        }
        return assets;
    }();
    const auto found = kAssets.find(path);
    return found == kAssets.end() ? nullptr : &found->second;
}

}  // namespace

std::optional<HttpResponse> page_response(const HttpRequest& request) {
    const Asset* asset = find(request.path);
    if (asset == nullptr) {
        return std::nullopt;
    }
    const bool zipped = asset->gzipped && prefers_gzip(request.header("Accept-Encoding").value_or(""));
    const std::string etag = fmt::format("\"{}{}\"", asset->file->tag, zipped ? "-gzip" : "");
    HttpResponse response{.status = 200,
                          .headers = {{"ETag", etag},
                                      // asked for again each time, so that all files are of the binary that runs
                                      {"Cache-Control", "no-cache"},
                                      {"Vary", "Accept-Encoding"},
                                      {"Content-Security-Policy", kPolicy},
                                      {"X-Content-Type-Options", "nosniff"},
                                      {"Referrer-Policy", "no-referrer"}},
                          .body = nullptr};
    if (names_etag(request.header("If-None-Match").value_or(""), etag)) {
        response.status = 304;
        return response;
    }
    response.headers.emplace_back("Content-Type", asset->file->content_type);
    if (zipped) {
        response.headers.emplace_back("Content-Encoding", "gzip");
    }
    response.body = zipped ? asset->gzipped : asset->plain;
    return response;
}

}  // namespace topkd
