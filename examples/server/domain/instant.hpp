#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace qsketch_server {

/// A moment in UTC.
using instant = std::chrono::sys_time<std::chrono::milliseconds>;

/// Where "now" comes from; tests bring their own.
using wall_clock = std::function<instant()>;

/// For qsketch::sliding_window, with slots that begin on whole milliseconds.
struct window_clock {
    using duration = std::chrono::milliseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = instant;
    static constexpr bool is_steady = false;
    static time_point now() { return std::chrono::floor<duration>(std::chrono::system_clock::now()); }
};

/// What a timestamp has to look like, for error messages.
inline constexpr std::string_view instant_rule =
    "must be epoch milliseconds or an ISO 8601 time such as 2024-01-20T15:30:00Z, in the years 1970 to 9999";

/// Epoch milliseconds, if they are in the years 1970 to 9999.
[[nodiscard]] std::optional<instant> from_millis(std::int64_t millis) noexcept;

/// Digits are epoch milliseconds; everything else is ISO 8601: a date, or a date and a time to the minute, the second
/// or any fraction of it (what is finer than a millisecond is cut off), with Z, an offset, or no zone, which means UTC.
/// A space is taken for the + of an offset, which is what a query string makes of an unescaped one.
/// Nothing if the text is no such time, or none that the calendar has.
[[nodiscard]] std::optional<instant> parse_instant(std::string_view text) noexcept;

/// 2024-01-20T15:30:00.000Z, without the fraction if it is zero.
[[nodiscard]] std::string iso_time(instant t);

/// The times that are neither too old nor too far in the future to be taken.
struct acceptable_times {
    instant oldest;
    instant newest;
    std::string_view retention; ///< What sets `oldest`, for the message: "--retention".
    std::atomic<std::uint64_t>* too_old_count = nullptr;
    std::string_view ahead = "5 minutes"; ///< How far `newest` is from now, for the message.

    /// Why t is refused; nothing if it is not. Counts the times that are too old.
    [[nodiscard]] std::optional<std::string> objection(instant t) const;
};

/// Clocks differ: an event may come from this much in the future.
inline constexpr std::chrono::minutes future_tolerance{5};

} // namespace qsketch_server
