#pragma once

#include <qsketch/detail/log_buckets.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// Indexes first .. end - 1, none if equal.
struct log_range {
    std::int32_t first = 0;
    std::int32_t end = 0;
    [[nodiscard]] std::int32_t size() const noexcept { return end - first; }
    [[nodiscard]] bool empty() const noexcept { return first == end; }
    [[nodiscard]] bool contains(const log_range& r) const noexcept {
        return r.empty() || (first <= r.first && r.end <= end);
    }
    [[nodiscard]] log_range joined(const log_range& r) const noexcept {
        if (empty() || r.empty()) return empty() ? r : *this;
        return {(std::min)(first, r.first), (std::max)(end, r.end)};
    }
    [[nodiscard]] log_range coarser(int scales) const noexcept {
        return empty() ? log_range{} : log_range{first >> scales, ((end - 1) >> scales) + 1};
    }
};
using log_ranges = std::array<log_range, 2>; // of positive values, and of the magnitudes of negative ones

struct log_layout {
    log_grid grid;
    log_ranges ranges;
    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(ranges[0].size() + ranges[1].size());
    }
};

/// How many values are in each bucket of a log_grid, of both signs, and how many are zero. Where max_buckets do not
/// reach over the values, the grid becomes coarser. A sign is 0 for positive values and 1 for negative ones.
template <std::unsigned_integral Counter>
class log_counters {
public:
    log_counters(int scale, std::size_t max_buckets) noexcept : max_buckets_(max_buckets), grid_(scale) {}

    [[nodiscard]] const log_grid& grid() const noexcept { return grid_; }
    [[nodiscard]] std::size_t max_buckets() const noexcept { return max_buckets_; }
    /// Buckets that there are counters for.
    [[nodiscard]] const log_range& range(unsigned sign) const noexcept { return ranges_[sign]; }
    [[nodiscard]] std::uint64_t zeros() const noexcept { return zeros_; }
    /// How many counters there are.
    [[nodiscard]] std::size_t size() const noexcept { return counters_.size(); }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept { return counters_.capacity() * sizeof(Counter); }
    [[nodiscard]] Counter at(unsigned sign, std::int32_t i) const noexcept {
        return counters_[offset_of(sign) + static_cast<std::size_t>(i - ranges_[sign].first)];
    }
    template <class Visit>
    void for_each_of(unsigned sign, Visit visit) const {
        for (std::int32_t i = ranges_[sign].first; i < ranges_[sign].end; ++i) visit(i, at(sign, i));
    }
    template <class Visit>
    void for_each_down(unsigned sign, Visit visit) const {
        for (std::int32_t i = ranges_[sign].end; i-- > ranges_[sign].first;) visit(i, at(sign, i));
    }

    /// From the first bucket that is not empty to the last.
    [[nodiscard]] log_range occupied_of(unsigned sign) const noexcept {
        log_range r = ranges_[sign];
        while (!r.empty() && at(sign, r.end - 1) == 0) --r.end;
        while (!r.empty() && at(sign, r.first) == 0) ++r.first;
        return r.empty() ? log_range{} : r;
    }

    /// Of a finite value. Strong guarantee.
    void add(double x, std::uint64_t weight) {
        const auto bits = std::bit_cast<std::uint64_t>(x);
        const window& w = windows_[static_cast<std::size_t>(bits >> 63)];
        const auto at = static_cast<std::uint32_t>(grid_.index_below((bits & ~sign_bit) - 1) - w.first);
        if (at < w.size) [[likely]] {
            counters_[w.offset + at] = static_cast<Counter>(counters_[w.offset + at] + weight);
        } else {
            add_odd(x, weight);
        }
    }

    /// Makes the grid as coarse as it must be, and room for values of these buckets. Strong guarantee.
    void make_room(const log_ranges& needed) {
        if (!covers(needed)) take_layout(fit(grid_.scale(), joined(occupied(grid_.scale()), needed)));
    }

    /// Finite values that there is room for.
    void add(std::span<const double> values, bool any_negative) noexcept {
        // Copies, which counters cannot alias.
        const log_grid grid = grid_;
        const std::array<window, 2> windows = windows_;
        Counter* const counters = counters_.data();
        if (!any_negative && !grid.joins_octaves()) {
            Counter* const first = counters + windows[0].offset;
            const std::uint32_t size = windows[0].size;
            const std::int32_t skipped = windows[0].first + grid.bias();
            for (const double x : values) {
                const std::uint64_t below = std::bit_cast<std::uint64_t>(x + 0.0) - 1;
                const auto at = static_cast<std::uint32_t>(grid.raw_index(below) - skipped);
                if (at < size) [[likely]]
                    ++first[at];
                else
                    count_odd(x);
            }
            return;
        }
        for (const double x : values) {
            const auto bits = std::bit_cast<std::uint64_t>(x);
            const window& w = windows[static_cast<std::size_t>(bits >> 63)];
            const auto at = static_cast<std::uint32_t>(grid.index_below((bits & ~sign_bit) - 1) - w.first);
            if (at < w.size) [[likely]]
                ++counters[w.offset + at];
            else
                count_odd(x);
        }
    }

    /// Strong guarantee; `other` may be *this.
    void merge(const log_counters& other) {
        const int scale = (std::min)(grid_.scale(), other.grid_.scale());
        const log_ranges needed = joined(occupied(scale), other.occupied(scale));
        if (scale == grid_.scale() && covers(needed)) {
            other.pour_into(counters_, grid_, ranges_);
        } else {
            const log_layout plan = fit(scale, needed);
            std::vector<Counter> fresh(plan.size());
            pour_into(fresh, plan.grid, plan.ranges);
            other.pour_into(fresh, plan.grid, plan.ranges);
            take(plan, std::move(fresh));
        }
        zeros_ += other.zeros_;
    }

    /// What is left without `other`, on a grid no finer than that of either; nothing if `other` holds more of a bucket.
    [[nodiscard]] std::optional<log_counters> without(const log_counters& other) const {
        const int scale = (std::min)(grid_.scale(), other.grid_.scale());
        log_counters left(*this);
        left.take_layout(left.fit(scale, left.occupied(scale)));
        bool enough = other.zeros_ <= zeros_;
        for (const unsigned sign : {0u, 1u})
            other.for_each_of(sign, [&](std::int32_t i, Counter n) {
                if (n == 0) return;
                Counter* const own = left.find(sign, i >> (other.grid_.scale() - scale));
                enough = enough && own != nullptr && *own >= n;
                if (enough) *own = static_cast<Counter>(*own - n);
            });
        if (!enough) return {};
        left.zeros_ -= other.zeros_;
        return left;
    }

    /// Keeps the allocated memory.
    void clear(int scale) noexcept {
        counters_.clear();
        arrange({log_grid(scale), {}});
        zeros_ = 0;
    }

    /// For who has none and reads them: counters that are 0, of exactly these buckets.
    void assign(const log_layout& plan) { take(plan, std::vector<Counter>(plan.size())); }
    void set(unsigned sign, std::int32_t i, std::uint64_t n) noexcept { *find(sign, i) = static_cast<Counter>(n); }
    void set_zeros(std::uint64_t n) noexcept { zeros_ = n; }

    /// The same grid, and the same counts.
    friend bool operator==(const log_counters& a, const log_counters& b) noexcept {
        return a.grid_.scale() == b.grid_.scale() && a.zeros_ == b.zeros_ && a.same_buckets(b, 0) &&
               a.same_buckets(b, 1);
    }

private:
    /// The part of a range that normal values can be looked up in without looking at them twice.
    struct window {
        std::int32_t first = 0;
        std::uint32_t size = 0;
        std::size_t offset = 0; // into counters_
    };

    static constexpr std::uint64_t sign_bit = std::uint64_t{1} << 63;

    /// Zero, a denormal, or a value that there is no room for yet.
    void add_odd(double x, std::uint64_t weight) {
        if (x == 0) {
            zeros_ += weight;
            return;
        }
        const unsigned sign = x < 0 ? 1 : 0;
        const std::int32_t i = grid_.index(std::abs(x));
        log_ranges needed{};
        needed[sign] = {i, i + 1};
        make_room(needed);
        Counter& counter = *find(sign, grid_.index(std::abs(x))); // the scale may be another now
        counter = static_cast<Counter>(counter + weight);
    }

    /// A zero, a denormal, or the normal value next to them.
    void count_odd(double x) noexcept {
        if (x == 0)
            ++zeros_;
        else
            ++*find(x < 0 ? 1 : 0, grid_.index(std::abs(x)));
    }

    [[nodiscard]] std::size_t offset_of(unsigned sign) const noexcept {
        return sign == 0 ? 0 : static_cast<std::size_t>(ranges_[0].size());
    }
    [[nodiscard]] Counter* find(unsigned sign, std::int32_t i) noexcept {
        if (i < ranges_[sign].first || i >= ranges_[sign].end) return nullptr;
        return counters_.data() + offset_of(sign) + (i - ranges_[sign].first);
    }

    /// In buckets of `scale`, which is no finer than scale().
    [[nodiscard]] log_ranges occupied(int scale) const noexcept {
        return {occupied_of(0).coarser(grid_.scale() - scale), occupied_of(1).coarser(grid_.scale() - scale)};
    }
    [[nodiscard]] static log_ranges joined(const log_ranges& a, const log_ranges& b) noexcept {
        return {a[0].joined(b[0]), a[1].joined(b[1])};
    }
    [[nodiscard]] bool covers(const log_ranges& r) const noexcept {
        return ranges_[0].contains(r[0]) && ranges_[1].contains(r[1]);
    }

    /// The finest buckets, not finer than `scale`, of which max_buckets_ reach over `needed`; and some to spare. What
    /// is spare must not decide about the scale: it depends on the order of adds.
    [[nodiscard]] log_layout fit(int scale, log_ranges needed) const noexcept {
        const auto limit = static_cast<std::int32_t>(max_buckets_);
        while (needed[0].size() + needed[1].size() > limit) {
            needed = {needed[0].coarser(1), needed[1].coarser(1)};
            --scale;
        }
        const std::int32_t free = (limit - needed[0].size() - needed[1].size()) / 4;
        for (log_range& r : needed) {
            if (r.empty()) continue;
            const std::int32_t spare = (std::min)(free, r.size() / 8 + 4);
            r = {r.first - spare, r.end + spare};
        }
        return {log_grid(scale), needed};
    }

    /// Adds the counters to those of a log_layout of the same or a coarser scale that covers them.
    void pour_into(std::vector<Counter>& counters, const log_grid& grid, const log_ranges& ranges) const {
        const int scales = grid_.scale() - grid.scale();
        for (const unsigned sign : {0u, 1u}) {
            const log_range used = occupied_of(sign);
            const std::size_t offset = sign == 0 ? 0 : static_cast<std::size_t>(ranges[0].size());
            for (std::int32_t i = used.first; i < used.end; ++i) {
                Counter& to = counters[offset + static_cast<std::size_t>((i >> scales) - ranges[sign].first)];
                to = static_cast<Counter>(to + at(sign, i));
            }
        }
    }
    void take_layout(const log_layout& plan) {
        std::vector<Counter> fresh(plan.size());
        pour_into(fresh, plan.grid, plan.ranges);
        take(plan, std::move(fresh));
    }
    void take(const log_layout& plan, std::vector<Counter>&& counters) noexcept {
        counters_ = std::move(counters);
        arrange(plan);
    }
    void arrange(const log_layout& plan) noexcept {
        grid_ = plan.grid;
        ranges_ = plan.ranges;
        for (const unsigned sign : {0u, 1u}) {
            const std::int32_t first = (std::max)(ranges_[sign].first, grid_.first_normal());
            const std::int32_t end = (std::max)(ranges_[sign].end, first);
            windows_[sign] = {first, static_cast<std::uint32_t>(end - first),
                              offset_of(sign) + static_cast<std::size_t>(first - ranges_[sign].first)};
        }
    }

    [[nodiscard]] bool same_buckets(const log_counters& other, unsigned sign) const noexcept {
        const log_range used = occupied_of(sign);
        const log_range others = other.occupied_of(sign);
        if (used.first != others.first || used.end != others.end) return false;
        for (std::int32_t i = used.first; i < used.end; ++i)
            if (at(sign, i) != other.at(sign, i)) return false;
        return true;
    }

    std::size_t max_buckets_;
    log_grid grid_;
    std::vector<Counter> counters_; // of positive values, then of negative ones by magnitude
    log_ranges ranges_{};
    std::array<window, 2> windows_{};
    std::uint64_t zeros_ = 0;
};

} // namespace qsketch::inline v0::detail
