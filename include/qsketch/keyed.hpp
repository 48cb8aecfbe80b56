#pragma once

#include <qsketch/detail/keyed_shard.hpp>
#include <qsketch/hash.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// What keyed can be a map of: strings, integers, and whatever else has an order and moves without throwing.
template <class Key>
concept keyed_key = std::copyable<Key> && std::totally_ordered<Key> && std::is_nothrow_default_constructible_v<Key> &&
    std::is_nothrow_move_assignable_v<Key>;

/// A map from keys to sketches, windows or other values, for any number of threads and at most max_keys() keys.
///
/// Every entry has a lock of its own. Who updates or reads a known key takes that lock and no other, so only users of
/// one key ever wait for each other; only making and dropping entries locks a shard, a 64th of the map, and for a
/// moment. A reader never keeps a writer of its key out for good: once a writer waits, later readers wait behind it.
///
/// Functions handed to a member run under a lock. They must not call this map, and should be short: copy a sketch out,
/// ask the copy.
///
/// All members may be called from any thread at any time, except the constructors and the destructor. A call that has
/// returned is seen by every call that begins afterwards. The memory of an entry without what its value allocates is
/// kept for the next entry, not given back.
///
/// Keys that strangers choose can be aimed at one place of the table; `Hash` may then be a keyed one as sip_hash.
/// Tests: keyed.test.cpp against a std::map, keyed_threads.test.cpp under ThreadSanitizer.
template <keyed_key Key, std::move_constructible Value, class Hash = hash, class Clock = std::chrono::steady_clock>
class keyed {
public:
    using key_type = Key;
    using value_type = Value;
    /// How keys are looked up: a std::string by std::string_view, so that nothing is allocated for a known key.
    using lookup_key = std::conditional_t<std::same_as<Key, std::string>, std::string_view, const Key&>;
    using time_point = typename Clock::time_point;

    /// Every entry starts as a copy of `prototype`.
    /// Throws std::invalid_argument unless max_keys is positive.
    explicit keyed(std::size_t max_keys, Value prototype = Value(), Clock clock = Clock(),
                   Hash hash = Hash()) requires std::copy_constructible<Value>
        : keyed(
              max_keys, [prototype = std::move(prototype)](const Key&) { return prototype; }, std::move(clock),
              std::move(hash)) {}

    /// Every entry starts as what `make` returns for its key; `make` is called from any thread, by several at once.
    /// Throws std::invalid_argument unless max_keys is positive.
    template <class Make>
    requires std::is_invocable_r_v<Value, const Make&, const Key&> keyed(std::size_t max_keys, Make make,
                                                                         Clock clock = Clock(), Hash hash = Hash())
        : max_keys_(max_keys), make_(std::move(make)), clock_(std::move(clock)), hash_(std::move(hash)) {
        if (max_keys == 0) throw std::invalid_argument("keyed: max_keys must be positive, got 0");
    }

    keyed(const keyed&) = delete;
    keyed& operator=(const keyed&) = delete;

    /// Calls f(Value&) alone with the value of the key, which is made if the key is new. Returns false, with nothing
    /// called, if the key is new and there are max_keys() already. `when` is the time of the update; the latest one of
    /// a key is what expire() looks at.
    /// O(1). Throws what f and making the value throw; a key that was new is then unknown again, and the value of one
    /// that was not is as f has left it.
    template <std::invocable<Value&> Function>
    bool update_at(time_point when, lookup_key key, Function&& f) {
        const std::uint64_t hash = hash_(key);
        shard& s = shard_of(hash);
        for (;;) {
            if (const auto found = s.template locked<std::unique_lock>(key, hash); found.at != nullptr) {
                std::forward<Function>(f)(*found.at->value);
                found.at->touch(when);
                return true;
            }
            std::unique_lock creating(s.mutex);
            if (s.find(key, hash) != nullptr) continue; // just made by another thread, or missed
            if (!count_one_more()) return false;
            unfinished made(*this, s, key, hash);
            creating.unlock();
            entry& created = made.created();
            created.value.emplace(make_(created.key));
            std::forward<Function>(f)(*created.value);
            created.touched.store(when, std::memory_order_relaxed);
            made.finish();
            return true;
        }
    }

    /// update_at() the clock's now.
    template <std::invocable<Value&> Function>
    bool update(lookup_key key, Function&& f) {
        return update_at(clock_.now(), key, std::forward<Function>(f));
    }

    /// Calls f(const Value&) with the value of the key, perhaps together with other readers. Returns what f returns in
    /// a std::optional, or true if that is nothing; nullopt or false, with nothing called, if the key is unknown.
    /// Counts as no update.
    /// O(1). Throws what f throws.
    template <std::invocable<const Value&> Function>
    auto read(lookup_key key, Function&& f) const {
        using answer = std::decay_t<std::invoke_result_t<Function, const Value&>>;
        const std::uint64_t hash = hash_(key);
        const auto found = shard_of(hash).template surely_locked<std::shared_lock>(key, hash);
        if constexpr (std::is_void_v<answer>) {
            if (found.at != nullptr) std::forward<Function>(f)(std::as_const(*found.at->value));
            return found.at != nullptr;
        } else {
            if (found.at == nullptr) return std::optional<answer>();
            return std::optional<answer>(std::forward<Function>(f)(std::as_const(*found.at->value)));
        }
    }

    /// Forgets the key, once those who are at its value are done. False if it is unknown. O(1).
    bool erase(lookup_key key) noexcept {
        const std::uint64_t hash = hash_(key);
        shard& s = shard_of(hash);
        const auto found = s.template surely_locked<std::unique_lock>(key, hash);
        if (found.at == nullptr) return false;
        drop(s, *found.at);
        return true;
    }

    /// Forgets the keys whose latest update is older than `before`; returns how many. Entries that somebody is at in
    /// this moment stay until the next call. What an update adds is never lost with an entry that expires at the same
    /// time: it comes either before the entry is looked at, or into a new one.
    /// O(size()).
    std::size_t expire(time_point before) noexcept {
        std::size_t dropped = 0;
        for (shard& s : shards_) {
            const std::lock_guard lock(s.mutex);
            for (std::size_t i = 0; i < s.capacity();) {
                entry* const e = s.at(i);
                if (e == nullptr || !e->idle_since(before) || !e->lock.try_lock()) {
                    ++i;
                    continue;
                }
                const std::unique_lock entry_lock(e->lock, std::adopt_lock);
                if (!e->idle_since(before)) continue;
                e->value.reset();
                unlink(s, *e); // another entry may now be at i
                ++dropped;
            }
        }
        return dropped;
    }

    /// The first `limit` keys in ascending order that come after `after`, if given, and for which wanted(key) holds.
    /// The last key of a page is the `after` of the next. Keys that come or go between two pages are or are not listed;
    /// all others are, once. A key whose first update is still under way may be.
    /// O(size() * log limit), in `limit` keys of memory; updates of known keys go on meanwhile.
    /// Throws what `wanted` throws.
    template <std::predicate<const Key&> Wanted>
    [[nodiscard]] std::vector<Key> page(std::optional<std::decay_t<lookup_key>> after, std::size_t limit,
                                        const Wanted& wanted) const {
        std::vector<Key> smallest; // a heap with the largest of them in front
        if (limit == 0) return smallest;
        for (const shard& s : shards_) {
            const std::lock_guard lock(s.mutex);
            for (std::size_t i = 0; i < s.capacity(); ++i) {
                const entry* const e = s.at(i);
                if (e == nullptr || (after && !(*after < e->key))) continue;
                const bool full = smallest.size() == limit;
                if ((full && !(e->key < smallest.front())) || !wanted(e->key)) continue;
                if (full) {
                    std::pop_heap(smallest.begin(), smallest.end());
                    smallest.back() = e->key;
                } else {
                    smallest.push_back(e->key);
                }
                std::push_heap(smallest.begin(), smallest.end());
            }
        }
        std::sort_heap(smallest.begin(), smallest.end());
        return smallest;
    }

    /// page() of all keys.
    [[nodiscard]] std::vector<Key> page(std::optional<std::decay_t<lookup_key>> after, std::size_t limit) const {
        return page(after, limit, [](const Key&) { return true; });
    }

    /// Calls f(const Key&, const Value&) for every entry, in no order; each as read() does. Entries made or dropped
    /// meanwhile are or are not visited.
    /// O(size()), in a 64th as many pointers of memory. Throws what f throws.
    template <std::invocable<const Key&, const Value&> Function>
    void for_each(Function&& f) const {
        for (const shard& s : shards_)
            for (entry* const e : s.entries()) {
                const std::shared_lock lock(e->lock);
                if (e->value) f(std::as_const(e->key), std::as_const(*e->value));
            }
    }

    /// Forgets all keys, each as erase() does; those that come meanwhile may stay. O(size()).
    void clear() {
        for (shard& s : shards_)
            for (entry* const e : s.entries()) {
                const std::unique_lock lock(e->lock);
                if (e->value) drop(s, *e);
            }
    }

    /// Keys whose first update is still under way included.
    [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::size_t max_keys() const noexcept { return max_keys_; }

    /// With what the values say of themselves in memory_bytes(), if they do. O(size()), as for_each().
    [[nodiscard]] std::size_t memory_bytes() const {
        std::size_t bytes = sizeof *this;
        for (const shard& s : shards_) {
            const std::lock_guard lock(s.mutex);
            bytes += s.memory_bytes();
        }
        for_each([&](const Key& key, const Value& value) {
            if constexpr (std::same_as<Key, std::string>)
                if (key.capacity() > Key().capacity()) bytes += key.capacity() + 1;
            if constexpr (requires { value.memory_bytes(); }) bytes += value.memory_bytes() - sizeof value;
        });
        return bytes;
    }

private:
    static_assert(std::is_nothrow_invocable_r_v<std::uint64_t, const Hash&, lookup_key>,
                  "keyed needs a hash that makes 64 bits of a key and does not throw");

    using shard = detail::keyed_shard<Key, lookup_key, Value, time_point>;
    using entry = typename shard::entry;

    /// An entry in the table and locked, which goes again unless its first update is finished.
    class unfinished {
    public:
        /// Under the mutex of the shard, with the key counted in size_ already.
        unfinished(keyed& map, shard& s, lookup_key key, std::uint64_t hash) : map_(map), shard_(s) {
            try {
                s.reserve();
                Key owned(key);
                created_ = s.spare;
                created_->lock.lock(); // perhaps of somebody who came for its former key; soon gone
                s.spare = reinterpret_cast<entry*>(
                    static_cast<std::uintptr_t>(created_->hash.load(std::memory_order_relaxed)));
                created_->key = std::move(owned);
            } catch (...) {
                map.size_.fetch_sub(1, std::memory_order_relaxed);
                throw;
            }
            created_->hash.store(hash, std::memory_order_relaxed);
            ++s.size;
            shard::put(*s.tables.back(), *created_);
        }
        unfinished(const unfinished&) = delete;
        unfinished& operator=(const unfinished&) = delete;
        ~unfinished() {
            if (!finished_) map_.drop(shard_, *created_);
            created_->lock.unlock();
        }
        [[nodiscard]] entry& created() const noexcept { return *created_; }
        void finish() noexcept { finished_ = true; }

    private:
        keyed& map_;
        shard& shard_;
        entry* created_;
        bool finished_ = false;
    };

    static constexpr unsigned shard_bits = 6;
    [[nodiscard]] static std::size_t shard_number(std::uint64_t hash) noexcept {
        return static_cast<std::size_t>(hash >> (64 - shard_bits));
    }
    [[nodiscard]] shard& shard_of(std::uint64_t hash) noexcept { return shards_[shard_number(hash)]; }
    [[nodiscard]] const shard& shard_of(std::uint64_t hash) const noexcept { return shards_[shard_number(hash)]; }

    [[nodiscard]] bool count_one_more() noexcept {
        std::size_t size = size_.load(std::memory_order_relaxed);
        while (size < max_keys_)
            if (size_.compare_exchange_weak(size, size + 1, std::memory_order_relaxed)) return true;
        return false;
    }

    /// Drops an entry that this thread holds the lock of, and not the shard's mutex.
    void drop(shard& s, entry& e) noexcept {
        e.value.reset();
        const std::lock_guard lock(s.mutex);
        unlink(s, e);
    }

    void unlink(shard& s, entry& e) noexcept {
        s.remove(e);
        --s.size;
        size_.fetch_sub(1, std::memory_order_relaxed);
        e.key = Key();
        s.make_spare(e);
    }

    std::size_t max_keys_;
    std::function<Value(const Key&)> make_;
    [[no_unique_address]] Clock clock_;
    [[no_unique_address]] Hash hash_;
    std::atomic<std::size_t> size_ = 0;
    std::array<shard, std::size_t{1} << shard_bits> shards_;
};

} // namespace qsketch::inline v0
