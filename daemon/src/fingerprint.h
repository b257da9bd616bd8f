// The fingerprint of a record, stored with the progress of its partition and compared on assignment: a topic deleted and
// made again betrays itself. The bytes it covers are stored in databases; never change them.
#pragma once

#include <cstdint>
#include <string_view>

#include "types.h"

namespace topkd {

/// CRC-32C (Castagnoli) over, integers big-endian: timestamp int64 (ms, -1 when none), key length int32 (-1 when null), key
/// bytes, value length int32 (-1 when null), value bytes. Partition and offset are not part of it.
std::uint32_t fingerprint(const Record& record);

/// The bare CRC-32C of the bytes, continuing from a previous result (0 at the start).
std::uint32_t crc32c(std::string_view bytes, std::uint32_t previous = 0);

}  // namespace topkd
