// The shape of one index and the total order of its keys: score, then tie-breakers, best first.
// A Key may be open from some column on: it then ranks above every key with which it shares the columns before. Bounds
// and thresholds may be open; keys of rows never are.
#pragma once

#include "layout.h"

namespace topk {

struct Key {
    std::array<Datum, INDEX_MAX_KEYS> values;
    std::array<bool, INDEX_MAX_KEYS> nulls;
    int open_from;  // OpenIndex::keys if not open
};

/// How a score is stored, where two can be told apart without calling a function.
enum class Lead : char { kNone, kInt32, kInt64 };

/// An index while a statement uses it. Lives in the memory context it was opened in.
struct OpenIndex {
    Relation relation;
    Relation heap;
    int groups;          // leading columns
    int keys;            // score and tie-breakers
    TupleDesc key_desc;  // (hash, score, tie-breakers ...)
    std::array<FmgrInfo, INDEX_MAX_KEYS> hash;
    std::array<SortSupportData, INDEX_MAX_KEYS> order;
    Lead lead;
    std::array<bool, INDEX_MAX_KEYS> can_cut;  // a prefix of the value ranks above it
    FmgrInfo headroom;                         // of the score; fn_oid is invalid if it has none
    BlockNumber heap_pages;                    // how long the table is at least
    std::uint32_t capacity;                    // candidates to keep a group, at least
    bool building;                             // pages are logged when the build ends, and hold nothing to tidy
    BlockNumber known_head;                    // where the head of known_hash was
    std::uint64_t known_hash;
    MemoryContext scratch;  // reset after every operation
};

/// Opens an index, checking its metapage. heap may be null where no rows will be read. Failure: XX002.
OpenIndex* open_index(Relation relation, Relation heap);
/// The same while the index has no pages yet.
OpenIndex* open_index_for_build(Relation relation, Relation heap);

/// The number of group columns: those before the first DESC one. -1 if there is no DESC column.
int group_columns(Relation index);

/// The value of reloption k.
int option_k(Relation index);

/// The finalizer of MurmurHash3 (Austin Appleby, public domain). Stored hashes come from it; never change.
constexpr std::uint64_t mix_bits(std::uint64_t bits) {
    bits = (bits ^ (bits >> 33)) * 0xff51afd7ed558ccdULL;
    bits = (bits ^ (bits >> 33)) * 0xc4ceb9fe1a85ec53ULL;
    return bits ^ (bits >> 33);
}

/// Hash of a group, from the index's leading columns.
std::uint64_t hash_group(OpenIndex& index, const Datum* values, const bool* nulls);
/// Continues a group's hash with one column's.
std::uint64_t hash_column(std::uint64_t hash, bool is_null, std::uint64_t column);
std::uint64_t finish_hash(std::uint64_t hash);
/// A TID as a number that sorts as it lies in the table; never 0.
inline std::uint64_t packed(ItemPointerData tid) {
    return (static_cast<std::uint64_t>(ItemPointerGetBlockNumber(&tid)) << 16) | ItemPointerGetOffsetNumber(&tid);
}
inline ItemPointerData unpacked(std::uint64_t number) {
    ItemPointerData tid;
    ItemPointerSet(&tid, static_cast<BlockNumber>(number >> 16), static_cast<OffsetNumber>(number & 0xFFFF));
    return tid;
}
/// Hash of a row within its group.
std::uint64_t hash_root(ItemPointerData root);

/// Below 0 if a ranks above b.
int compare(OpenIndex& index, const Key& a, const Key& b);
inline bool above(OpenIndex& index, const Key& a, const Key& b) {
    return compare(index, a, b) < 0;
}

/// The key of (score, tie-breakers ...) values, which stay where they are.
Key key_of(const OpenIndex& index, const Datum* values, const bool* nulls);

/// A key at or above that of the values: open from the first one that would have to be fetched from a TOAST table.
Key bound_of(const OpenIndex& index, const Datum* values, const bool* nulls);

/// An item for a key that ranks at or above the given one and fits kMaxItem: long tie-breakers are cut or left open, values that would
/// have to be fetched from a TOAST table too. palloc'ed.
IndexTuple make_item(OpenIndex& index, std::uint64_t hash, const Key& key);
/// The same with headroom above the score, for a row whose score grows. Never below the key.
IndexTuple make_raised_item(OpenIndex& index, std::uint64_t hash, const Key& key);

/// The key of an item. Values point into the item.
Key key_in(const OpenIndex& index, IndexTuple item);

/// A number by which keys rank as far as their scores are quick to tell apart: of two, the lower ranks above; equal ones say nothing.
/// Scores are always descending.
inline std::uint64_t lead_of(std::int64_t score) {
    return ~(static_cast<std::uint64_t>(score) ^ (std::uint64_t{1} << 63));
}
std::uint64_t lead_of(const OpenIndex& index, const Key& key);
/// The same where the item has NULLs.
std::uint64_t lead_of_null(const OpenIndex& index, IndexTuple item);
inline std::uint64_t lead_of(const OpenIndex& index, IndexTuple item) {
    if (index.lead == Lead::kNone) return 0;
    if (IndexTupleHasNulls(item)) return lead_of_null(index, item);
    const char* score = reinterpret_cast<const char*>(item) + MAXALIGN(sizeof(IndexTupleData)) + sizeof(std::uint64_t);
    if (index.lead == Lead::kInt32) return lead_of(*reinterpret_cast<const std::int32_t*>(score));
    return lead_of(*reinterpret_cast<const std::int64_t*>(score));
}

/// Below 0 if the key of a ranks above that of b.
int compare_items(OpenIndex& index, IndexTuple a, IndexTuple b);

inline std::uint64_t hash_in(IndexTuple item) {
    std::uint64_t hash;
    memcpy(&hash, reinterpret_cast<const char*>(item) + IndexInfoFindDataOffset(item->t_info), sizeof(hash));
    return hash;
}

}  // namespace topk
