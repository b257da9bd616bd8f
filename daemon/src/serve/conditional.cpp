#include "serve/conditional.h"

#include <strings.h>

#include <algorithm>
#include <optional>

namespace topkd {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// Cuts the text at the separator: what is before it; the rest stays in the text.
std::string_view cut(std::string_view& text, char separator) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return trimmed(part);
}

bool is(std::string_view text, std::string_view word) {
    return text.size() == word.size() && ::strncasecmp(text.data(), word.data(), word.size()) == 0;
}

/// A weight in thousandths: 0, 1, 0.5, 1.000. What is none counts as 0: not asked for in a way that can be understood.
int weight(std::string_view text) {
    if (text.empty() || (text[0] != '0' && text[0] != '1') || text.size() > 5 || (text.size() > 1 && text[1] != '.')) {
        return 0;
    }
    int thousandths = (text[0] - '0') * 1000;
    int place = 100;
    for (const char digit : text.substr(std::min<std::size_t>(2, text.size()))) {
        if (digit < '0' || digit > '9') {
            return 0;
        }
        thousandths += (digit - '0') * place;
        place /= 10;
    }
    return std::min(thousandths, 1000);
}

struct Coding {
    std::string_view name;
    int weight = 1000;
};

Coding next_coding(std::string_view& list) {
    std::string_view item = cut(list, ',');
    Coding coding{.name = cut(item, ';')};
    while (!item.empty()) {
        std::string_view parameter = cut(item, ';');
        if (is(cut(parameter, '='), "q")) {
            coding.weight = weight(trimmed(parameter));
        }
    }
    return coding;
}

}  // namespace

bool names_etag(std::string_view if_none_match, std::string_view etag) {
    std::string_view rest = trimmed(if_none_match);
    if (rest == "*") {
        return true;
    }
    const auto skip_separators = [&rest] { rest.remove_prefix(std::min(rest.find_first_not_of(" \t,"), rest.size())); };
    for (skip_separators(); !rest.empty(); skip_separators()) {
        if (rest.starts_with("W/")) {
            rest.remove_prefix(2);
        }
        // A tag may hold commas: it ends at its quote.
        const std::size_t end = rest.starts_with('"') ? rest.find('"', 1) : std::string_view::npos;
        if (end == std::string_view::npos) {
            return false;
        }
        if (rest.substr(0, end + 1) == etag) {
            return true;
        }
        rest.remove_prefix(end + 1);
    }
    return false;
}

bool prefers_gzip(std::string_view accept_encoding) {
    std::optional<int> gzip;
    std::optional<int> any;
    std::optional<int> identity;
    while (!accept_encoding.empty()) {
        const Coding coding = next_coding(accept_encoding);
        if (is(coding.name, "gzip") || is(coding.name, "x-gzip")) {
            gzip = coding.weight;
        } else if (coding.name == "*") {
            any = coding.weight;
        } else if (is(coding.name, "identity")) {
            identity = coding.weight;
        }
    }
    const int wanted = gzip ? *gzip : any.value_or(0);
    return wanted > 0 && wanted >= identity.value_or(0);
}

}  // namespace topkd
