#pragma once

#include <qsketch/detail/centroid_list.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace qsketch::inline v0::detail {

/// The quantile function that a list of centroids stands for, and its inverse. Neither allocates.
///
/// A centroid is a cell in rank space, as wide as its weight. An exact one is a step at its mean. Any other is a
/// parabola over its cell that keeps the cell's average, with edge values interpolated from the means of the four
/// nearest cells, and limited so that it rises. The whole rises from min to max, and jumps only between cells.
///
/// Source: Colella and Woodward, The piecewise parabolic method (J. Comput. Phys. 54, 1984), equations 1.6 - 1.10.
/// Departs from them where a neighbour is exact: its outermost value is known, so it counts as a cell of width one.
class reconstruction {
public:
    /// `edges`: as edges() gave them, or nothing, to work them out for each answer.
    reconstruction(const centroid_list& centroids, double min, double max, std::span<const double> edges = {}) noexcept
        : centroids_(centroids), min_(min), max_(max), edges_(edges),
          // Differences between values near the ends of the double range need room: work on a fraction there.
          unit_((std::max)(std::fabs(min), std::fabs(max)) < 0x1p900 ? 1.0 : 0x1p-64) {}

    [[nodiscard]] double(min)() const noexcept { return min_; }
    [[nodiscard]] double(max)() const noexcept { return max_; }
    [[nodiscard]] double count() const noexcept { return static_cast<double>(centroids_.count()); }

    /// The values between neighbouring centroids.
    [[nodiscard]] std::vector<double> edges() const {
        std::vector<double> all(centroids_.size() - 1);
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = centroids_.exact(i) && centroids_.exact(i + 1) ? 0 : edge(i); // between steps nobody asks
        return all;
    }

    /// The value at a rank in (0, count].
    [[nodiscard]] double value_at(double rank) const noexcept {
        const std::size_t i = (std::min)(centroids_.at_rank(rank), centroids_.size() - 1);
        if (centroids_.exact(i)) return centroids_.mean(i);
        const double x = (rank - static_cast<double>(centroids_.start(i))) / static_cast<double>(centroids_.weight(i));
        const double value = shape(i).at((std::min)(x, 1.0)) / unit_;
        const double above = i + 1 == centroids_.size() ? max_ : centroids_.mean(i + 1);
        return (std::min)((std::max)(value, i == 0 ? min_ : centroids_.mean(i - 1)), above);
    }

    /// The number of values <= x, for x in [min, max).
    [[nodiscard]] double rank_of(double x) const noexcept {
        const std::size_t after = centroids_.up_to(x);
        if (after > 0) {
            const std::size_t i = after - 1;
            const double end = static_cast<double>(centroids_.end(i));
            if (!centroids_.exact(i)) {
                const parabola p = shape(i);
                if (x * unit_ < p.right()) return rank_in(i, p, x);
            }
            if (after == centroids_.size() || centroids_.exact(after)) return end;
        } else if (centroids_.exact(0)) {
            return 0;
        }
        const parabola p = shape(after);
        if (x * unit_ >= p.left()) return rank_in(after, p, x);
        return static_cast<double>(centroids_.start(after));
    }

private:
    /// left + t (rise + bend (1 - t)) for t in [0, 1], rising: |bend| <= rise.
    class parabola {
    public:
        parabola(double left, double mean, double right) noexcept : left_(left), rise_(right - left) {
            bend_ = 6 * (mean - (left + right) / 2);
            if (bend_ > rise_) { // too full: the left edge gives way
                left_ = mean - 2 * (right - mean);
                rise_ = right - left_;
                bend_ = rise_;
            } else if (bend_ < -rise_) {
                rise_ = 3 * (mean - left);
                bend_ = -rise_;
            }
        }
        [[nodiscard]] double left() const noexcept { return left_; }
        [[nodiscard]] double right() const noexcept { return left_ + rise_; }
        [[nodiscard]] double at(double t) const noexcept { return left_ + t * (rise_ + bend_ * (1 - t)); }
        [[nodiscard]] double inverse(double x) const noexcept {
            // In shares of the rise, whose squares neither overflow nor vanish.
            const double height = (x - left_) / rise_;
            if (!(height > 0)) return 0;
            const double bend = bend_ / rise_;
            const double slope = 1 + bend;
            const double root = std::sqrt((std::max)(slope * slope - 4 * bend * height, 0.0));
            return (std::min)(2 * height / (slope + root), 1.0);
        }

    private:
        double left_;
        double rise_;
        double bend_;
    };

    [[nodiscard]] double rank_in(std::size_t i, const parabola& p, double x) const noexcept {
        return static_cast<double>(centroids_.start(i)) +
               p.inverse(x * unit_) * static_cast<double>(centroids_.weight(i));
    }

    [[nodiscard]] parabola shape(std::size_t i) const noexcept {
        const double mean = centroids_.mean(i) * unit_;
        const double left = i == 0 ? min_ * unit_ : edge_at(i - 1);
        const double right = i + 1 == centroids_.size() ? max_ * unit_ : edge_at(i);
        return {left, mean, right};
    }

    struct cell {
        double mean;
        double width;
    };

    [[nodiscard]] cell at(std::size_t i) const noexcept {
        return {centroids_.mean(i) * unit_, centroids_.exact(i) ? 1.0 : static_cast<double>(centroids_.weight(i))};
    }

    [[nodiscard]] double edge_at(std::size_t i) const noexcept { return edges_.empty() ? edge(i) : edges_[i]; }

    /// The value between centroids i and i + 1. Beyond the ends lie the extremes, each a cell of width one.
    [[nodiscard]] double edge(std::size_t i) const noexcept {
        const cell b = at(i);
        const cell c = at(i + 1);
        const cell a = i == 0 ? cell{min_ * unit_, 1.0} : at(i - 1);
        const cell d = i + 2 == centroids_.size() ? cell{max_ * unit_, 1.0} : at(i + 2);
        const double step = c.mean - b.mean;
        const double inner = b.width + c.width;
        const double near_b = (a.width + b.width) / (b.width + inner);
        const double near_c = (c.width + d.width) / (c.width + inner);
        const double value = b.mean + b.width / inner * step +
                             (2 * c.width * b.width / inner * (near_b - near_c) * step -
                              b.width * near_b * slope(b, c, d) + c.width * near_c * slope(a, b, c)) /
                                 (a.width + inner + d.width);
        return (std::min)((std::max)(value, b.mean), c.mean);
    }

    /// The average slope over the middle cell, times its width; never steeper than its neighbours allow.
    [[nodiscard]] static double slope(const cell& a, const cell& b, const cell& c) noexcept {
        const double before = b.mean - a.mean;
        const double behind = c.mean - b.mean;
        const double s = b.width / (a.width + b.width + c.width) *
                         ((2 * a.width + b.width) / (b.width + c.width) * behind +
                          (b.width + 2 * c.width) / (a.width + b.width) * before);
        return (std::min)(s, 2 * (std::min)(before, behind));
    }

    const centroid_list& centroids_;
    double min_;
    double max_;
    std::span<const double> edges_;
    double unit_;
};

} // namespace qsketch::inline v0::detail
