// The sorted lists of a cover, read from its tables: sorted access through their topk indexes, which never falls back, and random access
// through their primary keys; prepared sums are one list, and a table; for a video that is not among them its parts are added up. What the
// merge (merge.h) asks for. All in one snapshot, the active one, which must outlive this.
#pragma once

#include "cover.h"
#include "hour_list.h"
#include "index/scan.h"
#include "list_table.h"
#include "merge.h"

namespace topk {

class ListSource {
  public:
    struct List {
        const char* name;    ///< "hour", "late additions", "day roll-up", "prepared sums"
        TimestampTz window;  ///< window_start of its rows
        bool is_rest;        ///< of a window of which some rows are rolled up already, and read from there
        double rows;         ///< estimated; 0 if it is known to have none
    };

    /// Opens every list of the cover; k: how long the result will be. Returns null, or why these lists cannot be merged. Lives in the
    /// current memory context until close(). Requires: SPI connected, no policy applies, the caller may read the tables.
    const char* open(const Counter& counter, const Cover& cover, std::int32_t k);
    void close();
    std::span<const List> lists() const { return {lists_, list_count_}; }

    // For the merge
    ListState next(std::size_t list, ListRow* row);
    void look_up(std::size_t list, std::span<MergedVideo*> videos, std::int64_t* values);
    std::size_t tables() const { return prepared_.sums == nullptr ? 0 : 1; }
    bool peek(std::size_t list, const MergedVideo& video, std::int64_t* value) const;
    std::int64_t floor(std::size_t list) const;
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
    /// A window of a table: a list of its own, or a part of the prepared sums.
    struct Reader {
        Table* table;
        IndexScanDesc scan;              // sorted access; null where that is not needed
        Step first;                      // its first step, taken when it was opened
        bool is_begun;                   // which was told
        std::array<ScanKeyData, 3> key;  // its group, then the video looked up
        std::string_view beyond;         // only later ids; empty: all, since no id is
        bool is_prepared;
    };
    /// Prepared sums, as a list.
    struct Prepared {
        const PreparedSums* sums;  // null: there are none. They are list 0
        std::size_t next;
        std::uint32_t* slots;    // one more than a sum's place, by the hash of its id; 0 is free
        std::size_t slot_count;  // a power of two
    };

    void make_room(std::size_t parts);
    void open_prepared(const PreparedSums* sums);
    const char* open_windows(const Counter& counter, const Cover& cover);
    const char* open_hours(const Counter& counter, const Cover& cover);
    Table* open_table(Oid table, int groups);
    void add_part(Table* table, const Part& part, double rows, bool is_prepared);
    void begin_list(Reader* reader, const Part& part, double rows);
    ListState next_row(Reader* reader, ListRow* row);
    ListState next_prepared(ListRow* row);
    void look_up_prepared(std::span<MergedVideo*> videos, std::int64_t* values);
    const PreparedSum* find_prepared(const MergedVideo& video) const;
    std::int64_t look_up(Reader& reader, std::string_view id);

    Arena arena_;
    std::uint64_t seed_;  // ids are chosen by whoever makes events: nobody should know which collide
    std::size_t expected_;
    Prepared prepared_;
    Table* tables_;
    Reader* readers_;
    List* lists_;
    Reader** list_readers_;  // of list 0 none if that is prepared
    std::size_t table_count_;
    std::size_t reader_count_;
    std::size_t list_count_;
};

}  // namespace topk
