#pragma once

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

/// How accuracy tests judge sketches of distinct keys.
namespace support {

/// Errors of many estimates of the same number, against that number.
struct estimate_errors {
    double sum = 0;
    double squares = 0;
    int trials = 0;
    std::array<int, 3> covered{};

    template <class Counter>
    void note(const Counter& sketch, double truth) {
        const double error = sketch.estimate() / truth - 1;
        sum += error;
        squares += error * error;
        ++trials;
        for (int sigmas = 1; sigmas <= 3; ++sigmas)
            covered[static_cast<std::size_t>(sigmas - 1)] +=
                sketch.lower_bound(sigmas) <= truth && truth <= sketch.upper_bound(sigmas);
    }
    [[nodiscard]] double bias() const { return sum / trials; }
    [[nodiscard]] double rmse() const { return std::sqrt(squares / trials); }
    [[nodiscard]] double share_covered(std::size_t s) const { return covered[s] / static_cast<double>(trials); }
    [[nodiscard]] double allowance(double share) const { return 4 * std::sqrt(share * (1 - share) / trials); }
};

/// What is promised of a precision.
struct promise {
    unsigned precision;
    int trials;
    double bias;
    double rmse; // in terms of relative_error()
    std::array<double, 3> coverage;
};

/// Numbers of keys in units of m: around the switch at 3/16, linear counting, 2.5 where rivals have a bump, well above.
inline constexpr std::array shares{0.05, 0.1, 0.15, 3.0 / 16, 0.22, 0.3, 0.5, 0.75, 1.0,
                                   1.5,  2.0, 2.5,  3.0,      4.0,  5.0, 7.0, 10.0};

/// Every allowance is four standard deviations of what is measured, at the number of trials.
template <class Counter>
void check_promise(const promise& p) {
    const std::uint64_t m = std::uint64_t{1} << p.precision;
    std::vector<std::uint64_t> sizes;
    for (const double share : shares)
        sizes.push_back((std::max)(std::uint64_t{1}, static_cast<std::uint64_t>(share * static_cast<double>(m))));
    sizes.push_back(3 * m / 16 + 1);
    std::sort(sizes.begin(), sizes.end());
    std::vector<estimate_errors> seen(sizes.size());
    for (int trial = 0; trial < p.trials; ++trial) {
        Counter sketch(p.precision);
        std::uint64_t key = static_cast<std::uint64_t>(trial) << 32;
        const std::uint64_t first = key;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            while (key - first < sizes[i]) sketch.add(key++);
            seen[i].note(sketch, static_cast<double>(sizes[i]));
        }
    }
    const double relative_error = Counter(p.precision).relative_error();
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        INFO("precision " << p.precision << ", " << sizes[i] << " keys, bias " << seen[i].bias() << ", rmse "
                          << seen[i].rmse() / relative_error << " relative_error, covered " << seen[i].covered[0] << " "
                          << seen[i].covered[1] << " " << seen[i].covered[2] << " of " << p.trials);
        CHECK(std::abs(seen[i].bias()) <= p.bias + 4 * seen[i].rmse() / std::sqrt(p.trials));
        CHECK(seen[i].rmse() <= p.rmse * relative_error * (1 + 4 / std::sqrt(2.0 * p.trials)));
        for (std::size_t s = 0; s < 3; ++s)
            CHECK(seen[i].share_covered(s) >= p.coverage[s] - seen[i].allowance(p.coverage[s]));
    }
    // The promises are not slack: at the upper end the error is what theory says, no less.
    CHECK(seen.back().rmse() >= 0.95 * relative_error * (1 - 4 / std::sqrt(2.0 * p.trials)));
}

} // namespace support
