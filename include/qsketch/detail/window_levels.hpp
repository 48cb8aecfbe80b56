#pragma once

#include <qsketch/detail/window_time.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace qsketch::inline v0::detail {

/// A level of resolution: an instant younger than `keep` is still in a bucket of at most `span`.
template <class Duration>
struct window_level {
    Duration span;
    Duration keep;
    friend bool operator==(const window_level&, const window_level&) = default;
};

/// The cells of time that buckets may be: those of level l are [j * span(l), (j + 1) * span(l)) since the epoch, cut
/// off at the ends of the clock's range. Instants are ticks, and the last one of a cell is its end, so that nothing
/// overflows. Ages count from the last tick of the newest cell of level 0, which is `newest` throughout.
template <class Clock>
class window_levels {
    using clock_time = window_time<Clock>;

public:
    using duration = typename Clock::duration;
    using level = window_level<duration>;

    explicit window_levels(std::span<const level> levels) noexcept : levels_(levels) {}

    [[nodiscard]] std::size_t size() const noexcept { return levels_.size(); }
    [[nodiscard]] std::size_t top() const noexcept { return levels_.size() - 1; }
    [[nodiscard]] std::int64_t span(std::size_t l) const noexcept { return levels_[l].span.count(); }

    /// Null if a window of these can be built.
    [[nodiscard]] const char* broken_rule(std::uint64_t max_buckets) const noexcept {
        if (levels_.empty() || levels_.size() > 64) return "there must be 1 to 64 levels";
        for (std::size_t l = 0; l < size(); ++l) {
            const auto [span, keep] = levels_[l];
            if (span <= duration::zero()) return "spans must be positive";
            if (keep < span) return "a level must be kept for one span at least";
            if (!clock_time::fits_nanoseconds(keep)) return "levels must be kept for less than 2^63 nanoseconds";
            if (l == 0) continue;
            if (span <= levels_[l - 1].span || span % levels_[l - 1].span != duration::zero())
                return "a span must be a multiple of the one before";
            if (keep <= levels_[l - 1].keep) return "a level must be kept for longer than the one before";
        }
        if (max_cells() > max_buckets) return "there must be less than 2^32 buckets";
        return nullptr;
    }

    /// How many buckets there can be of which no two may be joined. The instants of level l are those at least
    /// keep(l - 1) old whose cells of level l + 1 are not yet wholly keep(l) old: less than keep(l) - keep(l - 1) +
    /// span(l + 1), in whole cells.
    [[nodiscard]] std::uint64_t max_cells() const noexcept {
        std::uint64_t cells = 0;
        for (std::size_t l = 0; l < size(); ++l) {
            const std::uint64_t above = unsigned_span(l < top() ? l + 1 : l);
            const std::uint64_t instants = keep(l) - (l == 0 ? 0 : keep(l - 1)) + above - 1;
            cells = saturating_sum(cells, instants / unsigned_span(l));
        }
        return cells;
    }

    /// First and last tick of the cell of level l that holds t.
    [[nodiscard]] std::int64_t first_of(std::int64_t t, std::size_t l) const noexcept {
        const std::int64_t into = offset(t, l);
        return distance(clock_time::lowest, t) < static_cast<std::uint64_t>(into) ? clock_time::lowest : t - into;
    }
    [[nodiscard]] std::int64_t last_of(std::int64_t t, std::size_t l) const noexcept {
        const std::int64_t left = span(l) - 1 - offset(t, l);
        return distance(t, clock_time::highest) < static_cast<std::uint64_t>(left) ? clock_time::highest : t + left;
    }

    /// Number of the cell of level l that begins with `first`, counted from the epoch, and back.
    [[nodiscard]] std::int64_t index_of(std::int64_t first, std::size_t l) const noexcept {
        return first / span(l) - (first % span(l) < 0 ? 1 : 0);
    }
    [[nodiscard]] std::optional<std::int64_t> first_at(std::int64_t index, std::size_t l) const noexcept {
        const std::int64_t lowest = index_of(clock_time::lowest, l);
        if (index < lowest || index > index_of(clock_time::highest, l)) return std::nullopt;
        return index == lowest ? clock_time::lowest : index * span(l);
    }

    /// Whether a cell of level l that ends with `last` may be one bucket.
    [[nodiscard]] bool may_join(std::int64_t last, std::size_t l, std::int64_t newest) const noexcept {
        return last <= newest && distance(last, newest) >= (l == 0 ? 0 : keep(l - 1));
    }

    /// Whether the window reaches back to t: whole cells of the top level are let go.
    [[nodiscard]] bool retains(std::int64_t t, std::int64_t newest) const noexcept {
        return t >= oldest_retained(newest);
    }
    [[nodiscard]] std::int64_t oldest_retained(std::int64_t newest) const noexcept {
        const std::uint64_t back = keep(top()) - 1;
        if (distance(clock_time::lowest, newest) < back) return clock_time::lowest;
        return first_of(newest - static_cast<std::int64_t>(back), top());
    }

    /// The lowest level above `above` at which a and b are in one cell; size() if there is none.
    [[nodiscard]] std::size_t common(std::int64_t a, std::int64_t b, std::size_t above) const noexcept {
        std::size_t l = above + 1;
        while (l < size() && first_of(a, l) != first_of(b, l)) ++l;
        return l;
    }

private:
    [[nodiscard]] std::uint64_t keep(std::size_t l) const noexcept {
        return static_cast<std::uint64_t>(levels_[l].keep.count());
    }
    [[nodiscard]] std::uint64_t unsigned_span(std::size_t l) const noexcept {
        return static_cast<std::uint64_t>(span(l));
    }
    /// Ticks from the start of the cell to t.
    [[nodiscard]] std::int64_t offset(std::int64_t t, std::size_t l) const noexcept {
        const std::int64_t into = t % span(l);
        return into < 0 ? into + span(l) : into;
    }

    std::span<const level> levels_;
};

} // namespace qsketch::inline v0::detail
