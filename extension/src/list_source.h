// The sorted lists of a cover, read from its tables: sorted access through their topk indexes, which never falls back, and random access
// through their primary keys. What the merge (merge.h) asks for. All in one snapshot, the active one, which must outlive this.
#pragma once

#include "cover.h"
#include "hour_list.h"
#include "index/rows.h"
#include "list_table.h"
#include "merge.h"

namespace topk {

class ListSource {
  public:
    struct List {
        const char* name;    ///< "hour", "late additions", "day roll-up"
        TimestampTz window;  ///< window_start of its rows
        double rows;         ///< estimated
    };

    /// Opens every list of the cover; k: how long the result will be. Returns null, or why these lists cannot be merged. Lives in the
    /// current memory context until close(). Requires: SPI connected, no policy applies, the caller may read the tables.
    const char* open(const Counter& counter, const Cover& cover, std::int32_t k);
    void close();
    std::span<const List> lists() const { return {lists_, list_count_}; }

    // For the merge
    ListState next(std::size_t list, ListRow* row);
    void look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values);
    std::string_view keep(std::string_view id);
    void* allocate(std::size_t bytes) {
        // MAXALIGN is not enough for the sums' 16 bytes
        return reinterpret_cast<void*>(TYPEALIGN(alignof(std::max_align_t), arena_.take(bytes + alignof(std::max_align_t))));
    }
    std::uint64_t hash(std::string_view id) const {
        return hash_bytes_extended(reinterpret_cast<const unsigned char*>(id.data()), static_cast<int>(id.size()), seed_);
    }

  private:
    /// A table's lists share what looks rows up in it.
    struct Table {
        ListTable open;
        IndexScanDesc look_ups;
        TupleTableSlot* row;
        double rows;  // estimated
    };
    struct Reader {
        Table* table;
        IndexScanDesc scan;
        std::array<ScanKeyData, 3> key;  // its group, then the video looked up
    };

    const char* open_hours(const Counter& counter, const Cover& cover);
    Table* open_table(Oid table, int groups);
    void add_list(Table* table, const List& list, const char* span);

    Arena arena_;
    std::uint64_t seed_;  // ids are chosen by whoever makes events: nobody should know which collide
    std::size_t expected_;
    Table tables_[kMaxMergedLists];
    Reader readers_[kMaxMergedLists];
    List lists_[kMaxMergedLists];
    std::size_t table_count_;
    std::size_t list_count_;
};

}  // namespace topk
