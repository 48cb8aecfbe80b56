#pragma once

#include <qsketch/detail/image.hpp>
#include <qsketch/detail/window_time.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// A level of resolution: an instant younger than `keep` is still in a bucket of at most `span`.
template <class Duration>
struct window_level {
    Duration span;
    Duration keep;
    friend bool operator==(const window_level&, const window_level&) = default;
};

/// The cells of time that buckets may be: those of level l are [j * span(l), (j + 1) * span(l)) since the epoch, cut
/// off at the ends of the clock's range. Instants are ticks, and a cell is named by its first one and ends with its
/// last one, so that nothing overflows. Ages count back from `newest`, the last tick of the newest cell of level 0.
template <class Clock>
class window_levels {
    using clock_time = window_time<Clock>;

public:
    using duration = typename Clock::duration;
    using level = window_level<duration>;

    static constexpr std::size_t max_levels = 64;

    /// Throws invalid_argument unless there are 1 to max_levels levels, spans are positive and each is a multiple of
    /// the one before, each level is kept for longer than the one before, for at least its span and less than 2^63
    /// nanoseconds, and max_cells() < 2^32.
    explicit window_levels(std::vector<level> levels) : levels_(std::move(levels)) {
        if (const char* broken = broken_rule()) throw std::invalid_argument(std::string("exp_window: ") + broken);
    }

    [[nodiscard]] std::size_t size() const noexcept { return levels_.size(); }
    [[nodiscard]] std::span<const level> all() const noexcept { return levels_; }
    [[nodiscard]] std::int64_t span(std::size_t l) const noexcept { return levels_[l].span.count(); }
    friend bool operator==(const window_levels&, const window_levels&) = default;
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return levels_.capacity() * sizeof(level); }

    /// How many buckets there can be of which no two may be joined. The instants of level l are those that are at least
    /// keep(l - 1) old and whose cells of level l + 1 are not wholly keep(l) old: less than keep(l) - keep(l - 1) +
    /// span(l + 1), in whole cells; only the newest cell may be cut off, by the end of the clock's range.
    [[nodiscard]] std::uint64_t max_cells() const noexcept {
        std::uint64_t cells = 1;
        for (std::size_t l = 0; l < size(); ++l) {
            const auto own = static_cast<std::uint64_t>(span(l));
            const auto above = static_cast<std::uint64_t>(span(l < top() ? l + 1 : l));
            cells = saturating_sum(cells, (keep(l) - least_age(l) + above - 1) / own);
        }
        return cells;
    }

    /// First and last tick of the cell of level l that holds t.
    [[nodiscard]] std::int64_t first_of(std::int64_t t, std::size_t l) const noexcept {
        return back(t, static_cast<std::uint64_t>(offset(t, l)));
    }
    [[nodiscard]] std::int64_t last_of(std::int64_t t, std::size_t l) const noexcept {
        const std::int64_t left = span(l) - 1 - offset(t, l);
        return distance(t, clock_time::highest) < static_cast<std::uint64_t>(left) ? clock_time::highest : t + left;
    }
    /// t - ticks, but not below the clock's range.
    [[nodiscard]] static std::int64_t back(std::int64_t t, std::uint64_t ticks) noexcept {
        return distance(clock_time::lowest, t) < ticks ? clock_time::lowest : t - static_cast<std::int64_t>(ticks);
    }

    /// Number of the cell of level l that begins with `first`, counted from the epoch; and back, where there is one.
    [[nodiscard]] std::int64_t index_of(std::int64_t first, std::size_t l) const noexcept {
        return first / span(l) - (first % span(l) < 0 ? 1 : 0);
    }
    [[nodiscard]] std::optional<std::int64_t> first_at(std::int64_t index, std::size_t l) const noexcept {
        const std::int64_t lowest = index_of(clock_time::lowest, l);
        if (index < lowest || index > index_of(clock_time::highest, l)) return std::nullopt;
        return index == lowest ? clock_time::lowest : index * span(l);
    }

    /// The lowest level above `above` at which a and b are in one cell; size() if there is none.
    [[nodiscard]] std::size_t common(std::int64_t a, std::int64_t b, std::size_t above) const noexcept {
        std::size_t l = above + 1;
        while (l < size() && first_of(a, l) != first_of(b, l)) ++l;
        return l;
    }

    /// Whether a cell of level l that ends with `last` is old enough to be one bucket.
    [[nodiscard]] bool may_be_bucket(std::int64_t last, std::size_t l, std::int64_t newest) const noexcept {
        return last <= newest && distance(last, newest) >= least_age(l);
    }

    /// Whole cells of the top level are let go.
    [[nodiscard]] std::int64_t oldest_retained(std::int64_t newest) const noexcept {
        return first_of(back(newest, keep(top()) - 1), top());
    }

    /// Number of levels, then for each its span and its keep in nanoseconds, all of 64 bits.
    void put(image_writer& out) const {
        out.put(static_cast<std::uint64_t>(size()));
        for (const level& l : levels_) {
            out.put(clock_time::to_nanoseconds(l.span));
            out.put(clock_time::to_nanoseconds(l.keep));
        }
    }
    [[nodiscard]] static window_levels take(image_reader& in) {
        const auto count = in.take<std::uint64_t>();
        in.require(count <= max_levels, "announces too many levels");
        std::vector<level> levels;
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto span = clock_time::from_nanoseconds(in.take<std::uint64_t>());
            const auto keep = clock_time::from_nanoseconds(in.take<std::uint64_t>());
            in.require(span.has_value() && keep.has_value(), "has a level that this clock cannot express");
            levels.push_back({*span, *keep});
        }
        try {
            return window_levels(std::move(levels));
        } catch (const std::invalid_argument& broken) {
            in.fail(std::string("breaks a rule: ") + broken.what());
        }
    }

private:
    [[nodiscard]] std::size_t top() const noexcept { return levels_.size() - 1; }
    [[nodiscard]] std::uint64_t keep(std::size_t l) const noexcept {
        return static_cast<std::uint64_t>(levels_[l].keep.count());
    }
    [[nodiscard]] std::uint64_t least_age(std::size_t l) const noexcept { return l == 0 ? 0 : keep(l - 1); }
    /// Ticks from the start of the cell to t.
    [[nodiscard]] std::int64_t offset(std::int64_t t, std::size_t l) const noexcept {
        const std::int64_t into = t % span(l);
        return into < 0 ? into + span(l) : into;
    }

    [[nodiscard]] const char* broken_rule() const noexcept {
        if (levels_.empty() || levels_.size() > max_levels) return "there must be 1 to 64 levels";
        for (std::size_t l = 0; l < size(); ++l) {
            const auto [span, keep] = levels_[l];
            if (span <= duration::zero()) return "spans must be positive";
            if (keep < span) return "a level must be kept for its span at least";
            if (!clock_time::fits_nanoseconds(keep)) return "a level must be kept for less than 2^63 nanoseconds";
            if (l == 0) continue;
            if (span <= levels_[l - 1].span || span % levels_[l - 1].span != duration::zero())
                return "a span must be a multiple of the one before";
            if (keep <= levels_[l - 1].keep) return "a level must be kept for longer than the one before";
        }
        return max_cells() > 0xffff'ffff ? "levels must have less than 2^32 buckets" : nullptr;
    }

    std::vector<level> levels_;
};

} // namespace qsketch::inline v0::detail
