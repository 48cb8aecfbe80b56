#pragma once

#include <qsketch/detail/block_sort.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// What top_k can count: integers, doubles (by value: -0.0 is 0.0), and strings.
template <class Key>
concept top_k_key = (std::integral<Key> && !std::same_as<Key, bool>) || std::same_as<Key, double> ||
                    std::same_as<Key, std::string_view>;

/// The most frequent keys of a stream, with a lower and an upper bound on the count of every key.
///
/// Keeps a counter for each of up to capacity() keys. When there is one key too many, a middle counter's value is
/// taken from all of them, those that reach zero are dropped, and error() grows by that value. So a counter never
/// exceeds the truth and misses at most error() of it, and as long as no more than capacity() keys were seen every
/// count is exact. The state is a function of what was added and in which order: nothing is sampled, nothing depends on
/// the hash, which only finds the counters and may be a keyed one against an adversary who picks keys.
///
/// Source: Misra and Gries, "Finding repeated elements", 1982; Anderson et al., "A high-performance algorithm for
/// identifying frequent items in data streams", 2017 (arXiv 1705.07001), of which this takes the purge, with the exact
/// middle in place of a sampled one; Agarwal et al., "Mergeable summaries", 2012, section 3 for merge.
template <top_k_key Key = std::string_view, stable_hash<Key> Hash = hash>
class top_k {
    using owned_key = std::conditional_t<std::same_as<Key, std::string_view>, std::string, Key>;

public:
    using key_type = Key;
    using hash_type = Hash;

    struct item {
        owned_key key;
        std::uint64_t lower;
        std::uint64_t upper;
        friend bool operator==(const item&, const item&) = default;
    };

    static constexpr std::uint32_t max_n = std::uint32_t{1} << 20;
    /// The longest string, in bytes, that may be counted: no image can then announce an absurd key.
    static constexpr std::size_t max_key_size = std::size_t{1} << 20;

    /// `n` is how many keys items() should name, 1 .. 2^20; it sets capacity().
    /// Throws std::invalid_argument outside of that range.
    explicit top_k(std::uint32_t n, Hash hash = {}) : n_(n), hash_(std::move(hash)) {
        if (n < 1 || n > max_n) throw std::invalid_argument("top_k: n must be 1 .. 1048576, got " + std::to_string(n));
    }

    /// Counts `weight` more of the key; a weight of 0 changes nothing.
    /// Complexity: O(1) amortised, O(capacity()) where counters are dropped.
    /// Throws std::invalid_argument for NaN and for a string of more than 2^20 bytes; nothing is changed then.
    void add(const Key& key, std::uint64_t weight = 1) {
        require_countable(key);
        if (weight == 0) return;
        count(key, weight);
        if (counters_.size() > capacity()) drop_to(capacity() / 2);
        total_ = sum(total_, weight);
    }

    /// Counts each key once: the same state as one add after the other.
    /// Throws as add; all keys are checked before the first is counted. Out of memory, those before it stay counted.
    void add(std::span<const Key> keys) {
        for (const Key& key : keys) require_countable(key);
        if constexpr (!strings) {
            for (; keys.size() >= batch_size; keys = keys.subspan(batch_size)) {
                const auto batch = keys.template first<batch_size>();
                if (counters_.empty() || counters_.size() + batch_size > capacity() || total_ > ~0ULL - batch_size)
                    for (const Key& key : batch) add(key);
                else
                    add_batch(batch);
            }
        }
        for (const Key& key : keys) add(key);
    }

    /// The n keys with the highest counters, or all there are: by descending upper bound, equal ones by key.
    /// Complexity: O(capacity() log n).
    /// Error: a key is missing only if its true count is at most error() or n others have counters at least as high.
    /// Asserted by top_k_bounds.test.cpp.
    [[nodiscard]] std::vector<item> items() const {
        std::vector<const counter*> best(counters_.size());
        for (std::size_t i = 0; i < best.size(); ++i) best[i] = &counters_[i];
        const std::size_t wanted = (std::min)(best.size(), std::size_t{n_});
        std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(wanted), best.end(),
                          [](const counter* a, const counter* b) {
                              return a->value != b->value ? a->value > b->value : a->key < b->key;
                          });
        std::vector<item> result;
        result.reserve(wanted);
        for (std::size_t i = 0; i < wanted; ++i)
            result.push_back({best[i]->key, best[i]->value, sum(best[i]->value, offset_)});
        return result;
    }

    /// The key was added at least so often; 0 if it has no counter.
    /// Error: lower <= truth <= upper and upper - lower <= error(), always (a truth above 2^64 - 1 counts as that).
    /// Asserted by top_k_bounds.test.cpp, after trees and chains of merges too.
    [[nodiscard]] std::uint64_t lower(const Key& key) const noexcept {
        const counter* found = find(canonical(key));
        return found == nullptr ? 0 : found->value;
    }

    /// The key was added at most so often. Error: as lower().
    [[nodiscard]] std::uint64_t upper(const Key& key) const noexcept { return sum(lower(key), offset_); }

    /// The largest possible upper(key) - lower(key), and the most that a key without a counter can have been added.
    /// Error: at most total() / (capacity() / 2 + 1), hence below total() / (12 n), whatever was added or merged.
    /// Asserted by top_k_bounds.test.cpp.
    //
    // Each drop takes a value c from all counters, of which at least capacity() / 2 + 1 are c or more, so their sum
    // falls by at least (capacity() / 2 + 1) * c while error() rises by c. Adds and merges raise the sum of the
    // counters by just as much as total(). Hence, at all times,
    //     sum of counters + (capacity() / 2 + 1) * error() <= total().
    [[nodiscard]] std::uint64_t error() const noexcept { return offset_; }

    /// The sum of all weights, exact up to 2^64 - 1, where it stays.
    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }

    [[nodiscard]] std::uint32_t n() const noexcept { return n_; }

    /// How many keys can have a counter: 24 n, at least 64. Up to so many distinct keys everything is exact.
    //
    // 24 n name all of the 100 most frequent keys of a Zipf(0.9) stream of 1.2 million keys, 16 n all but one, and 4 n
    // only 30; fewer also cost more time, since keys are dropped more often.
    [[nodiscard]] std::size_t capacity() const noexcept { return (std::max)(std::size_t{24} * n_, std::size_t{64}); }

    /// Counters and errors of both add up, then the smallest counters beyond capacity() are dropped together. The order
    /// of the two does not matter, and all bounds hold for any tree of merges; which keys of middling counts keep a
    /// counter does depend on the tree. The other sketch may be this one.
    /// Complexity: O(capacity()). Throws incompatible_error for another n.
    void merge(const top_k& other) {
        if (!compatible(other))
            throw incompatible_error("top_k::merge: a sketch of n = " + std::to_string(n_) +
                                     " cannot take one of n = " + std::to_string(other.n_));
        top_k merged = *this;
        merged.reserve(counters_.size() + other.counters_.size()); // beyond capacity() it would grow one by one
        for (const counter& c : other.counters_) merged.count(c.key, c.value);
        merged.offset_ = sum(offset_, other.offset_);
        merged.total_ = sum(total_, other.total_);
        if (merged.counters_.size() > capacity()) merged.drop_to(capacity());
        *this = std::move(merged);
    }

    /// Gives back the memory that finds counters, some half of all, and room for more of them; the next add() or
    /// merge() takes it again. For sketches that are held for long and seldom added to. Until then lower() and upper()
    /// are O(capacity()). Complexity: O(capacity()).
    void compact() {
        counters_ = std::vector<counter>(counters_);
        slots_ = std::vector<slot>(); // not {}, which would keep the capacity
    }

    /// Whether n is the same; hashes may differ, for no state depends on them.
    [[nodiscard]] bool compatible(const top_k& other) const noexcept { return n_ == other.n_; }

    /// Keeps the memory.
    void clear() noexcept {
        counters_.clear();
        std::fill(slots_.begin(), slots_.end(), slot{0});
        offset_ = 0;
        total_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return total_ == 0; }

    /// Complexity: O(capacity()), of two that are compact the square of it.
    friend bool operator==(const top_k& a, const top_k& b) noexcept {
        if (b.slots_.empty() && !a.slots_.empty()) return b == a;
        if (a.n_ != b.n_ || a.offset_ != b.offset_ || a.total_ != b.total_ || a.counters_.size() != b.counters_.size())
            return false;
        return std::all_of(a.counters_.begin(), a.counters_.end(), [&](const counter& c) {
            const counter* found = b.find(c.key);
            return found != nullptr && found->value == c.value;
        });
    }

    /// Complexity: O(1), for strings O(capacity()).
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + counters_.capacity() * sizeof(counter) + slots_.capacity() * sizeof(slot);
        if constexpr (strings) {
            const std::size_t inside = std::string().capacity();
            for (const counter& c : counters_)
                if (c.key.capacity() > inside) bytes += c.key.capacity() + 1;
        }
        return bytes;
    }

    /// The image: options {key type, key size, 0}; u32 n, u64 total, u64 error, u32 number of counters, then the
    /// counters by ascending key, each a key and a u64. A key is an integer of its own size, the bits of a double, or
    /// a u32 length and bytes. Complexity: O(capacity() log capacity()).
    [[nodiscard]] std::vector<std::byte> serialize() const {
        std::size_t size = 24 + counters_.size() * min_counter_size;
        if constexpr (strings)
            for (const counter& c : counters_) size += c.key.size();
        detail::image_writer out(detail::image_kind::top_k, options, size);
        out.put(n_);
        out.put(total_);
        out.put(offset_);
        out.put(static_cast<std::uint32_t>(counters_.size()));
        if constexpr (strings) {
            std::vector<const counter*> sorted;
            sorted.reserve(counters_.size());
            for (const counter& c : counters_) sorted.push_back(&c);
            std::sort(sorted.begin(), sorted.end(), [](const counter* a, const counter* b) { return a->key < b->key; });
            for (const counter* c : sorted) put_counter(out, *c);
        } else {
            std::vector<counter> sorted(counters_.size());
            if constexpr (std::same_as<Key, double>) {
                detail::sort_block(std::span(counters_), sorted.data());
            } else {
                std::copy(counters_.begin(), counters_.end(), sorted.begin());
                std::sort(sorted.begin(), sorted.end(),
                          [](const counter& a, const counter& b) { return a.key < b.key; });
            }
            for (const counter& c : sorted) put_counter(out, c);
        }
        return std::move(out).finish();
    }

    /// Any hash will do. Complexity: O(capacity()). Throws format_error for anything that serialize() of a sketch of
    /// these keys cannot have written; sizes are checked against the image before anything is allocated.
    [[nodiscard]] static top_k deserialize(std::span<const std::byte> image, Hash hash = {}) {
        detail::image_reader in(image, detail::image_kind::top_k, "top_k");
        in.require(in.options() == options, "has keys of another type");
        const auto n = in.take<std::uint32_t>();
        in.require(n >= 1 && n <= max_n, "has an n outside of 1 .. 1048576");
        top_k read(n, std::move(hash));
        read.total_ = in.take<std::uint64_t>();
        read.offset_ = in.take<std::uint64_t>();
        const auto size = in.take<std::uint32_t>();
        in.require(size <= read.capacity(), "has more counters than its n allows");
        in.require(size <= in.remaining() / min_counter_size, "announces more counters than it has bytes for");
        read.counters_.reserve(size);
        std::uint64_t counted = 0;
        for (std::uint32_t i = 0; i < size; ++i) {
            const Key key = take_key(in);
            const auto value = in.take<std::uint64_t>();
            in.require(i == 0 || read.counters_.back().key < key, "has keys out of order");
            in.require(value >= 1, "has a counter of zero");
            read.counters_.push_back({owned_key(key), value});
            counted = sum(counted, value);
        }
        in.expect_end();
        read.reserve(size);
        in.require(read.consistent(counted), "has counters that do not fit its total and its error");
        return read;
    }

private:
    static constexpr bool strings = std::same_as<Key, std::string_view>;
    static constexpr std::size_t batch_size = 64;
    static constexpr std::size_t min_counter_size =
        (strings ? sizeof(std::uint32_t) : sizeof(Key)) + sizeof(std::uint64_t);

    [[nodiscard]] static constexpr detail::image_options key_type_options() noexcept {
        if constexpr (strings)
            return {4, 0, 0};
        else if constexpr (std::same_as<Key, double>)
            return {3, 8, 0};
        else
            return {std::is_signed_v<Key> ? std::uint8_t{2} : std::uint8_t{1}, std::uint8_t{sizeof(Key)}, 0};
    }
    static constexpr detail::image_options options = key_type_options();

    struct counter {
        owned_key key;
        std::uint64_t value;

        /// For detail::sort_block().
        friend double place_of(const counter& c) noexcept requires std::same_as<Key, double> { return c.key; }
    };

    /// Open addressing with linear probing over the counters: 0 is a free slot, place i is counter i - 1. The low bits
    /// of the hash say where a search starts; the mark, its highest bits, spares most comparisons of other keys. At
    /// most a third of the slots are taken.
    using slot = std::uint32_t;
    static constexpr unsigned place_bits = 26;
    static constexpr slot place_mask = (slot{1} << place_bits) - 1;
    static_assert(std::uint64_t{48} * max_n <= place_mask, "a merge makes counters for two sketches before it drops");

    [[nodiscard]] static std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept {
        return a + b < a ? ~0ULL : a + b;
    }

    static void require_countable(const Key& key) {
        if constexpr (std::same_as<Key, double>) {
            if (key != key) throw std::invalid_argument("top_k: a key must be a number, got NaN");
        } else if constexpr (strings) {
            if (key.size() > max_key_size)
                throw std::invalid_argument("top_k: a key must have at most 1048576 bytes, got " +
                                            std::to_string(key.size()));
        }
    }

    [[nodiscard]] static Key canonical(const Key& key) noexcept {
        if constexpr (std::same_as<Key, double>)
            return key == 0 ? 0.0 : key;
        else
            return key;
    }

    [[nodiscard]] static slot mark_of(std::uint64_t hash) noexcept {
        return static_cast<slot>(hash >> 32) & ~place_mask;
    }

    /// The slot of the key or the free one where it belongs. There are free slots.
    [[nodiscard]] std::size_t slot_of(const Key& key, std::uint64_t hash) const noexcept {
        const std::size_t mask = slots_.size() - 1;
        const slot mark = mark_of(hash);
        std::size_t i = static_cast<std::size_t>(hash) & mask;
        while (slots_[i] != 0 &&
               !((slots_[i] & ~place_mask) == mark && counters_[(slots_[i] & place_mask) - 1].key == key))
            i = (i + 1) & mask;
        return i;
    }

    [[nodiscard]] const counter* find(const Key& key) const noexcept {
        if (slots_.empty()) {
            const auto at =
                std::find_if(counters_.begin(), counters_.end(), [&](const counter& c) { return c.key == key; });
            return at == counters_.end() ? nullptr : &*at;
        }
        const slot found = slots_[slot_of(key, hash_(key))];
        return found == 0 ? nullptr : &counters_[(found & place_mask) - 1];
    }

    /// Counts keys that cannot lead to a drop, so that their order does not matter: at once those that sit in their
    /// first slot, without a branch on whether they do, for that cannot be predicted; then the others. There is a
    /// counter, and total_ does not run full.
    void add_batch(std::span<const Key, batch_size> keys) {
        reserve(counters_.size() + batch_size);
        std::array<std::uint64_t, batch_size> hashes;
        for (std::size_t i = 0; i < batch_size; ++i) hashes[i] = hash_(canonical(keys[i]));
        std::array<std::uint32_t, batch_size> hits;
        std::array<std::uint32_t, batch_size> others;
        std::size_t hit_count = 0;
        const slot* const slots = slots_.data();
        const std::size_t mask = slots_.size() - 1;
        counter* const counters = counters_.data();
        for (std::size_t i = 0; i < batch_size; ++i) {
            const slot first = slots[static_cast<std::size_t>(hashes[i]) & mask];
            const slot place = (first & place_mask) - slot{first != 0};
            const unsigned found = unsigned{first != 0} & unsigned{counters[place].key == canonical(keys[i])};
            hits[hit_count] = place;
            others[i - hit_count] = static_cast<std::uint32_t>(i);
            hit_count += found;
        }
        for (std::size_t i = 0; i < hit_count; ++i) ++counters[hits[i]].value;
        const std::size_t other_count = batch_size - hit_count;
        for (std::size_t i = 0; i < other_count; ++i) count_hashed(canonical(keys[others[i]]), hashes[others[i]], 1);
        total_ += batch_size;
    }

    /// Raises the counter of the key, which is made if it is not there. Leaves total_ and the capacity to the caller.
    void count(const Key& given, std::uint64_t weight) {
        reserve(counters_.size() + 1);
        const Key key = canonical(given);
        count_hashed(key, hash_(key), weight);
    }

    /// Makes room for so many counters: to the last of them no more than capacity() asks for.
    void reserve(std::size_t size) {
        if (size * 3 > slots_.size()) {
            slots_ = std::vector<slot>((std::max)(std::bit_ceil(size * 3), std::size_t{16}));
            fill_slots();
        }
        if (size > counters_.capacity())
            counters_.reserve((std::max)(size, (std::min)(counters_.capacity() * 2, capacity() + 1)));
    }

    /// There is room for one more counter.
    void count_hashed(const Key& key, std::uint64_t hash, std::uint64_t weight) {
        slot& found = slots_[slot_of(key, hash)];
        if (found == 0) {
            counters_.push_back({owned_key(key), weight});
            found = mark_of(hash) | static_cast<slot>(counters_.size());
        } else {
            std::uint64_t& value = counters_[(found & place_mask) - 1].value;
            value = sum(value, weight);
        }
    }

    /// Puts all counters into slots that are free so far.
    void fill_slots() noexcept {
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t place = 1; place <= counters_.size(); ++place) {
            const std::uint64_t hash = hash_(counters_[place - 1].key);
            std::size_t i = static_cast<std::size_t>(hash) & mask;
            while (slots_[i] != 0) i = (i + 1) & mask;
            slots_[i] = mark_of(hash) | static_cast<slot>(place);
        }
    }

    /// Lowers all counters by the (kept + 1)-th largest, which leaves at most `kept`; there must be more than that.
    /// Those left keep their order: old ones, the most frequent ones among them, have first choice of slots.
    void drop_to(std::size_t kept) noexcept {
        const std::uint64_t taken = largest_after(kept);
        if constexpr (strings) {
            std::erase_if(counters_, [taken](const counter& c) { return c.value <= taken; });
            for (counter& c : counters_) c.value -= taken;
        } else {
            // Without a branch on what stays.
            std::size_t size = 0;
            for (const counter& c : counters_) {
                const counter lowered = {c.key, c.value - taken};
                const bool stays = c.value > taken;
                counters_[size] = lowered;
                size += stays;
            }
            counters_.erase(counters_.begin() + static_cast<std::ptrdiff_t>(size), counters_.end());
        }
        offset_ = sum(offset_, taken);
        std::fill(slots_.begin(), slots_.end(), slot{0});
        fill_slots();
    }

    /// The (kept + 1)-th largest counter, of more than that. In most drops of a long stream it is 1, which is seen
    /// without moving anything; else counters are put about it, in an order of which only this value matters.
    [[nodiscard]] std::uint64_t largest_after(std::size_t kept) noexcept {
        std::size_t above_one = 0;
        for (const counter& c : counters_) above_one += c.value > 1;
        if (above_one <= kept) return 1;
        const auto middle = counters_.begin() + static_cast<std::ptrdiff_t>(kept);
        std::nth_element(counters_.begin(), middle, counters_.end(),
                         [](const counter& a, const counter& b) { return a.value > b.value; });
        return middle->value;
    }

    /// The invariant beside error(). Where total_ has run full it says nothing: the true total is unknown.
    [[nodiscard]] bool consistent(std::uint64_t counted) const noexcept {
        if (offset_ == 0) return counted == total_;
        if (total_ == (std::numeric_limits<std::uint64_t>::max)()) return true;
        return counted <= total_ && offset_ <= (total_ - counted) / (capacity() / 2 + 1);
    }

    static void put_counter(detail::image_writer& out, const counter& c) {
        put_key(out, c.key);
        out.put(c.value);
    }
    static void put_key(detail::image_writer& out, const owned_key& key) {
        if constexpr (strings) {
            out.put(static_cast<std::uint32_t>(key.size()));
            out.put(std::as_bytes(std::span(key.data(), key.size())));
        } else if constexpr (std::same_as<Key, double>) {
            out.put(key);
        } else {
            out.put(static_cast<std::make_unsigned_t<Key>>(key));
        }
    }

    [[nodiscard]] static Key take_key(detail::image_reader& in) {
        if constexpr (strings) {
            const auto size = in.take<std::uint32_t>();
            in.require(size <= max_key_size, "has a key of more than 1048576 bytes");
            const auto bytes = in.take_bytes(size);
            return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
        } else if constexpr (std::same_as<Key, double>) {
            const double key = in.take_double();
            in.require(key == key, "has NaN for a key");
            in.require(std::bit_cast<std::uint64_t>(key) != std::uint64_t{1} << 63, "has -0.0 for a key");
            return key;
        } else {
            return static_cast<Key>(in.take<std::make_unsigned_t<Key>>());
        }
    }

    std::uint32_t n_;
    Hash hash_;
    std::uint64_t total_ = 0;
    std::uint64_t offset_ = 0;
    std::vector<counter> counters_;
    std::vector<slot> slots_;
};

} // namespace qsketch::inline v0
