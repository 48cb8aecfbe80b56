#pragma once

#include <qsketch/detail/register_sum.hpp>

#include <cmath>
#include <cstdint>
#include <limits>

/// From HyperLogLog registers to an estimate, by + - * / and sqrt alone: no tables, no ranges to switch between, and
/// the same bits on every machine (every product that feeds a sum is exact, so contracting it changes nothing).
namespace qsketch::inline v0::detail {

/// x + sum over k >= 1 of x^(2^k) 2^(k-1): what the registers that are still zero contribute. Infinite at 1.
[[nodiscard]] inline double hll_sigma(double x) noexcept {
    if (x == 1.0) return std::numeric_limits<double>::infinity();
    double sum = x;
    for (double scale = 1.0, before = -1.0; sum != before; scale += scale) {
        before = sum;
        x *= x;
        sum += x * scale;
    }
    return sum;
}

/// (1 - x - sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3: the same for registers at their largest value.
[[nodiscard]] inline double hll_tau(double x) noexcept {
    if (x == 0.0 || x == 1.0) return 0.0;
    double sum = 1.0 - x;
    for (double scale = 0.5, before = 2.0; sum != before; scale *= 0.5) {
        before = sum;
        x = std::sqrt(x);
        const double gap = (1.0 - x) * (1.0 - x);
        sum -= gap * scale;
    }
    return sum / 3.0;
}

/// m times the variance of estimate / truth once n is well above m: 3 ln 2 - 1.
inline constexpr double hll_variance = 1.0794415416798357;

/// Ertl's improved raw estimator, with the bias of order 1/m taken off as well: the reciprocal of a mean is too large
/// by its own relative variance, which grows from the 1/(2m) of linear counting to hll_variance/m as registers fill.
/// Infinite if every register is at its largest value, which no realistic number of keys achieves.
/// Test: hyperloglog_accuracy.test.cpp. Source: Ertl 2017, arXiv 1702.01284, the improved raw estimation algorithm;
/// the interpolation between the two ends by the square of the filled share is ours, fitted to simulation.
[[nodiscard]] inline double hll_estimate(const register_sum& registers, unsigned precision) noexcept {
    const double m = static_cast<double>(std::uint32_t{1} << precision);
    const double unit = static_cast<double>(std::uint64_t{1} << (64 - precision));
    const double weight = static_cast<double>(registers.weight) + m * hll_tau(1.0 - registers.full / m);
    const double sum = weight / unit + m * hll_sigma(registers.zeros / m);
    constexpr double half_over_ln2 = 0.7213475204444817;
    const double filled = m - registers.zeros;
    const double variance = 0.5 + filled * filled / (m * m / (hll_variance - 0.5));
    return half_over_ln2 * m * m / sum / (1.0 + variance / m);
}

} // namespace qsketch::inline v0::detail
