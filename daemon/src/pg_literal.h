// PostgreSQL's text formats for what flush sends besides the deltas: timestamps, bytea, arrays of composite values. Pure
// text, no connection; strings may hold anything but NUL, which no text value of the server can.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "types.h"

namespace topkd {

/// "2026-11-23 20:25:58.123+00", years beyond 9999 and BC included. Requires a time in the timestamp range.
std::string timestamp_literal(Millis instant);

/// "\x" and two hexadecimal digits a byte.
std::string bytea_literal(std::string_view bytes);

/// Builds the text of an array of composites: {"(1,\"a b\",)","(…)"}. A field that is not given is NULL.
class CompositeArray {
  public:
    CompositeArray& begin_row();
    CompositeArray& field(std::int64_t value);
    CompositeArray& field(std::string_view value);
    CompositeArray& field(const std::optional<std::string>& value);
    CompositeArray& null();
    void end_row();

    /// The whole array; "{}" without rows.
    std::string text() const { return "{" + rows_ + "}"; }

  private:
    void separate();

    std::string rows_;
    std::string row_;
    bool first_field_ = true;
};

/// An array of whole numbers: {1,2,3}.
std::string array_literal(const std::vector<std::int64_t>& values);

}  // namespace topkd
