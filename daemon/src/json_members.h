// The members of an event's JSON object that anybody reads, as text. Filled by the JSON parser (decode.cpp), or, for the plain form that
// nearly all events have, by the scanner here, which is several times quicker.
#pragma once

#include <optional>
#include <string_view>

namespace topkd {

/// What the last member of a name held.
struct Member {
    enum class Kind { absent, string, ascii, number, other };  ///< ascii: a string of it, without control characters
    Kind kind = Kind::absent;
    std::string_view text;  ///< borrowed from whoever read it
};

struct Members {
    Member video_id, ts, views;

    Member* named(std::string_view name) {
        if (name == "video_id") return &video_id;
        if (name == "ts") return &ts;
        if (name == "views") return &views;
        return nullptr;
    }
};

/// Reads an object that is plain: one or more members, whose names are ASCII without escapes and control characters, and whose values are
/// such strings, or integers. None if the text is anything else, which does not say that it is wrong: the parser decides that.
/// The texts borrow from `text`.
std::optional<Members> read_plain_object(std::string_view text);

}  // namespace topkd
