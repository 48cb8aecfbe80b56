#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

/// Sorting of finite doubles without comparing them, for blocks of a few thousand.
namespace qsketch::inline v0::detail {

/// One stable pass of a counting sort. `digit(x)` is below Buckets.
template <std::size_t Buckets, class Digit>
void counting_pass(std::span<const double> from, double* to, std::array<std::uint32_t, Buckets>& counts,
                   const Digit& digit) noexcept {
    std::uint32_t start = 0;
    for (auto& count : counts) start += std::exchange(count, start);
    for (const double x : from) to[counts[digit(x)]++] = x;
}

/// The bits of a double as an integer of the same order. No -0.0.
[[nodiscard]] inline std::uint64_t ordered_bits(double x) noexcept {
    const auto bits = std::bit_cast<std::uint64_t>(x);
    return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

/// All 64 bits, passes skipped in which all values agree: the same speed for any input.
template <std::size_t DigitBits>
void sort_by_all_bits(std::span<double> values, std::span<double> scratch) noexcept {
    constexpr std::size_t buckets = std::size_t{1} << DigitBits;
    constexpr std::size_t passes = (64 + DigitBits - 1) / DigitBits;
    std::array<std::array<std::uint32_t, buckets>, passes> counts{};
    for (const double x : values) {
        const std::uint64_t key = ordered_bits(x);
        for (std::size_t pass = 0; pass < passes; ++pass) ++counts[pass][(key >> (DigitBits * pass)) & (buckets - 1)];
    }
    double* from = values.data();
    double* to = scratch.data();
    for (std::size_t pass = 0; pass < passes; ++pass) {
        const auto digit = [shift = DigitBits * pass](double x) { return (ordered_bits(x) >> shift) & (buckets - 1); };
        if (counts[pass][digit(from[0])] == values.size()) continue;
        counting_pass(std::span<const double>(from, values.size()), to, counts[pass], digit);
        std::swap(from, to);
    }
    if (from != values.data()) std::copy_n(from, values.size(), values.data());
}

/// Completes a nearly sorted order; gives up, with all values still there, after `budget` moves.
inline bool insertion_sort(std::span<double> values, std::size_t budget) noexcept {
    for (std::size_t i = 1; i < values.size(); ++i) {
        const double x = values[i];
        if (!(x < values[i - 1])) continue;
        std::size_t at = i;
        for (; at > 0 && x < values[at - 1]; --at) values[at] = values[at - 1];
        values[at] = x;
        if (i - at > budget) return false;
        budget -= i - at;
    }
    return true;
}

/// Orders by the distance from the smallest value, by its exponent and as many bits of its mantissa as two digits
/// hold; distances below 2^-24 of the range count as equal. Insertion repairs what that leaves, unless the input was
/// made so that nearly everything is left.
template <std::size_t DigitBits>
bool sort_by_distance(std::span<double> values, std::span<double> scratch, double smallest, double range) noexcept {
    constexpr std::size_t buckets = std::size_t{1} << DigitBits;
    const double nearest = range * 0x1p-24;
    const auto lowest = std::bit_cast<std::uint64_t>(nearest);
    const auto shift =
        static_cast<unsigned>(std::bit_width(std::bit_cast<std::uint64_t>(range) - lowest)) - 2 * DigitBits;
    const auto key = [=](double x) noexcept {
        const double distance = x - smallest;
        return static_cast<std::uint32_t>(
            (std::bit_cast<std::uint64_t>(distance > nearest ? distance : nearest) - lowest) >> shift);
    };
    const auto low = [&](double x) noexcept { return key(x) & (buckets - 1); };
    const auto high = [&](double x) noexcept { return key(x) >> DigitBits; };
    std::array<std::uint32_t, buckets> low_counts{};
    std::array<std::uint32_t, buckets> high_counts{};
    for (const double x : values) {
        const std::uint32_t k = key(x);
        ++low_counts[k & (buckets - 1)];
        ++high_counts[k >> DigitBits];
    }
    counting_pass(std::span<const double>(values), scratch.data(), low_counts, low);
    counting_pass(std::span<const double>(scratch.first(values.size())), values.data(), high_counts, high);
    return insertion_sort(values, values.size());
}

/// Sorts in ascending order. `scratch` has at least the size of `values`. O(n) for any input of more than 64 values.
inline void sort_values(std::span<double> values, std::span<double> scratch) noexcept {
    if (values.size() <= 64) {
        std::sort(values.begin(), values.end());
        return;
    }
    double smallest = values[0];
    double largest = values[0];
    std::size_t descents = 0;
    double previous = smallest;
    for (const double x : values) {
        smallest = x < smallest ? x : smallest;
        largest = x > largest ? x : largest;
        descents += x < previous ? 1 : 0;
        previous = x;
    }
    if (descents == 0) return;
    if (descents + 1 == values.size()) {
        std::reverse(values.begin(), values.end());
        return;
    }
    if (descents <= values.size() / 64 && insertion_sort(values, 2 * values.size())) return;
    const double range = largest - smallest;
    constexpr double least = 0x1p-900; // so that 2^-24 of the range is a normal number
    const bool measurable = range > least && range < 0x1p1023;
    if (values.size() <= 1536) {
        if (!measurable || !sort_by_distance<8>(values, scratch, smallest, range)) sort_by_all_bits<8>(values, scratch);
    } else {
        if (!measurable || !sort_by_distance<11>(values, scratch, smallest, range))
            sort_by_all_bits<11>(values, scratch);
    }
}

} // namespace qsketch::inline v0::detail
