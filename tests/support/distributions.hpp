#pragma once

#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// Inputs for accuracy tests and tables, and the measure of what a digest makes of them. Values may differ in their
/// last bits between math libraries: bounds may be asserted of them, bytes may not.
namespace support {

struct distribution {
    const char* name;
    /// The i-th of n values.
    double (*value)(random_bits& random, std::size_t i, std::size_t n);
};

/// In (0, 1): safe to take logarithms of.
inline double open_unit(random_bits& random) noexcept { return (static_cast<double>(random() >> 12) + 0.5) * 0x1p-52; }

/// Box and Muller, one of the two.
inline double normal(random_bits& random) {
    const double radius = std::sqrt(-2 * std::log(open_unit(random)));
    return radius * std::cos(6.283185307179586477 * open_unit(random));
}

inline constexpr std::array distributions{
    distribution{"uniform", [](random_bits& random, std::size_t, std::size_t) { return open_unit(random); }},
    distribution{"normal", [](random_bits& random, std::size_t, std::size_t) { return normal(random); }},
    distribution{"exponential",
                 [](random_bits& random, std::size_t, std::size_t) { return -std::log(open_unit(random)); }},
    distribution{"lognormal(1.5)",
                 [](random_bits& random, std::size_t, std::size_t) { return std::exp(1.5 * normal(random)); }},
    distribution{"Pareto(1.2)",
                 [](random_bits& random, std::size_t, std::size_t) { return std::pow(open_unit(random), -1 / 1.2); }},
    // The level rises a thousandfold from the first value to the last.
    distribution{"drifting lognormal",
                 [](random_bits& random, std::size_t i, std::size_t n) {
                     const double level = std::pow(1000, static_cast<double>(i) / static_cast<double>(n));
                     return level * std::exp(normal(random));
                 }},
    distribution{"100 distinct",
                 [](random_bits& random, std::size_t, std::size_t) {
                     const std::uint64_t a = random.below(100);
                     return static_cast<double>((std::min)(a, random.below(100)));
                 }},
    // Nine of ten values in a spike a millionth wide, and a hump far from it.
    distribution{"spike and hump",
                 [](random_bits& random, std::size_t, std::size_t) {
                     return random.below(10) > 0 ? 1 + 1e-6 * normal(random) : 1000 + 50 * normal(random);
                 }},
    distribution{"sorted", [](random_bits&, std::size_t i, std::size_t) { return static_cast<double>(i); }},
};

inline std::vector<double> values_of(const distribution& d, std::size_t n, std::uint64_t seed) {
    random_bits random(seed);
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = d.value(random, i, n);
    return values;
}

/// Either sign, magnitudes spread evenly over the exponents of a double: an average says nothing about its values.
/// Source: Cormode, Mishra, Ross and Vesely, Theory meets practice at the median (KDD 2021, arXiv 2102.09299).
inline std::vector<double> log_uniform(std::size_t n, std::uint64_t seed) {
    random_bits random(seed);
    std::vector<double> values(n);
    for (double& value : values) {
        const double magnitude = std::exp2(2040 * (open_unit(random) - 0.5));
        value = random() % 2 == 0 ? magnitude : -magnitude;
    }
    return values;
}

/// How far q is from the ranks that x truly has among the values: [share below x, share up to x].
inline double rank_error(std::span<const double> sorted, double q, double x) {
    const double n = static_cast<double>(sorted.size());
    const double below = static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), x) - sorted.begin()) / n;
    const double up_to = static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), x) - sorted.begin()) / n;
    return (std::max)({below - q, q - up_to, 0.0});
}

} // namespace support
