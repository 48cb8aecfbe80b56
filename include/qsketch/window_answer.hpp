#pragma once

#include <cstdint>
#include <vector>

namespace qsketch::inline v0 {

/// What a window knows of an interval of time.
template <class Sketch, class TimePoint>
struct window_answer {
    Sketch sketch;
    /// The interval really covered: `from` included, `to` excluded. Both sit on borders of the window's slots or
    /// buckets, except where the clock's range ends before these do.
    TimePoint from;
    TimePoint to;
    /// Events the window has refused as too old since it was built or cleared, whatever interval they belonged to.
    std::uint64_t dropped_late;
};

/// What a window merges to answer for an interval of time.
template <class Sketch, class TimePoint>
struct window_parts {
    std::vector<const Sketch*> sketches; ///< The window's own.
    /// As in window_answer.
    TimePoint from;
    TimePoint to;
};

} // namespace qsketch::inline v0
