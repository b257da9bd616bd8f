#include "aggregate.h"

#include <tsl/robin_set.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <random>
#include <utility>

#include "big_endian.h"
#include "decode.h"
#include "keyed_hash.h"

namespace topkd {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{64} * 1024;

/// A sum in the arena; the id's bytes lie directly behind it.
struct Entry {
    std::int64_t hour_start;
    std::int64_t views;
    std::int64_t records;
    std::size_t id_size;

    std::string_view id() const { return {reinterpret_cast<const char*>(this + 1), id_size}; }
};

struct Key {
    std::int64_t hour_start;
    std::string_view id;
};

Key key_of(const Key& key) {
    return key;
}
Key key_of(const Entry* entry) {
    return {entry->hour_start, entry->id()};
}

bool operator<(const Key& a, const Key& b) {
    return a.hour_start != b.hour_start ? a.hour_start < b.hour_start : a.id < b.id;
}

/// A new secret from the system for each hash table.
std::uint64_t random_word() {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device();
}

class KeyHash {
  public:
    template <typename T>
    std::size_t operator()(const T& of) const {
        const Key key = key_of(of);
        SipHash<1, 3> hash{secret0_, secret1_};
        hash.word(static_cast<std::uint64_t>(key.hour_start));
        return hash.finish(key.id, key.id.size() + sizeof key.hour_start);
    }

  private:
    std::uint64_t secret0_ = random_word();
    std::uint64_t secret1_ = random_word();
};

struct KeyEqual {
    using is_transparent = void;

    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
        const Key x = key_of(a);
        const Key y = key_of(b);
        return x.hour_start == y.hour_start && x.id == y.id;
    }
};

/// Bytes handed out one behind the other and given back all at once.
class Arena {
  public:
    /// Aligned for an Entry; valid until rewind. Requires size <= kChunkBytes.
    void* allocate(std::size_t size) {
        const std::size_t rounded = (size + alignof(Entry) - 1) / alignof(Entry) * alignof(Entry);
        assert(rounded <= kChunkBytes);
        if (rounded > kChunkBytes - used_in_chunk_) {
            if (next_chunk_ == chunks_.size()) chunks_.push_back(std::make_unique_for_overwrite<Chunk>());
            ++next_chunk_;
            used_in_chunk_ = 0;
        }
        std::byte* const place = chunks_[next_chunk_ - 1]->bytes + used_in_chunk_;
        used_in_chunk_ += rounded;
        return place;
    }

    /// What lies before the next free byte; ends of chunks too short for an entry included.
    std::size_t bytes() const { return next_chunk_ == 0 ? 0 : (next_chunk_ - 1) * kChunkBytes + used_in_chunk_; }

    /// Takes everything back and keeps as many chunks as were in use.
    void rewind() {
        chunks_.resize(next_chunk_);
        next_chunk_ = 0;
        used_in_chunk_ = kChunkBytes;
    }

  private:
    struct Chunk {
        alignas(Entry) std::byte bytes[kChunkBytes];
    };

    std::vector<std::unique_ptr<Chunk>> chunks_;
    std::size_t next_chunk_ = 0;  // chunks in use; the last of them is being filled
    std::size_t used_in_chunk_ = kChunkBytes;
};

// Only pointers lie in the buckets, with 32 bits of the hash to compare first: 16 bytes each, so that doubling the table is
// cheap and the sums stay where they are.
using EntrySet = tsl::robin_set<Entry*, KeyHash, KeyEqual, std::allocator<Entry*>, true>;
constexpr std::size_t kBucketBytes = sizeof(tsl::detail_robin_hash::bucket_entry<Entry*, true>);

}  // namespace

class Aggregate::Table {
  public:
    void add(const Key& key, std::int64_t views) {
        assert(!key.id.empty() && key.id.size() <= kMaxVideoIdBytes && views > 0);
        const std::size_t hash = entries_.hash_function()(key);
        const auto found = entries_.find(key, hash);
        Entry* entry = nullptr;
        if (found != entries_.end()) {
            entry = *found;
        } else {
            entry = new (arena_.allocate(sizeof(Entry) + key.id.size())) Entry{key.hour_start, 0, 0, key.id.size()};
            std::memcpy(entry + 1, key.id.data(), key.id.size());
            entries_.insert(entry);
        }
        entry->views += views;
        ++entry->records;
    }

    std::size_t size() const { return entries_.size(); }

    std::size_t bytes() const { return entries_.empty() ? 0 : arena_.bytes() + entries_.bucket_count() * kBucketBytes; }

    std::vector<const Entry*> sorted() const {
        std::vector<const Entry*> sorted(entries_.begin(), entries_.end());
        std::sort(sorted.begin(), sorted.end(), [](const Entry* a, const Entry* b) { return key_of(a) < key_of(b); });
        return sorted;
    }

    void clear() {
        // An outsize table would be swept at every flush from now on.
        if (entries_.bucket_count() > 8 * entries_.size()) {
            entries_ = EntrySet{};
        } else {
            entries_.clear();
        }
        arena_.rewind();
    }

  private:
    EntrySet entries_;
    Arena arena_;
};

Aggregate::Aggregate() : table_(std::make_unique<Table>()) {}
Aggregate::~Aggregate() = default;
Aggregate::Aggregate(Aggregate&&) noexcept = default;
Aggregate& Aggregate::operator=(Aggregate&&) noexcept = default;

void Aggregate::add(Millis hour_start, std::string_view video_id, std::int64_t views) {
    table_->add({raw(hour_start), video_id}, views);
}

std::size_t Aggregate::size() const {
    return table_->size();
}

std::size_t Aggregate::bytes() const {
    return table_->bytes();
}

std::vector<Cell> Aggregate::cells() const {
    std::vector<Cell> cells;
    cells.reserve(size());
    for (const Entry* entry : table_->sorted()) cells.push_back({Millis{entry->hour_start}, entry->id(), entry->views, entry->records});
    return cells;
}

std::string Aggregate::encode() const {
    const auto sorted = table_->sorted();
    std::string out(1, '\x01');
    for (auto hour = sorted.begin(); hour != sorted.end();) {
        const auto end = std::find_if(hour, sorted.end(), [&](const Entry* entry) { return entry->hour_start != (*hour)->hour_start; });
        append_big_endian(out, (*hour)->hour_start);
        append_big_endian(out, static_cast<std::uint32_t>(end - hour));
        for (; hour != end; ++hour) {
            append_big_endian(out, static_cast<std::uint16_t>((*hour)->id_size));
            out.append((*hour)->id());
            append_big_endian(out, (*hour)->views);
        }
    }
    return out;
}

void Aggregate::clear() {
    table_->clear();
}

}  // namespace topkd
