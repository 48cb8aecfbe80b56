#pragma once

#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace qsketch::inline v0 {

/// How a t-digest spends its centroids: a grid that divides the ranks [0, count] into `cells` intervals, narrow where
/// quantiles must be sharp. `edge(i)` is the right end of cell i, in values counted from the smallest, for i = 1 ..
/// cells / 2, ascending up to count / 2; the cells above the median mirror those below. A scale is built anew for each
/// round of clustering, and called with growing i.
/// `id` is written into serialized digests: digests of different scales do not mix.
template <class Scale>
concept scale_function = std::constructible_from<Scale, std::size_t, double> && requires(Scale scale, std::size_t i) {
    { scale.edge(i) }
    noexcept->std::same_as<double>;
    { Scale::id } -> std::convertible_to<std::uint8_t>;
};

/// The default: q(x) = (2x)^4 / 2. Cells shrink with the cube of the distance from the end, between k1 (which treats
/// the tails too coarsely) and k2 (which leaves 7 % wide cells at the median).
/// Test: tdigest_accuracy.test.cpp.
class quartic_scale {
public:
    static constexpr std::uint8_t id = 0;

    quartic_scale(std::size_t cells, double count) noexcept : step_(2 / static_cast<double>(cells)), half_(count / 2) {}

    [[nodiscard]] double edge(std::size_t i) const noexcept {
        const double t = static_cast<double>(static_cast<std::int64_t>(i)) * step_;
        return detail::product(t * t, t * t) * half_;
    }

private:
    double step_;
    double half_;
};

/// k1(q) = cells/pi * asin(2q - 1) + cells/2: q = (1 - cos(pi x)) / 2. Even accuracy in rank, best near the median.
/// Source: Dunning and Ertl, Computing extremely accurate quantiles using t-digests, section 2.2 (arXiv 1902.04023).
class k1_scale {
public:
    static constexpr std::uint8_t id = 1;

    k1_scale(std::size_t cells, double count) noexcept : count_(count) {
        // The sine and cosine of one step; later angles by addition. Series, because libm is not the same everywhere.
        constexpr double pi = 3.141592653589793238;
        const double step = pi / static_cast<double>(cells);
        const double square = detail::product(step, step);
        double sine = 0;
        double cosine = 0;
        for (int k = 24; k >= 2; k -= 2) {
            cosine = 1 - detail::product(cosine, square / (k * (k - 1)));
            sine = 1 - detail::product(sine, square / (k * (k + 1)));
        }
        step_cosine_ = cosine;
        step_sine_ = detail::product(step, sine);
    }

    [[nodiscard]] double edge(std::size_t i) noexcept {
        for (; at_ < i; ++at_) {
            const double cosine = detail::product(cosine_, step_cosine_) - detail::product(sine_, step_sine_);
            sine_ = detail::product(sine_, step_cosine_) + detail::product(cosine_, step_sine_);
            cosine_ = cosine;
        }
        return detail::product((1 - cosine_) / 2, count_);
    }

private:
    double count_;
    double step_cosine_;
    double step_sine_;
    double cosine_ = 1;
    double sine_ = 0;
    std::size_t at_ = 0;
};

/// k2(q) ~ ln(q / (1 - q)), its range from 1/count to 1 - 1/count divided evenly: constant relative accuracy towards
/// both ends, and the widest cells at the median.
/// Source: Dunning and Ertl, section 2.2 (arXiv 1902.04023); the normalizer is ln count instead of theirs, which
/// makes the number of cells exact.
class k2_scale {
public:
    static constexpr std::uint8_t id = 2;

    k2_scale(std::size_t cells, double count) noexcept
        : count_(count), odds_(1 / (std::max)(count, 2.0)),
          growth_(detail::strict_exp(2 * detail::strict_log((std::max)(count, 2.0)) / static_cast<double>(cells))) {}

    [[nodiscard]] double edge(std::size_t i) noexcept {
        for (; at_ < i; ++at_) odds_ = detail::product(odds_, growth_);
        return detail::product(odds_ / (1 + odds_), count_);
    }

private:
    double count_;
    double odds_;
    double growth_;
    std::size_t at_ = 0;
};

} // namespace qsketch::inline v0
