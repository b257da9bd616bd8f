// What lies on the disk. Block 0 is the metapage, block 1 the root of the directory; README.md has the grammar.
// Every page ends in a PageTail whose crc covers it, so that a damaged page raises an error and is never believed.
// Values here are stored: never renumber. A change of meaning needs a new kFormatVersion.
#pragma once

#include "../pg.h"

namespace topk {

constexpr std::uint32_t kMagic = 0x4b504f54;  // "TOPK"
constexpr std::uint32_t kFormatVersion = 1;
/// The last two bytes of every page, for pg_filedump and pageinspect; beyond the range of core's access methods.
constexpr std::uint16_t kPageId = 0xFF91;

constexpr BlockNumber kMetaBlock = 0;
constexpr BlockNumber kRootBlock = 1;
constexpr BlockNumber kFirstBucketBlock = 2;

enum class PageKind : std::uint16_t { kMeta = 1, kNode = 2, kBucket = 3, kHead = 4, kGroup = 5, kFree = 6 };

/// The end of every page.
struct PageTail {
    std::uint32_t crc;  // CRC-32C of all but LSN, checksum, the hole, and this
    PageKind kind;
    std::uint16_t page_id;
};
static_assert(sizeof(PageTail) == 8 && std::is_trivial_v<PageTail>);

/// Contents of the metapage.
struct MetaPage {
    std::uint32_t magic;
    std::uint32_t version;
};
static_assert(sizeof(MetaPage) == 8 && std::is_trivial_v<MetaPage>);

/// Bits of the group hash that one directory node resolves, and bits of the row hash that a group's head can.
constexpr int kSlotBits = 10;
constexpr std::uint32_t kSlots = 1 << kSlotBits;

/// Contents of a directory node: by the next kSlotBits bits of the group hash, lowest first, a node or a bucket.
struct NodePage {
    std::uint32_t level;  // of the node: bits below level * kSlotBits are its ancestors'
    std::uint32_t padding;
    BlockNumber slots[kSlots];
};
static_assert(sizeof(NodePage) == 8 + 4 * kSlots && std::is_trivial_v<NodePage>);

/// Longest stored key: hash, score and tie-breakers of an entry or threshold, with its header.
constexpr std::size_t kMaxItem = 320;

/// Contents of the head of a group that has pages of its own: the page of a row by the low `depth` bits of its hash.
struct HeadPage {
    std::uint64_t hash;        // of the group
    std::uint64_t generation;  // changes whenever slots do; begins at random, so that a re-used block is told apart
    std::uint16_t depth;
    std::uint16_t skip_size;    // 0: no row may be skipped
    std::uint8_t poor_refills;  // refills in a row that did not bring k rows above the thresholds
    std::uint8_t refill_pause;  // how many times VACUUM lets the next one wait
    std::uint16_t padding;
    char skip[kMaxItem];  // a key at or below every page's insert threshold
    BlockNumber slots[kSlots];
};
static_assert(sizeof(HeadPage) == 24 + kMaxItem + 4 * kSlots && std::is_trivial_v<HeadPage>);

/// Transactions [low, high] superseded versions whose entries a page gave up.
struct HistoryRange {
    std::uint64_t low;
    std::uint64_t high;
};
constexpr std::size_t kMaxHistories = 4;

/// The special space of buckets and group pages, whose items are index tuples (hash, score, tie-breakers ...). A group page's entries are
/// in the order of their bounds, best first, after the items that have roles.
struct ItemTail {
    std::uint64_t cover;       // the low `depth` bits of the hashes (bucket: of groups; group page: of rows) that belong here
    std::uint64_t group_hash;  // group page: its group
    BlockNumber head;          // group page: the group's head
    std::uint16_t depth;
    std::uint16_t histories;  // how many of the ranges below are set; the item of role kHistory + i is range i's bound
    HistoryRange history[kMaxHistories];
    PageTail tail;
};
static_assert(sizeof(ItemTail) == 96 && std::is_trivial_v<ItemTail>);

/// An item is an entry if its TID could be a row's. Else block and offset say what it is:
/// offset 0: a bucket's pointer to the head of a group, in the block; block Invalid: a bound, by its role in the offset.
enum class Role : OffsetNumber {
    kPointer = 0,
    kReadThreshold = 1,    // versions that rank strictly above have an entry
    kInsertThreshold = 2,  // versions at or below need none; differs from the former during a refill
    kHistory = 3,          // to kHistory + kMaxHistories - 1
};

/// In an index tuple's t_info: its NULL tie-breakers (and score) rank above everything, they are not NULLs.
constexpr std::uint16_t kOpenBit = INDEX_AM_RESERVED_BIT;

}  // namespace topk
