// The live page as it is in the binary: what a browser asks for is there, and nothing in it needs more than the policy allows.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "serve/page.h"
#include "serve/page_files.h"

namespace topkd {
namespace {

HttpRequest get(std::string path, HttpFields headers = {}) {
    return {.method = "GET", .path = std::move(path), .query = {}, .malformed_query = false, .headers = std::move(headers)};
}

std::string field(const HttpResponse& response, std::string_view name) {
    for (const auto& [key, value] : response.headers) {
        if (key == name) {
            return value;
        }
    }
    return "";
}

TEST(Page, IsServedWithTypeTagAndPolicy) {
    const auto page = page_response(get("/"));
    ASSERT_TRUE(page);
    EXPECT_EQ(page->status, 200);
    EXPECT_TRUE(page->body->starts_with("<!DOCTYPE html>"));
    EXPECT_EQ(field(*page, "Content-Type"), "text/html; charset=utf-8");
    EXPECT_TRUE(field(*page, "Content-Security-Policy").starts_with("default-src 'self';"));
    EXPECT_EQ(field(*page, "X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(field(*page, "Cache-Control"), "no-cache");
}

TEST(Page, KnowsWhatTheClientHas) {
    const std::string plain = field(*page_response(get("/")), "ETag");
    const auto zipped = page_response(get("/", {{"Accept-Encoding", "gzip, br"}}));
    EXPECT_EQ(field(*zipped, "Content-Encoding"), "gzip");
    EXPECT_NE(field(*zipped, "ETag"), plain);
    EXPECT_LT(zipped->body->size(), page_response(get("/"))->body->size());

    const auto same = page_response(get("/", {{"If-None-Match", plain}}));
    EXPECT_EQ(same->status, 304);
    EXPECT_EQ(same->body, nullptr);
    EXPECT_EQ(field(*same, "ETag"), plain);
    EXPECT_EQ(page_response(get("/", {{"If-None-Match", "\"other\""}}))->status, 200);
    EXPECT_EQ(page_response(get("/", {{"Accept-Encoding", "gzip"}, {"If-None-Match", plain}}))->status, 200);
}

TEST(Page, HasNoOtherFiles) {
    for (const char* path : {"/assets/", "/assets/index.html", "/assets/../app.js", "/assets/none.js", "/app.js", ""}) {
        EXPECT_FALSE(page_response(get(path))) << path;
    }
}

/// Everything that the files refer to is a file, and every file is referred to.
TEST(Page, IsWhole) {
    const std::regex reference(R"re((?:(?:href|src)="assets/|from "\./)([^"]+)")re");
    std::set<std::string> referred{"/"};
    std::set<std::string> present;
    for (const PageFile& file : page_files()) {
        present.emplace(file.path);
        const std::string text(file.text);
        for (std::sregex_iterator found(text.begin(), text.end(), reference), end; found != end; ++found) {
            referred.insert("/assets/" + (*found)[1].str());
        }
    }
    EXPECT_EQ(referred, present);
}

TEST(Page, NeedsNothingThatThePolicyForbids) {
    const std::regex forbidden(R"(\sstyle=|\son\w+=|<style|<script>|https?://|innerHTML|insertAdjacentHTML|eval\()");
    for (const PageFile& file : page_files()) {
        std::string text(file.text);
        text = std::regex_replace(text, std::regex("http://www.w3.org/2000/svg"), "");  // a name, not an address
        std::smatch found;
        EXPECT_FALSE(std::regex_search(text, found, forbidden)) << file.path << ": " << found.str();
    }
}

}  // namespace
}  // namespace topkd
