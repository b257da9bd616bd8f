// Accepts a part of JSON (RFC 8259) and refuses nothing: at the first thing out of the ordinary it gives up.
#include "json_members.h"

#include <cstddef>

namespace topkd {
namespace {

class PlainScanner {
  public:
    explicit PlainScanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

    bool take(char wanted) {
        skip_space();
        if (at_ == end_ || *at_ != wanted) return false;
        ++at_;
        return true;
    }

    bool at_end() {
        skip_space();
        return at_ == end_;
    }

    /// The rest of a string whose opening quote was taken.
    bool string(std::string_view& into) {
        const char* const begin = at_;
        while (at_ != end_ && is_plain(*at_)) ++at_;
        if (at_ == end_ || *at_ != '"') return false;
        into = {begin, static_cast<std::size_t>(at_ - begin)};
        ++at_;
        return true;
    }

    /// -? ( 0 | 1-9 digit* ), and behind it nothing that would belong to the number.
    bool integer(std::string_view& into) {
        const char* const begin = at_;
        if (at_ != end_ && *at_ == '-') ++at_;
        const char* const digits = at_;
        while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
        if (at_ == digits || (*digits == '0' && at_ - digits > 1)) return false;
        into = {begin, static_cast<std::size_t>(at_ - begin)};
        skip_space();
        return at_ != end_ && (*at_ == ',' || *at_ == '}');
    }

  private:
    static bool is_plain(char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
    }

    void skip_space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
    }

    const char* at_;
    const char* end_;
};

bool read_value(PlainScanner& in, Member& into) {
    if (in.take('"')) {
        into.kind = Member::Kind::ascii;
        return in.string(into.text);
    }
    into.kind = Member::Kind::number;
    return in.integer(into.text);
}

}  // namespace

std::optional<Members> read_plain_object(std::string_view text) {
    PlainScanner in(text);
    Members members;
    if (!in.take('{')) return std::nullopt;
    do {
        std::string_view name;
        if (!in.take('"') || !in.string(name) || !in.take(':')) return std::nullopt;
        Member ignored;
        Member* const wanted = members.named(name);
        if (!read_value(in, wanted != nullptr ? *wanted : ignored)) return std::nullopt;
    } while (in.take(','));
    if (!in.take('}') || !in.at_end()) return std::nullopt;
    return members;
}

}  // namespace topkd
