#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <string>

namespace qsketch::inline v0::detail {

/// to - from, for from <= to, where the signed difference might overflow.
[[nodiscard]] constexpr std::uint64_t distance(std::int64_t from, std::int64_t to) noexcept {
    return static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from);
}

[[nodiscard]] constexpr std::uint64_t saturating_sum(std::uint64_t a, std::uint64_t b) noexcept {
    return a + b < a ? (std::numeric_limits<std::uint64_t>::max)() : a + b;
}

/// What windows ask of a clock, and its range in ticks.
template <class Clock>
struct window_time {
    using duration = typename Clock::duration;
    using time_point = typename Clock::time_point;
    using rep = typename duration::rep;
    using nanoseconds_per_tick = std::ratio_divide<typename duration::period, std::nano>;
    static_assert(std::signed_integral<rep> && sizeof(rep) <= sizeof(std::int64_t),
                  "a window needs a clock that counts in signed integers");
    static_assert(nanoseconds_per_tick::den == 1, "a window needs a clock whose tick is whole nanoseconds");

    static constexpr std::int64_t tick_nanoseconds = nanoseconds_per_tick::num;
    static constexpr std::uint64_t max_nanoseconds = (std::numeric_limits<std::int64_t>::max)();
    static constexpr std::int64_t lowest = (duration::min)().count();
    static constexpr std::int64_t highest = (duration::max)().count();

    /// Whether images can hold `length`, which is not negative, in nanoseconds.
    [[nodiscard]] static constexpr bool fits_nanoseconds(duration length) noexcept {
        return static_cast<std::uint64_t>(length.count()) <= max_nanoseconds / tick_nanoseconds;
    }
    [[nodiscard]] static constexpr std::uint64_t to_nanoseconds(duration length) noexcept {
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(length.count()) * tick_nanoseconds);
    }
    /// Nothing if this clock cannot express it.
    [[nodiscard]] static constexpr std::optional<duration> from_nanoseconds(std::uint64_t nanoseconds) noexcept {
        if (nanoseconds > max_nanoseconds || nanoseconds % tick_nanoseconds != 0 ||
            nanoseconds / tick_nanoseconds > static_cast<std::uint64_t>(highest))
            return std::nullopt;
        return duration(static_cast<rep>(nanoseconds / tick_nanoseconds));
    }

    /// Throws invalid_argument if max_ahead is negative.
    static void require_max_ahead(std::optional<duration> max_ahead, const char* window) {
        if (max_ahead && *max_ahead < duration::zero())
            throw std::invalid_argument(std::string(window) + ": max_ahead must not be negative, got " +
                                        std::to_string(max_ahead->count()) + " ticks");
    }
    /// Throws invalid_argument if `when` is more than max_ahead after the clock's now, which is read only if there is
    /// a max_ahead.
    static void require_near(time_point when, std::optional<duration> max_ahead, const Clock& clock,
                             const char* window) {
        if (!max_ahead) return;
        const time_point now = clock.now();
        if (now > (time_point::max)() - *max_ahead || when <= now + *max_ahead) return;
        throw std::invalid_argument(std::string(window) +
                                    ": time must be at most max_ahead = " + std::to_string(max_ahead->count()) +
                                    " ticks after now = " + std::to_string(now.time_since_epoch().count()) + ", got " +
                                    std::to_string(when.time_since_epoch().count()));
    }
    /// Throws invalid_argument unless length > 0.
    static void require_length(duration length, const char* window) {
        if (length <= duration::zero())
            throw std::invalid_argument(std::string(window) + ": length must be positive, got " +
                                        std::to_string(length.count()) + " ticks");
    }
};

} // namespace qsketch::inline v0::detail
