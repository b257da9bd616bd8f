#include "aggregate.h"

#include <algorithm>
#include <array>
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

/// A new secret from the system for each hash table.
std::uint64_t random_word() {
    std::random_device device;
    return static_cast<std::uint64_t>(device()) << 32 | device();
}

class KeyHash {
  public:
    /// Half of the hash: what a table of up to 2^32 slots needs.
    std::uint32_t operator()(const Key& key) const {
        SipHash<1, 3> hash{secret0_, secret1_};
        hash.word(static_cast<std::uint64_t>(key.hour_start));
        return static_cast<std::uint32_t>(hash.finish(key.id, key.id.size() + sizeof key.hour_start));
    }

  private:
    std::uint64_t secret0_ = random_word();
    std::uint64_t secret1_ = random_word();
};

/// Entries one behind the other, given back all at once. A place is a number of units from the beginning: 2^32 of them are 32 GiB.
class Arena {
  public:
    /// Room for an entry with its id, until rewind. Requires size <= kChunkBytes.
    std::uint32_t allocate(std::size_t size) {
        const std::size_t rounded = units(size);
        assert(rounded <= kChunkUnits);
        if (rounded > kChunkUnits - used_in_chunk_) {
            if (chunks_in_use_ > 0) chunks_[chunks_in_use_ - 1]->end = used_in_chunk_;
            if (chunks_in_use_ == chunks_.size()) chunks_.push_back(std::make_unique_for_overwrite<Chunk>());
            ++chunks_in_use_;
            used_in_chunk_ = 0;
        }
        const std::size_t place = (chunks_in_use_ - 1) * kChunkUnits + used_in_chunk_;
        used_in_chunk_ += rounded;
        return static_cast<std::uint32_t>(place);
    }

    Entry* at(std::uint32_t place) const { return entry_at(*chunks_[place / kChunkUnits], place % kChunkUnits); }

    /// Calls visit(entry) for each, in the order in which they were made.
    template <typename Visit>
    void each(Visit visit) const {
        for (std::size_t i = 0; i < chunks_in_use_; ++i) {
            const std::size_t end = i + 1 < chunks_in_use_ ? chunks_[i]->end : used_in_chunk_;
            for (std::size_t unit = 0; unit < end;) {
                const Entry& entry = *entry_at(*chunks_[i], unit);
                visit(entry);
                unit += units(sizeof(Entry) + entry.id_size);
            }
        }
    }

    /// What lies before the next free byte; ends of chunks too short for an entry included.
    std::size_t bytes() const { return chunks_in_use_ == 0 ? 0 : ((chunks_in_use_ - 1) * kChunkUnits + used_in_chunk_) * kUnit; }

    /// Takes everything back and keeps as many chunks as were in use.
    void rewind() {
        chunks_.resize(chunks_in_use_);
        chunks_in_use_ = 0;
        used_in_chunk_ = kChunkUnits;
    }

  private:
    static constexpr std::size_t kUnit = alignof(Entry);
    static constexpr std::size_t kChunkUnits = kChunkBytes / kUnit;

    struct Chunk {
        alignas(Entry) std::byte bytes[kChunkBytes];
        std::size_t end;  // in units; of a chunk behind which another one is in use
    };

    static std::size_t units(std::size_t size) { return (size + kUnit - 1) / kUnit; }
    static Entry* entry_at(Chunk& chunk, std::size_t unit) { return reinterpret_cast<Entry*>(chunk.bytes + unit * kUnit); }

    std::vector<std::unique_ptr<Chunk>> chunks_;
    std::size_t chunks_in_use_ = 0;  // the last of them is being filled
    std::size_t used_in_chunk_ = kChunkUnits;
};

/// What an entry lies by: a hash table of places in the arena, open addressing, probed one slot after the other. A slot has the hash too,
/// so that doubling the table reads no entry, and searching hardly ever another one than the right one.
class Index {
  public:
    struct Slot {
        std::uint32_t hash = 0;
        std::uint32_t place = 0;  ///< plus one; 0 is an empty slot
    };

    /// The slot of the entry that `is` accepts, or the empty one where it belongs.
    template <typename Is>
    Slot& find(std::uint32_t hash, Is is) {
        std::size_t at = hash & mask_;
        while (slots_[at].place != 0 && !(slots_[at].hash == hash && is(slots_[at].place - 1))) at = (at + 1) & mask_;
        return slots_[at];
    }

    /// Makes an empty slot that find returned a used one. The table may move.
    void use(Slot& slot, std::uint32_t hash, std::uint32_t place) {
        slot = {hash, place + 1};
        if (++used_ > slots_.size() / 2) grow();
    }

    std::size_t used() const { return used_; }
    std::size_t bytes() const { return slots_.size() * sizeof(Slot); }

    void clear() {
        // An outsize table would be swept at every flush from now on.
        const std::size_t size = std::max(kSmallest, slots_.size() > 16 * used_ ? slots_.size() / 4 : slots_.size());
        if (size == slots_.size()) {
            std::fill(slots_.begin(), slots_.end(), Slot{});
        } else {
            slots_ = std::vector<Slot>(size);
        }
        mask_ = size - 1;
        used_ = 0;
    }

  private:
    static constexpr std::size_t kSmallest = 64;

    void grow() {
        std::vector<Slot> old(slots_.size() * 2);
        old.swap(slots_);
        mask_ = slots_.size() - 1;
        for (const Slot& slot : old) {
            if (slot.place != 0) find(slot.hash, [](std::uint32_t) { return false; }) = slot;
        }
    }

    std::vector<Slot> slots_ = std::vector<Slot>(kSmallest);
    std::size_t mask_ = kSmallest - 1;
    std::size_t used_ = 0;
};

/// An entry and the first bytes in which its id differs from others of the aggregate, so that sorting hardly ever reads an id.
struct Sortable {
    std::int64_t hour_start;
    std::uint64_t beginning;
    const Entry* entry;

    friend bool operator<(const Sortable& a, const Sortable& b) {
        if (a.hour_start != b.hour_start) return a.hour_start < b.hour_start;
        if (a.beginning != b.beginning) return a.beginning < b.beginning;
        return a.entry->id() < b.entry->id();
    }
};

/// The eight bytes behind the first `skipped`, as a number in the order of the bytes; zeros where the id ends before: as they may also be
/// in an id, equal numbers decide nothing.
std::uint64_t beginning_of(std::string_view id, std::size_t skipped) {
    std::array<unsigned char, 8> bytes{};
    std::memcpy(bytes.data(), id.data() + skipped, std::min(id.size() - skipped, bytes.size()));
    std::uint64_t number = 0;
    for (const unsigned char byte : bytes) number = number << 8 | byte;
    return number;
}

}  // namespace

class Aggregate::Table {
  public:
    void add(const Key& key, std::int64_t views) {
        assert(!key.id.empty() && key.id.size() <= kMaxVideoIdBytes && views > 0);
        const std::uint32_t hash = hash_(key);
        Index::Slot& slot = index_.find(hash, [&](std::uint32_t place) {
            const Entry& entry = *arena_.at(place);
            return entry.hour_start == key.hour_start && entry.id() == key.id;
        });
        if (slot.place != 0) {
            Entry& entry = *arena_.at(slot.place - 1);
            entry.views += views;
            ++entry.records;
            return;
        }
        const std::uint32_t place = arena_.allocate(sizeof(Entry) + key.id.size());
        auto* const entry = new (arena_.at(place)) Entry{key.hour_start, views, 1, key.id.size()};
        std::memcpy(entry + 1, key.id.data(), key.id.size());
        index_.use(slot, hash, place);
    }

    std::size_t size() const { return index_.used(); }

    std::size_t bytes() const { return size() == 0 ? 0 : arena_.bytes() + index_.bytes(); }

    std::size_t bytes_of_entries() const { return arena_.bytes(); }

    std::vector<Sortable> sorted() const {
        std::vector<Sortable> sorted;
        sorted.reserve(size());
        arena_.each([&](const Entry& entry) { sorted.push_back({entry.hour_start, 0, &entry}); });
        const std::size_t skipped = common_beginning(sorted);
        for (Sortable& one : sorted) one.beginning = beginning_of(one.entry->id(), skipped);
        std::sort(sorted.begin(), sorted.end());
        return sorted;
    }

    void clear() {
        index_.clear();
        arena_.rewind();
    }

  private:
    /// How many bytes all ids begin with alike.
    static std::size_t common_beginning(const std::vector<Sortable>& entries) {
        if (entries.empty()) return 0;
        std::string_view common = entries.front().entry->id();
        for (const Sortable& one : entries) {
            const std::string_view id = one.entry->id();
            const auto end = std::mismatch(common.begin(), common.end(), id.begin(), id.end()).first;
            common = common.substr(0, static_cast<std::size_t>(end - common.begin()));
        }
        return common.size();
    }

    KeyHash hash_;
    Index index_;
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
    for (const auto& [hour_start, beginning, entry] : table_->sorted()) {
        cells.push_back({Millis{hour_start}, entry->id(), entry->views, entry->records});
    }
    return cells;
}

std::string Aggregate::encode() const {
    const auto sorted = table_->sorted();
    std::string out;
    out.reserve(1 + table_->bytes_of_entries());  // of which an entry takes more than its encoding with an hour of its own
    out.push_back('\x01');
    for (auto hour = sorted.begin(); hour != sorted.end();) {
        const auto end = std::find_if(hour, sorted.end(), [&](const Sortable& one) { return one.hour_start != hour->hour_start; });
        append_big_endian(out, hour->hour_start);
        append_big_endian(out, static_cast<std::uint32_t>(end - hour));
        for (; hour != end; ++hour) {
            append_big_endian(out, static_cast<std::uint16_t>(hour->entry->id_size));
            out.append(hour->entry->id());
            append_big_endian(out, hour->entry->views);
        }
    }
    return out;
}

void Aggregate::clear() {
    table_->clear();
}

}  // namespace topkd
