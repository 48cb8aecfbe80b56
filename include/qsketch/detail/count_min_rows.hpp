#pragma once

#include <concepts>
#include <cstdint>
#include <limits>

// Where the counters of a key are in the rows of a count_min, and how they are compared and raised.
namespace qsketch::inline v0::detail {

/// The column of a key in a row from r, and the only place that derives one: two hashes make all rows (Kirsch and
/// Mitzenmacher, "Less hashing, same performance", 2006), and a multiplication takes the place of the modulo (Lemire,
/// "Fast random integer generation in an interval", 2019), so any width will do. With hash = high:low, 32 bits each,
/// and all but the last line mod 2^32,
///
///     r = low + row * (high | 1)
///     r = (r xor r / 2^15) * 0x2c1b3c6d
///     column = r * width / 2^32
///
/// Without the second line, keys that are neighbours in one row are neighbours in all of them, and some meet in every
/// row: a floor under the chance of an error, however deep the table.
/// Test: count_min_rows.test.cpp pins columns, which may not change within an image version, and holds the chance that
/// two keys meet in several rows against that of independent rows.
[[nodiscard]] constexpr std::uint32_t count_min_column(std::uint32_t r, std::uint32_t width) noexcept {
    r = (r ^ (r >> 15)) * 0x2c1b3c6d;
    return static_cast<std::uint32_t>((std::uint64_t{r} * width) >> 32);
}

/// How far r goes from row to row.
[[nodiscard]] constexpr std::uint32_t count_min_step(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 32) | 1;
}

[[nodiscard]] constexpr std::uint32_t count_min_column(std::uint64_t hash, std::uint32_t row,
                                                       std::uint32_t width) noexcept {
    return count_min_column(static_cast<std::uint32_t>(hash) + row * count_min_step(hash), width);
}

/// std::min and std::max without a branch: which row has the smallest counter cannot be predicted, and compilers do
/// branch on it, at three times the cost.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T lesser(T a, T b) noexcept {
    return static_cast<T>(b ^ ((a ^ b) & static_cast<T>(-static_cast<T>(a < b))));
}
template <std::unsigned_integral T>
[[nodiscard]] constexpr T greater(T a, T b) noexcept {
    return static_cast<T>(a ^ ((a ^ b) & static_cast<T>(-static_cast<T>(a < b))));
}

/// Adds up to the maximum of T and stays there: a wrapped counter would be an underestimate.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T saturating_sum(T a, std::uint64_t b) noexcept {
    constexpr T most = (std::numeric_limits<T>::max)();
    return b > static_cast<std::uint64_t>(most - a) ? most : static_cast<T>(a + b);
}

} // namespace qsketch::inline v0::detail
