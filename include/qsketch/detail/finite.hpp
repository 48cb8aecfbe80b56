#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace qsketch::inline v0::detail {

[[nodiscard]] constexpr double not_a_number() noexcept { return std::numeric_limits<double>::quiet_NaN(); }

/// By its bits: comparisons may be optimized on the assumption that there are no infinities.
[[nodiscard]] inline bool finite(double x) noexcept {
    return (std::bit_cast<std::uint64_t>(x) & 0x7ff0000000000000) != 0x7ff0000000000000;
}

/// Sums end at the largest double instead of at infinity, from which no later value could bring them back.
[[nodiscard]] inline double saturated(double sum) noexcept {
    constexpr double largest = (std::numeric_limits<double>::max)();
    return (std::min)((std::max)(sum, -largest), largest);
}

} // namespace qsketch::inline v0::detail
