// Rows of the table as a snapshot sees them, for a scan: read through their roots, in the order in which they lie in the table.
#pragma once

#include "order.h"

namespace topk {

/// Small pieces of memory, which cost next to nothing and are freed with their context.
class Arena {
  public:
    /// Requires: whatever was taken before is not needed any more, or lies in a context that lives.
    void begin(MemoryContext context) {
        context_ = context;
        left_ = 0;
    }
    void* take(std::size_t bytes) {
        bytes = MAXALIGN(bytes);
        if (bytes > left_) return take_more(bytes);
        char* piece = next_;
        next_ += bytes;
        left_ -= bytes;
        return piece;
    }
    template <typename T>
    T* take_array(std::size_t count) {
        return static_cast<T*>(take(count * sizeof(T)));
    }

  private:
    void* take_more(std::size_t bytes);
    MemoryContext context_ = nullptr;
    char* next_ = nullptr;
    std::size_t left_ = 0;
};

/// A row by its key in the scan's snapshot. Values and null flags are of all columns of the index.
struct Row {
    std::uint64_t lead;
    ItemPointerData root;
    Datum* values;
    bool* nulls;
};

/// Reads a group's rows.
class RowReader {
  public:
    RowReader(OpenIndex& index, std::uint64_t hash, SnapshotData* snapshot);
    /// For each of the roots (packed) the version that the snapshot sees, if it sees one and it is of the group; how many. Sorts the roots,
    /// so that no page is visited twice. Rows has room for all of them; their values are taken from the arena.
    std::size_t read(std::span<std::uint64_t> roots, Arena& arena, Row* rows);

  private:
    struct Column {
        AttrNumber attribute;  // of the table
        std::int16_t length;
        bool by_value;
    };
    std::size_t read_page(std::span<const std::uint64_t> roots, Arena& arena, Row* rows);
    void copy_values(HeapTuple tuple, Arena& arena, Row* row);
    bool is_of_group(const Row& row);

    OpenIndex& index_;
    std::uint64_t hash_;
    SnapshotData* snapshot_;
    std::array<Column, INDEX_MAX_KEYS> columns_;
    std::size_t count_;                // of columns
    bool has_by_value_group_ = false;  // group_ is set: what a row of the group has in columns that are compared as they are
    std::array<Datum, INDEX_MAX_KEYS> group_;
};

/// The rows emitted, by root. They are listed, and hashed when one is first looked for: most scans never do.
class RootSet {
  public:
    explicit RootSet(MemoryContext context);
    void add(ItemPointerData root);
    bool contains(ItemPointerData root);
    std::size_t size() const { return size_; }

  private:
    void hash_listed();
    MemoryContext context_;
    std::uint64_t* listed_;
    std::size_t size_ = 0;
    std::size_t room_;
    std::uint64_t* slots_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t hashed_ = 0;  // of those listed
};

/// Which rows belong to the list, beyond their group's hash: the conditions of a scan on the index's columns.
struct Conditions {
    ScanKey keys;
    int count;
};
/// True if the values of the index's columns meet all conditions.
bool meets(const Conditions& conditions, const Datum* values, const bool* nulls);

}  // namespace topk
