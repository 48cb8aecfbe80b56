#pragma once

#include <qsketch/detail/count_min_rows.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/prefetch.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <numbers>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// Policy of count_min: an add raises every cell of the key. Linear, so sketches can also be subtracted.
struct plain {};

/// Policy of count_min: an add raises the cells of the key only as far as its estimate has to rise. Closer to the
/// truth, above all for rare keys, but not linear: sums of sketches stay upper bounds, differences would not.
/// Source: Estan and Varghese, "New directions in traffic measurement and accounting", 2003, section 3.3.2.
struct conservative {};

/// How often was a key seen? `depth` rows of `width` counters; each key has one counter per row and shares it with
/// others, so every counter is an upper bound and the smallest one is the estimate.
///
/// Never too small: truth <= estimate, for every key, any merges, and counters that ran full. Source: Cormode and
/// Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications", 2005.
///
/// `Counter` saturates at its maximum instead of wrapping. `Policy` is `plain` or `conservative`.
template <class Key = std::string_view, class Policy = plain, std::unsigned_integral Counter = std::uint32_t,
          stable_hash<Key> Hash = hash>
class count_min {
    static_assert(std::same_as<Policy, plain> || std::same_as<Policy, conservative>,
                  "the policies of count_min are qsketch::plain and qsketch::conservative");
    static_assert(!std::same_as<Counter, bool> && sizeof(Counter) <= sizeof(std::uint64_t),
                  "a counter is an unsigned integer of 8 to 64 bits");

public:
    using key_type = Key;
    using policy_type = Policy;
    using counter_type = Counter;
    using hash_type = Hash;

    struct dimensions {
        std::uint32_t width;
        std::uint32_t depth;
        friend bool operator==(const dimensions&, const dimensions&) = default;
    };

    static constexpr std::uint32_t max_width = std::uint32_t{1} << 31;
    static constexpr std::uint32_t max_depth = 64;
    /// 64 GiB: far above any sensible table, low enough that no product of sizes overflows.
    static constexpr std::uint64_t max_table_bytes = std::uint64_t{1} << 36;

    /// The smallest table whose epsilon() and delta() are not above these: width e / epsilon, depth ln(1 / delta), both
    /// rounded up, for either policy. Both arguments lie strictly between 0 and 1.
    /// Throws std::invalid_argument outside of that, and where width or depth would pass their maximum.
    [[nodiscard]] static dimensions dimensions_for(double epsilon, double delta) {
        if (!(epsilon > 0 && epsilon < 1)) refuse("epsilon must be above 0 and below 1", epsilon);
        if (!(delta > 0 && delta < 1)) refuse("delta must be above 0 and below 1", delta);
        if (std::numbers::e / epsilon > max_width) refuse("epsilon is too small for a width of 2^31", epsilon);
        auto width = static_cast<std::uint32_t>(std::numbers::e / epsilon);
        // The quotient may be off by one rounding; epsilon_of decides, so that dimensions_for(epsilon(), ...) is exact.
        while (width > 1 && epsilon_of(width - 1) <= epsilon) --width;
        while (width < max_width && epsilon_of(width) > epsilon) ++width;
        std::uint32_t depth = 1;
        while (depth < max_depth && delta_of(depth) > delta) ++depth;
        if (delta_of(depth) > delta) refuse("delta is too small for a depth of 64", delta);
        return {width, depth};
    }

    /// Complexity: as the constructor. Throws: as dimensions_for and the constructor.
    [[nodiscard]] static count_min for_error(double epsilon, double delta, Hash hash = {}) {
        return count_min(dimensions_for(epsilon, delta), std::move(hash));
    }

    /// Width 1 .. 2^31, depth 1 .. 64, at most 64 GiB of counters.
    /// Complexity: O(width * depth). Throws std::invalid_argument outside of these ranges.
    explicit count_min(dimensions size, Hash hash = {})
        : dimensions_(checked(size)), hash_(std::move(hash)), cells_(cell_count(size)) {}

    /// Counts `n` more of the key. Complexity: O(depth).
    void add(const Key& key, std::uint64_t n = 1) noexcept { add_hash(hash_(key), n); }

    /// Counts each key once: the same state as one add after the other. Complexity: O(depth) a key, with the hashes
    /// and the columns of a batch computed ahead of its memory accesses.
    void add(std::span<const Key> keys) noexcept {
        for (; keys.size() >= least_batch; keys = keys.subspan((std::min)(keys.size(), batch_size))) {
            const batch staged(*this, keys);
            if (room_for(staged.size))
                add_batch<false>(staged);
            else
                add_batch<true>(staged);
        }
        for (const Key& key : keys) add(key);
    }

    /// add() for a key hashed elsewhere. All 64 bits must be well mixed: std::hash of an integer is not.
    void add_hash(std::uint64_t hash, std::uint64_t n = 1) noexcept {
        if (room_for(n))
            add_one<false>(hash, n);
        else
            add_one<true>(hash, n);
    }

    /// An upper bound on how often the key was added. When even its smallest counter is full, that is total().
    /// Complexity: O(depth).
    /// Error: truth <= estimate always. Over keys, the probability of estimate > truth + epsilon() * total() is at most
    /// delta(). Asserted by count_min_accuracy.test.cpp, which also makes the stream least favourable to it.
    [[nodiscard]] std::uint64_t estimate(const Key& key) const noexcept { return estimate_hash(hash_(key)); }

    /// The estimate of each key, in their order: out[i] = estimate(keys[i]). Complexity: O(depth) a key, batched as in
    /// add(). Throws std::invalid_argument, before anything is written, where the sizes differ. Error: as above.
    void estimate(std::span<const Key> keys, std::span<std::uint64_t> out) const {
        if (keys.size() != out.size())
            throw std::invalid_argument("count_min::estimate: there must be as many estimates as keys, got " +
                                        std::to_string(out.size()) + " for " + std::to_string(keys.size()));
        while (keys.size() >= least_batch) {
            const batch staged(*this, keys);
            estimate_batch(staged, out);
            keys = keys.subspan(staged.size);
            out = out.subspan(staged.size);
        }
        for (std::size_t i = 0; i < keys.size(); ++i) out[i] = estimate(keys[i]);
    }

    [[nodiscard]] std::uint64_t estimate_hash(std::uint64_t hash) const noexcept {
        const std::uint32_t width = dimensions_.width;
        const Counter* const cells = cells_.data();
        Counter least = full;
        with_depth(dimensions_.depth, [&](auto depth) {
            for_rows(depth, [&](std::uint32_t row) {
                const auto column = detail::count_min_column(hash, row, width);
                least = detail::lesser(least, cells[std::size_t{row} * width + column]);
            });
        });
        return least == full ? total_ : least;
    }

    /// Everything that was added, exact up to 2^64 - 1, where it stays.
    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }

    /// e / width: the error that an estimate may have, as a share of total().
    [[nodiscard]] double epsilon() const noexcept { return epsilon_of(dimensions_.width); }
    /// e^-depth: the probability that it is larger.
    [[nodiscard]] double delta() const noexcept { return delta_of(dimensions_.depth); }
    [[nodiscard]] std::uint32_t width() const noexcept { return dimensions_.width; }
    [[nodiscard]] std::uint32_t depth() const noexcept { return dimensions_.depth; }

    /// Adds the other sketch, which may be this one. `plain`: the state that all the keys would have made in one
    /// sketch. `conservative`: still never below the truth, but looser than one sketch of all the keys.
    /// Complexity: O(width * depth). Throws incompatible_error for other dimensions or another hash.
    void merge(const count_min& other) {
        require_compatible(other, "merge");
        for (std::size_t i = 0; i < cells_.size(); ++i) cells_[i] = detail::saturating_sum(cells_[i], other.cells_[i]);
        total_ = detail::saturating_sum(total_, other.total_);
    }

    /// Takes back what the other sketch counted, all of which must have been counted here before.
    /// Complexity: O(width * depth).
    /// Throws incompatible_error for other dimensions or another hash, and where a counter or the total would fall
    /// below zero or has run full, so that what it would become is not known; nothing is changed then.
    void subtract(const count_min& other) requires std::same_as<Policy, plain> {
        require_compatible(other, "subtract");
        const auto fits = []<class T>(T from, T taken) {
            return taken <= from && (taken == 0 || from < (std::numeric_limits<T>::max)());
        };
        bool all_fit = fits(total_, other.total_);
        for (std::size_t i = 0; all_fit && i < cells_.size(); ++i) all_fit = fits(cells_[i], other.cells_[i]);
        if (!all_fit)
            throw incompatible_error("count_min::subtract: a counter is full or smaller than what is taken from it");
        for (std::size_t i = 0; i < cells_.size(); ++i) cells_[i] = static_cast<Counter>(cells_[i] - other.cells_[i]);
        total_ -= other.total_;
    }

    [[nodiscard]] bool compatible(const count_min& other) const noexcept {
        return dimensions_ == other.dimensions_ && hash_ == other.hash_;
    }

    /// Complexity: O(width * depth).
    void clear() noexcept {
        std::fill(cells_.begin(), cells_.end(), Counter{0});
        total_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return total_ == 0; }

    friend bool operator==(const count_min&, const count_min&) = default;

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + cells_.capacity() * sizeof(Counter);
    }

    /// The image: options {policy, sizeof(Counter), 0}; u32 hash id, u32 width, u32 depth, u64 total, then the
    /// counters row by row. Complexity: O(width * depth).
    [[nodiscard]] std::vector<std::byte> serialize() const {
        detail::image_writer out(detail::image_kind::count_min, options, 20 + cells_.size() * sizeof(Counter));
        out.put(hash_.id());
        out.put(dimensions_.width);
        out.put(dimensions_.depth);
        out.put(total_);
        out.put(std::span<const Counter>(cells_));
        return std::move(out).finish();
    }

    /// The image does not say how to hash, only which hash it needs: pass the one it was written with.
    /// Complexity: O(width * depth). Throws format_error for anything that serialize() of this type with this hash
    /// cannot have written; the size of the table is checked against the image before it is allocated.
    [[nodiscard]] static count_min deserialize(std::span<const std::byte> image, Hash hash = {}) {
        detail::image_reader in(image, detail::image_kind::count_min, "count_min");
        in.require(in.options() == options, "is of another policy or counter size");
        in.require(in.take<std::uint32_t>() == hash.id(), "was made with another hash");
        dimensions size;
        size.width = in.take<std::uint32_t>();
        size.depth = in.take<std::uint32_t>();
        in.require(possible(size), "has impossible dimensions");
        const auto total = in.take<std::uint64_t>();
        auto cells = in.take_array<Counter>(std::uint64_t{size.width} * size.depth);
        in.expect_end();
        count_min read(size, std::move(hash), total, std::move(cells));
        in.require(read.consistent(), "has counters that do not fit its total");
        return read;
    }

private:
    static constexpr Counter full = (std::numeric_limits<Counter>::max)();
    /// Enough keys to overlap their cache misses, few enough that their columns stay in the first-level cache.
    static constexpr std::size_t batch_size = 64;
    /// Fewer keys than this are not worth a batch.
    static constexpr std::size_t least_batch = 16;
    /// About a second-level cache: larger tables are worth asking for ahead.
    static constexpr std::size_t cached_bytes = std::size_t{1} << 20;
    static constexpr detail::image_options options = {std::same_as<Policy, plain> ? std::uint8_t{0} : std::uint8_t{1},
                                                      std::uint8_t{sizeof(Counter)}, 0};

    count_min(dimensions size, Hash hash, std::uint64_t total, std::vector<Counter> cells)
        : dimensions_(size), hash_(std::move(hash)), total_(total), cells_(std::move(cells)) {}

    [[nodiscard]] static constexpr double epsilon_of(std::uint32_t width) noexcept { return std::numbers::e / width; }

    /// By division, since exp() and log() differ between platforms and this decides dimensions.
    [[nodiscard]] static constexpr double delta_of(std::uint32_t depth) noexcept {
        double power = 1;
        for (std::uint32_t i = 0; i < depth; ++i) power /= std::numbers::e;
        return power;
    }

    [[noreturn]] static void refuse(const char* rule, double value) {
        std::array<char, 32> digits;
        std::snprintf(digits.data(), digits.size(), "%.17g", value);
        throw std::invalid_argument(std::string("count_min: ") + rule + ", got " + digits.data());
    }

    [[nodiscard]] static bool possible(dimensions size) noexcept {
        constexpr auto addressable = static_cast<std::uint64_t>((std::numeric_limits<std::ptrdiff_t>::max)());
        return size.width >= 1 && size.width <= max_width && size.depth >= 1 && size.depth <= max_depth &&
               std::uint64_t{size.width} * size.depth * sizeof(Counter) <= (std::min)(max_table_bytes, addressable);
    }

    [[nodiscard]] static dimensions checked(dimensions size) {
        if (!possible(size))
            throw std::invalid_argument(
                "count_min: width must be 1 .. 2^31, depth 1 .. 64 and the table at most 64 GiB, got width " +
                std::to_string(size.width) + ", depth " + std::to_string(size.depth) + ", " +
                std::to_string(sizeof(Counter)) + " bytes a counter");
        return size;
    }

    [[nodiscard]] static std::size_t cell_count(dimensions size) noexcept {
        return std::size_t{size.width} * size.depth;
    }

    /// Up to batch_size keys, hashed, with all their columns, asked for ahead where they are not in the cache.
    struct batch {
        std::size_t size;
        std::array<std::uint32_t, batch_size * max_depth> columns; // by row; of these only the first rows are used

        /// Loops of constant length, which compilers turn into vector instructions: a short batch has columns of
        /// nothing behind its own.
        batch(const count_min& sketch, std::span<const Key> keys) noexcept : size((std::min)(keys.size(), batch_size)) {
            std::array<std::uint32_t, batch_size> r;
            std::array<std::uint32_t, batch_size> steps;
            const auto hash_key = [&](std::size_t i) {
                const std::uint64_t hash = sketch.hash_(keys[i]);
                r[i] = static_cast<std::uint32_t>(hash);
                steps[i] = detail::count_min_step(hash);
            };
            if (size == batch_size) {
                for (std::size_t i = 0; i < batch_size; ++i) hash_key(i);
            } else {
                r.fill(0);
                steps.fill(0);
                for (std::size_t i = 0; i < size; ++i) hash_key(i);
            }
            const auto [width, depth] = sketch.dimensions_;
            for (std::uint32_t row = 0; row < depth; ++row) {
                std::uint32_t* const own = columns.data() + row * batch_size;
                for (std::size_t i = 0; i < batch_size; ++i) {
                    own[i] = detail::count_min_column(r[i], width);
                    r[i] += steps[i];
                }
            }
            if (sketch.cells_.size() * sizeof(Counter) <= cached_bytes) return;
            const Counter* cells = sketch.cells_.data();
            for (std::uint32_t row = 0; row < depth; ++row, cells += width)
                for (std::size_t i = 0; i < size; ++i) detail::prefetch(cells + columns[row * batch_size + i]);
        }
    };

    /// No counter is above total_, so none can overflow while the next total is one that a counter can hold.
    [[nodiscard]] bool room_for(std::uint64_t n) const noexcept { return n <= full && total_ <= full - n; }

    template <bool Saturate, std::unsigned_integral T>
    [[nodiscard]] static T sum(T a, std::uint64_t n) noexcept {
        if constexpr (Saturate)
            return detail::saturating_sum(a, n);
        else
            return static_cast<T>(a + n);
    }

    template <bool Saturate>
    void add_one(std::uint64_t hash, std::uint64_t n) noexcept {
        const std::uint32_t width = dimensions_.width; // a copy, since the stores below could change the member
        Counter* const cells = cells_.data();
        with_depth(dimensions_.depth, [=](auto depth) {
            if constexpr (std::same_as<Policy, plain>) {
                Counter* own = cells;
                for (std::uint32_t row = 0; row < depth; ++row, own += width) { // a loop: slower unrolled
                    Counter& cell = own[detail::count_min_column(hash, row, width)];
                    cell = sum<Saturate>(cell, n);
                }
            } else {
                std::array<std::size_t, max_depth> places;
                Counter least = full;
                for_rows(depth, [&](std::uint32_t row) {
                    places[row] = std::size_t{row} * width + detail::count_min_column(hash, row, width);
                    least = detail::lesser(least, cells[places[row]]);
                });
                const Counter raised = sum<Saturate>(least, n);
                for_rows(depth,
                         [&](std::uint32_t row) { cells[places[row]] = detail::greater(cells[places[row]], raised); });
            }
        });
        total_ = sum<Saturate>(total_, n);
    }

    template <bool Saturate>
    void add_batch(const batch& staged) noexcept {
        const std::size_t width = dimensions_.width;
        Counter* const cells = cells_.data();
        with_depth(dimensions_.depth, [&staged, width, cells](auto depth) {
            for (std::size_t i = 0; i < staged.size; ++i) {
                const auto cell = [column = staged.columns.data() + i, width, cells](std::size_t row) -> Counter& {
                    return cells[row * width + column[row * batch_size]];
                };
                if constexpr (std::same_as<Policy, plain>) {
                    for_rows(depth, [&](std::size_t row) { cell(row) = sum<Saturate>(cell(row), 1); });
                } else {
                    Counter least = full;
                    for_rows(depth, [&](std::size_t row) { least = detail::lesser(least, cell(row)); });
                    const Counter raised = sum<Saturate>(least, 1);
                    for_rows(depth, [&](std::size_t row) { cell(row) = detail::greater(cell(row), raised); });
                }
            }
        });
        total_ = sum<Saturate>(total_, staged.size);
    }

    void estimate_batch(const batch& staged, std::span<std::uint64_t> out) const noexcept {
        const std::size_t width = dimensions_.width;
        const Counter* const cells = cells_.data();
        with_depth(dimensions_.depth, [&staged, width, cells, out, total = total_](auto depth) {
            for (std::size_t i = 0; i < staged.size; ++i) {
                const std::uint32_t* const column = staged.columns.data() + i;
                Counter least = full;
                for_rows(depth, [&](std::size_t row) {
                    least = detail::lesser(least, cells[row * width + column[row * batch_size]]);
                });
                out[i] = least == full ? total : least;
            }
        });
    }

    /// Calls with the depth, as a constant where it is one that a delta of 0.05, 0.02, 0.01 or 0.001 asks for.
    template <class Use>
    static void with_depth(std::uint32_t depth, const Use& use) noexcept {
        switch (depth) {
        case 3:
            return use(std::integral_constant<std::uint32_t, 3>());
        case 4:
            return use(std::integral_constant<std::uint32_t, 4>());
        case 5:
            return use(std::integral_constant<std::uint32_t, 5>());
        case 7:
            return use(std::integral_constant<std::uint32_t, 7>());
        default:
            return use(depth);
        }
    }

    /// Calls with each row: one after the other where the depth is a constant, as GCC would not unroll a loop at -O2.
    template <class Depth, class Use>
    static void for_rows(Depth depth, const Use& use) noexcept {
        if constexpr (std::same_as<Depth, std::uint32_t>)
            for (std::uint32_t row = 0; row < depth; ++row) use(row);
        else
            [&use]<std::uint32_t... Row>(std::integer_sequence<std::uint32_t, Row...>) { (use(Row), ...); }
        (std::make_integer_sequence<std::uint32_t, Depth::value>());
    }

    void require_compatible(const count_min& other, const char* what) const {
        if (compatible(other)) return;
        const auto shape = [](const count_min& sketch) {
            return std::to_string(sketch.width()) + " x " + std::to_string(sketch.depth()) + " (hash " +
                   std::to_string(sketch.hash_.id()) + ")";
        };
        throw incompatible_error(std::string("count_min::") + what + ": a table of " + shape(*this) +
                                 " cannot take one of " + shape(other));
    }

    /// Whether some sequence of adds and merges could have led here, as far as sums can tell. `plain`: each row counts
    /// everything once, unless a counter ran full. `conservative`: an add of n raises a counter by at most n, and by n
    /// in at least one row.
    [[nodiscard]] bool consistent() const noexcept {
        std::uint64_t all_rows = 0;
        bool any_full = false;
        for (std::uint32_t row = 0; row < dimensions_.depth; ++row) {
            const auto cells = std::span(cells_).subspan(std::size_t{row} * dimensions_.width, dimensions_.width);
            std::uint64_t sum = 0;
            bool row_full = false;
            for (const Counter cell : cells) {
                sum = detail::saturating_sum(sum, cell);
                row_full = row_full || cell == full;
            }
            if (sum > total_ || (sum == 0) != (total_ == 0)) return false;
            if (std::same_as<Policy, plain> && !row_full && sum != total_) return false;
            all_rows = detail::saturating_sum(all_rows, sum);
            any_full = any_full || row_full;
        }
        return any_full || all_rows >= total_;
    }

    dimensions dimensions_;
    Hash hash_;
    std::uint64_t total_ = 0;
    std::vector<Counter> cells_;
};

} // namespace qsketch::inline v0
