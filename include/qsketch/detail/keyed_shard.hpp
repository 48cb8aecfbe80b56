#pragma once

#include <qsketch/detail/entry_lock.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// A part of a keyed: a hash table of entries with a lock each, searched without a lock of its own. Whoever makes or
/// drops entries holds `mutex`.
template <class Key, class LookupKey, class Value, class TimePoint>
struct alignas(64) keyed_shard {
    /// The address of an entry, 0 where there is none, with bits of the hash in those that alignment leaves free.
    using slot = std::uintptr_t;
    static constexpr slot tags = 31;

    /// Once made, an entry stays where it is as long as the map lives, in use or spare: so a thread may look at one
    /// that was dropped and even taken into use for another key since the thread found it, and sees that it was.
    struct alignas(tags + 1) entry {
        entry_lock lock;
        std::atomic<std::uint64_t> hash = 0;
        std::atomic<TimePoint> touched = TimePoint();
        Key key{};                  // written under both this lock and the shard's mutex, read under either
        std::optional<Value> value; // under this lock; none: spare, or about to be

        void touch(TimePoint when) noexcept {
            if (touched.load(std::memory_order_relaxed) < when) touched.store(when, std::memory_order_relaxed);
        }
        [[nodiscard]] bool idle_since(TimePoint before) const noexcept {
            return touched.load(std::memory_order_relaxed) < before;
        }
    };

    /// Open addressing with linear probing, at most three quarters full.
    struct table {
        explicit table(std::size_t size) : mask(size - 1), slots(new std::atomic<slot>[size]()) {}
        std::size_t mask;
        std::unique_ptr<std::atomic<slot>[]> slots;
    };

    template <template <class> class Lock>
    struct locked_entry {
        entry* at = nullptr; // null: unknown key
        Lock<entry_lock> lock{};
    };

    std::atomic<const table*> current = nullptr;
    mutable std::mutex mutex; // for everything but looking up in `current`
    std::size_t size = 0;
    std::size_t entry_count = 0;
    entry* spare = nullptr;                     // linked through `hash`
    std::vector<std::unique_ptr<table>> tables; // those before the current one may still be searched
    std::vector<std::pair<std::unique_ptr<entry[]>, std::size_t>> blocks;

    /// The entry of the key, locked. Without the mutex, which may miss an entry that is just being moved to close a
    /// gap.
    template <template <class> class Lock>
    [[nodiscard]] locked_entry<Lock> locked(LookupKey key, std::uint64_t hash) const noexcept {
        if (const table* const t = current.load(std::memory_order_acquire)) {
            const slot tag = tag_of(hash);
            for (std::size_t i = 0; i <= t->mask; ++i) {
                const slot taken = t->slots[(first_slot(hash) + i) & t->mask].load(std::memory_order_acquire);
                if (taken == 0) break;
                if ((taken & tags) != tag) continue;
                entry* const e = entry_at(taken);
                if (e->hash.load(std::memory_order_relaxed) != hash) continue;
                Lock lock(e->lock);
                if (e->value && e->key == key) return {e, std::move(lock)};
            }
        }
        return {};
    }

    /// locked(), and for sure.
    template <template <class> class Lock>
    [[nodiscard]] locked_entry<Lock> surely_locked(LookupKey key, std::uint64_t hash) const noexcept {
        for (;;) {
            if (auto found = locked<Lock>(key, hash); found.at != nullptr) return found;
            const std::lock_guard searching(mutex);
            if (find(key, hash) == nullptr) return {};
        }
    }

    [[nodiscard]] std::size_t capacity() const noexcept { return tables.empty() ? 0 : tables.back()->mask + 1; }
    [[nodiscard]] entry* at(std::size_t i) const noexcept {
        return entry_at(tables.back()->slots[i].load(std::memory_order_relaxed));
    }

    [[nodiscard]] entry* find(LookupKey key, std::uint64_t hash) const noexcept {
        if (tables.empty()) return nullptr;
        for (std::size_t i = first_slot(hash);; ++i) {
            entry* const e = at(i & tables.back()->mask);
            if (e == nullptr || (e->hash.load(std::memory_order_relaxed) == hash && e->key == key)) return e;
        }
    }

    [[nodiscard]] std::vector<entry*> entries() const {
        const std::lock_guard lock(mutex);
        std::vector<entry*> all;
        all.reserve(size);
        for (std::size_t i = 0; i < capacity(); ++i)
            if (entry* const e = at(i)) all.push_back(e);
        return all;
    }

    /// Room for one more in the table, and a spare entry.
    void reserve() {
        if ((size + 1) * 4 > capacity() * 3) {
            tables.reserve(tables.size() + 1);
            auto larger = std::make_unique<table>((std::max)(capacity() * 2, std::size_t{4}));
            for (std::size_t i = 0; i < capacity(); ++i)
                if (entry* const e = at(i)) put(*larger, *e);
            current.store(larger.get(), std::memory_order_release);
            tables.push_back(std::move(larger));
        }
        if (spare == nullptr) {
            const std::size_t count = std::clamp(entry_count / 4, std::size_t{1}, std::size_t{16});
            blocks.reserve(blocks.size() + 1);
            blocks.emplace_back(std::make_unique<entry[]>(count), count);
            entry_count += count;
            for (std::size_t i = 0; i < count; ++i) make_spare(blocks.back().first[i]);
        }
    }

    void make_spare(entry& e) noexcept {
        e.hash.store(reinterpret_cast<std::uintptr_t>(spare), std::memory_order_relaxed);
        spare = &e;
    }

    static void put(const table& t, entry& e) noexcept {
        const std::uint64_t hash = e.hash.load(std::memory_order_relaxed);
        std::size_t i = first_slot(hash);
        while (t.slots[i & t.mask].load(std::memory_order_relaxed) != 0) ++i;
        t.slots[i & t.mask].store(reinterpret_cast<slot>(&e) | tag_of(hash), std::memory_order_release);
    }

    /// Closes the gap with entries that come after it, so that none is left behind a free slot.
    void remove(const entry& e) noexcept {
        const table& t = *tables.back();
        std::size_t gap = first_slot(e.hash.load(std::memory_order_relaxed)) & t.mask;
        while (at(gap) != &e) gap = (gap + 1) & t.mask;
        for (std::size_t i = gap;;) {
            i = (i + 1) & t.mask;
            const entry* const moved = at(i);
            if (moved == nullptr) break;
            const std::size_t first = first_slot(moved->hash.load(std::memory_order_relaxed)) & t.mask;
            if (((i - first) & t.mask) < ((i - gap) & t.mask)) continue;
            t.slots[gap].store(t.slots[i].load(std::memory_order_relaxed), std::memory_order_release);
            gap = i;
        }
        t.slots[gap].store(0, std::memory_order_release);
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = entry_count * sizeof(entry) + blocks.capacity() * sizeof blocks[0];
        for (const auto& t : tables) bytes += sizeof t + sizeof *t + (t->mask + 1) * sizeof(slot);
        return bytes;
    }

private:
    [[nodiscard]] static std::size_t first_slot(std::uint64_t hash) noexcept { return static_cast<std::size_t>(hash); }
    /// Of the bits below the six that say which shard it is.
    [[nodiscard]] static slot tag_of(std::uint64_t hash) noexcept {
        return static_cast<slot>(hash >> (58 - std::bit_width(tags))) & tags;
    }
    [[nodiscard]] static entry* entry_at(slot s) noexcept { return reinterpret_cast<entry*>(s & ~tags); }
};

} // namespace qsketch::inline v0::detail
