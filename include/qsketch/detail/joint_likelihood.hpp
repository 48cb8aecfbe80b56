#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qsketch::inline v0::detail {

/// The likelihood of the registers of two HyperLogLogs, as a function of how many keys came to the first only, to the
/// second only, and to both.
///
/// Let e be 2^-k / m, the share of keys that have rank k in one of the m registers, and A = exp(-a e), B = exp(-b e)
/// and X = exp(-x e) the probabilities that none of the a, b and x keys has. Where the first register is i and the
/// second one larger, j, the first has come through a or x, and the second through b alone: the probability is that of
/// max(a, x) being i times that of b being j. Where both are k, some key of both had it, or one of each: it is
/// (1 - X) + X (1 - A) (1 - B), times that of no rank above.
/// Source: Ertl 2017 (arXiv 1702.01284), section on joint estimation, whose formula this is in factors.
class joint_likelihood {
public:
    /// First only, second only, both.
    using keys = std::array<double, 3>;

    joint_likelihood(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second,
                     unsigned precision) noexcept
        : last_(64 - precision), m_(static_cast<double>(first.size())) {
        for (std::size_t i = 0; i < first.size(); ++i) {
            if (first[i] < second[i]) {
                ++smaller_[0][first[i]];
                ++larger_[1][second[i]];
            } else if (second[i] < first[i]) {
                ++smaller_[1][second[i]];
                ++larger_[0][first[i]];
            } else {
                ++equal_[first[i]];
            }
        }
    }

    struct point {
        double log_likelihood = 0;
        keys slope{};
    };

    /// Of three positive numbers.
    [[nodiscard]] point at(const keys& n) const noexcept {
        const double x = n[2];
        point p;
        for (unsigned k = 0; k <= last_ + 1; ++k) {
            if (k <= last_) { // no rank above came
                const double weight = std::ldexp(1 / m_, -static_cast<int>(k));
                const keys registers{smaller_[0][k] + equal_[k] + larger_[0][k],
                                     smaller_[1][k] + equal_[k] + larger_[1][k],
                                     smaller_[0][k] + equal_[k] + smaller_[1][k]};
                for (std::size_t i = 0; i < 3; ++i) {
                    p.slope[i] -= weight * registers[i];
                    p.log_likelihood -= weight * registers[i] * n[i];
                }
            }
            if (k == 0) continue;
            const double e = std::ldexp(1 / m_, -static_cast<int>((std::min)(k, last_)));
            for (std::size_t i = 0; i < 2; ++i) {
                if (smaller_[i][k] > 0) {
                    const double slope = smaller_[i][k] * e / std::expm1((n[i] + x) * e);
                    p.slope[i] += slope;
                    p.slope[2] += slope;
                    p.log_likelihood += smaller_[i][k] * std::log(-std::expm1(-(n[i] + x) * e));
                }
                if (larger_[i][k] > 0) {
                    p.slope[i] += larger_[i][k] * e / std::expm1(n[i] * e);
                    p.log_likelihood += larger_[i][k] * std::log(-std::expm1(-n[i] * e));
                }
            }
            if (equal_[k] > 0) {
                const keys some{-std::expm1(-n[0] * e), -std::expm1(-n[1] * e), -std::expm1(-x * e)};
                const double probability = some[2] + (1 - some[2]) * some[0] * some[1];
                const double factor = equal_[k] * e * (1 - some[2]) / probability;
                p.slope[0] += factor * (1 - some[0]) * some[1];
                p.slope[1] += factor * (1 - some[1]) * some[0];
                p.slope[2] += factor * (1 - some[0] * some[1]);
                p.log_likelihood += equal_[k] * std::log(probability);
            }
        }
        return p;
    }

    /// How the slope changes with the keys: the matrix of second derivatives, by differences.
    [[nodiscard]] std::array<keys, 3> curvature(const keys& n) const noexcept {
        std::array<keys, 3> rows;
        for (std::size_t i = 0; i < 3; ++i) {
            const double step = 1e-4 * n[i];
            keys above = n;
            keys below = n;
            above[i] += step;
            below[i] -= step;
            const keys slope_above = at(above).slope;
            const keys slope_below = at(below).slope;
            for (std::size_t j = 0; j < 3; ++j) rows[i][j] = (slope_above[j] - slope_below[j]) / (2 * step);
        }
        for (std::size_t i = 0; i < 3; ++i)
            for (std::size_t j = 0; j < i; ++j) rows[i][j] = rows[j][i] = (rows[i][j] + rows[j][i]) / 2;
        return rows;
    }

    /// The most likely numbers, none below `least` > 0, from a guess: Newton's steps in the logarithms of the numbers,
    /// damped as far as it takes to climb.
    [[nodiscard]] keys most_likely(keys n, double least) const noexcept {
        for (double& each : n) each = (std::max)(each, least);
        point here = at(n);
        double damping = 1e-3;
        for (int step = 0; step < 100; ++step) {
            const auto second = curvature(n);
            keys slope; // in the logarithms
            std::array<keys, 3> matrix;
            for (std::size_t i = 0; i < 3; ++i) {
                slope[i] = here.slope[i] * n[i];
                for (std::size_t j = 0; j < 3; ++j) matrix[i][j] = -second[i][j] * n[i] * n[j];
                matrix[i][i] -= slope[i];
            }
            bool climbed = false;
            double largest = 0;
            for (; damping < 1e9 && !climbed; damping *= 10) {
                auto damped = matrix;
                for (std::size_t i = 0; i < 3; ++i) damped[i][i] += damping * (std::abs(matrix[i][i]) + 1);
                const keys move = product(inverse(damped), slope);
                keys next;
                largest = 0;
                for (std::size_t i = 0; i < 3; ++i) {
                    next[i] = (std::max)(least, n[i] * std::exp(std::clamp(move[i], -2.0, 2.0)));
                    largest = (std::max)(largest, std::abs(next[i] / n[i] - 1));
                }
                const point there = at(next);
                if (!(there.log_likelihood >= here.log_likelihood)) continue;
                n = next;
                here = there;
                climbed = true;
            }
            damping = (std::max)(1e-9, damping / 100);
            if (!climbed || largest < 1e-9) break;
        }
        return n;
    }

    /// Of a matrix that is symmetric; whatever if it has none.
    [[nodiscard]] static std::array<keys, 3> inverse(const std::array<keys, 3>& a) noexcept {
        std::array<keys, 3> out;
        for (std::size_t i = 0; i < 3; ++i)
            for (std::size_t j = 0; j < 3; ++j) {
                const std::size_t r0 = (i + 1) % 3;
                const std::size_t r1 = (i + 2) % 3;
                const std::size_t c0 = (j + 1) % 3;
                const std::size_t c1 = (j + 2) % 3;
                out[j][i] = a[r0][c0] * a[r1][c1] - a[r0][c1] * a[r1][c0];
            }
        const double determinant = a[0][0] * out[0][0] + a[0][1] * out[1][0] + a[0][2] * out[2][0];
        for (keys& row : out)
            for (double& value : row) value /= determinant;
        return out;
    }

private:
    [[nodiscard]] static keys product(const std::array<keys, 3>& a, const keys& b) noexcept {
        keys out{};
        for (std::size_t i = 0; i < 3; ++i)
            for (std::size_t j = 0; j < 3; ++j) out[i] += a[i][j] * b[j];
        return out;
    }

    using by_rank = std::array<double, 65>; // numbers of registers

    unsigned last_; // ranks above it are as likely as it is
    double m_;
    std::array<by_rank, 2> smaller_{};
    std::array<by_rank, 2> larger_{};
    by_rank equal_{};
};

} // namespace qsketch::inline v0::detail
