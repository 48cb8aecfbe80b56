#pragma once

#include <qsketch/detail/centroid_list.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// A cell of the quantile function: from rank `start` on, left + rise t (1 + bend (1 - t)) for t in [0, 1], which never
/// falls, in whatever way it is rounded.
struct quantile_piece {
    double start;
    double left;
    double rise;
    double bend; // as a share of the rise: from -1 to 1

    [[nodiscard]] static quantile_piece step(double start, double value) noexcept { return {start, value, 0, 0}; }
    /// The parabola from left to right with that mean. Where it would fall, an edge gives way.
    [[nodiscard]] static quantile_piece parabola(double start, double left, double mean, double right) noexcept {
        const double begin = (std::max)(left, mean - 2 * (right - mean));
        const double rise = (std::min)(right, mean + 2 * (mean - left)) - begin;
        const double bend = rise > 0 ? (std::min)((std::max)(6 * ((mean - begin) / rise) - 3, -1.0), 1.0) : 0;
        return {start, begin, rise, bend};
    }

    /// The value at a rank up to `end`. Rounding must not lead beyond `limit`, where the next piece begins.
    [[nodiscard]] double value_at(double rank, double end, double limit) const noexcept {
        // From the end where the slope is least: there all terms are positive, and grow together.
        const double origin = bend > 0 ? 1 : 0;
        const double t = std::fabs(origin - (rank - start) / (end - start));
        const double flat = std::fabs(bend);
        return (std::min)(left + rise * std::fabs(origin - t * ((1 - flat) + flat * t)), limit);
    }
    /// The number of values <= x, for x from `left` to where the next piece begins.
    [[nodiscard]] double rank_of(double x, double end) const noexcept { return start + position_of(x) * (end - start); }
    /// The average of the values between two ranks from start to end.
    [[nodiscard]] double mean_between(double from, double to, double end) const noexcept {
        const double a = (from - start) / (end - start);
        const double b = (to - start) / (end - start);
        return left + rise * ((1 + bend) * (a + b) / 2 - bend * (a * a + a * b + b * b) / 3);
    }

private:
    [[nodiscard]] double position_of(double x) const noexcept {
        const double height = (x - left) / rise;
        if (!(height < 1)) return 1; // also 0 / 0, on a step
        if (!(height > 0)) return 0;
        const double slope = 1 + bend;
        const double root = std::sqrt((std::max)(slope * slope - 4 * bend * height, 0.0));
        return (std::min)(2 * height / (slope + root), 1.0);
    }
};

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
    reconstruction(const centroid_list& centroids, double min, double max) noexcept
        : centroids_(centroids), min_(min), max_(max),
          // Differences between values near the ends of the double range need room: work on a fraction there.
          unit_((std::max)(-min, max) < 0x1p900 ? 1.0 : 0x1p-64) {}

    /// The value at a rank in (0, count].
    [[nodiscard]] double value_at(double rank) const noexcept {
        const std::size_t i = (std::min)(centroids_.at_rank(rank), centroids_.size() - 1);
        if (centroids_.exact(i)) return centroids_.mean(i);
        const quantile_piece next = piece(i + 1);
        const double value = piece(i).value_at(rank, next.start, next.left) / unit_;
        const double below = i == 0 ? min_ : centroids_.mean(i - 1);
        return (std::min)((std::max)(value, below), i + 1 == centroids_.size() ? max_ : centroids_.mean(i + 1));
    }

    /// The number of values <= x, for x in [min, max).
    [[nodiscard]] double rank_of(double x) const noexcept {
        std::size_t i = centroids_.up_to(x);
        if (i == centroids_.size() || !(piece(i).left <= x * unit_)) i -= i > 0 ? 1 : 0;
        return piece(i).rank_of(x * unit_, start(i + 1));
    }

    /// The average of the values between two ranks, 0 <= from <= to and to > 0.
    [[nodiscard]] double mean_between(double from, double to) const noexcept {
        if (!(from < to)) return value_at(to);
        double mean = 0;
        for (std::size_t i = centroids_.at_rank(from); i < centroids_.size() && start(i) < to; ++i) {
            const double begin = (std::max)(from, start(i));
            const double end = (std::min)(to, start(i + 1));
            const bool whole = centroids_.exact(i) || (begin == start(i) && end == start(i + 1));
            const double own = whole ? centroids_.mean(i) : piece(i).mean_between(begin, end, start(i + 1)) / unit_;
            mean += own * ((end - begin) / (to - from)); // in shares, whose sum cannot overflow
        }
        return (std::min)((std::max)(mean, min_), max_);
    }

    /// Calls take(piece) for each, and for one behind the last.
    template <class Take>
    void each_piece(const Take& take) const {
        double left = min_ * unit_;
        cell before = cell_at(0 - std::size_t{1});
        cell here = cell_at(0);
        cell next = cell_at(1);
        double slope = slope_of(before, here, next);
        for (std::size_t i = 0; i < centroids_.size(); ++i) {
            const bool last = i + 1 == centroids_.size();
            const cell behind = last ? next : cell_at(i + 2);
            const double next_slope = slope_of(here, next, behind);
            const double right = last ? max_ * unit_ : edge_between(before, here, next, behind, slope, next_slope);
            take(piece_between(left, i, right));
            left = right;
            slope = next_slope;
            before = std::exchange(here, std::exchange(next, behind));
        }
        take(piece(centroids_.size()));
    }
    [[nodiscard]] std::size_t size() const noexcept { return centroids_.size(); }
    [[nodiscard]] double count() const noexcept { return start(centroids_.size()); }
    /// Pieces are in the unit of the values, and so can be kept.
    [[nodiscard]] bool plain() const noexcept { return unit_ == 1; }

private:
    [[nodiscard]] double start(std::size_t i) const noexcept {
        return static_cast<double>(static_cast<std::int64_t>(centroids_.start(i)));
    }
    [[nodiscard]] double width(std::size_t i) const noexcept {
        return static_cast<double>(static_cast<std::int64_t>(centroids_.weight(i)));
    }

    [[nodiscard]] quantile_piece piece(std::size_t i) const noexcept {
        if (i == centroids_.size()) return quantile_piece::step(start(i), max_ * unit_);
        return piece_between(i == 0 ? min_ * unit_ : right_edge(i - 1), i, right_edge(i));
    }
    [[nodiscard]] quantile_piece piece_between(double left, std::size_t i, double right) const noexcept {
        const double mean = centroids_.mean(i) * unit_;
        return centroids_.exact(i) ? quantile_piece::step(start(i), mean)
                                   : quantile_piece::parabola(start(i), left, mean, right);
    }

    struct cell {
        double mean;
        double width;
    };

    /// Beyond the ends lie the extremes, each a cell of width one.
    [[nodiscard]] cell cell_at(std::size_t i) const noexcept {
        if (i >= centroids_.size()) return {(i == centroids_.size() ? max_ : min_) * unit_, 1.0};
        return {centroids_.mean(i) * unit_, centroids_.exact(i) ? 1.0 : width(i)};
    }

    /// The average slope over cell b, times its width; never steeper than its neighbours allow.
    [[nodiscard]] static double slope_of(const cell& a, const cell& b, const cell& c) noexcept {
        const double before = b.mean - a.mean;
        const double behind = c.mean - b.mean;
        const double s = b.width / (a.width + b.width + c.width) *
                         ((2 * a.width + b.width) / (b.width + c.width) * behind +
                          (b.width + 2 * c.width) / (a.width + b.width) * before);
        return (std::min)(s, 2 * (std::min)(before, behind));
    }

    /// The value between cells b and c, of these slopes.
    [[nodiscard]] static double edge_between(const cell& a, const cell& b, const cell& c, const cell& d, double slope,
                                             double next_slope) noexcept {
        const double step = c.mean - b.mean;
        const double inner = b.width + c.width;
        const double near_b = (a.width + b.width) / (b.width + inner);
        const double near_c = (c.width + d.width) / (c.width + inner);
        const double value = b.mean + b.width / inner * step +
                             (2 * c.width * b.width / inner * (near_b - near_c) * step - b.width * near_b * next_slope +
                              c.width * near_c * slope) /
                                 (a.width + inner + d.width);
        return (std::min)((std::max)(value, b.mean), c.mean);
    }

    /// The value behind cell i.
    [[nodiscard]] double right_edge(std::size_t i) const noexcept {
        if (i + 1 == centroids_.size()) return max_ * unit_;
        const cell a = cell_at(i - 1);
        const cell b = cell_at(i);
        const cell c = cell_at(i + 1);
        const cell d = cell_at(i + 2);
        return edge_between(a, b, c, d, slope_of(a, b, c), slope_of(b, c, d));
    }

    const centroid_list& centroids_;
    double min_;
    double max_;
    double unit_;
};

/// The same, prepared: answers without working out any piece.
class quantile_table {
public:
    /// Stays empty where pieces cannot be kept.
    void prepare(const reconstruction& r) {
        if (!r.plain()) return;
        const std::size_t rows = r.size() + 1;
        columns_.resize(4 * rows);
        std::size_t i = 0;
        r.each_piece([&](const quantile_piece& p) {
            columns_[i] = p.start;
            columns_[rows + i] = p.left;
            columns_[2 * rows + i] = p.rise;
            columns_[3 * rows + i] = p.bend;
            ++i;
        });
    }
    void clear() noexcept { columns_.clear(); }
    [[nodiscard]] bool empty() const noexcept { return columns_.empty(); }

    [[nodiscard]] double value_at(double rank) const noexcept {
        const std::size_t n = rows();
        const double* const p = columns_.data() + row(0, [=](double start) { return start < rank; });
        return quantile_piece{p[0], p[n], p[2 * n], p[3 * n]}.value_at(rank, p[1], p[n + 1]);
    }
    [[nodiscard]] double rank_of(double x) const noexcept {
        const std::size_t n = rows();
        const double* const p = columns_.data() + row(1, [=](double left) { return left <= x; });
        return quantile_piece{p[0], p[n], p[2 * n], p[3 * n]}.rank_of(x, p[1]);
    }
    [[nodiscard]] double count() const noexcept { return columns_[rows() - 1]; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return columns_.capacity() * sizeof(double); }

private:
    [[nodiscard]] std::size_t rows() const noexcept { return columns_.size() / 4; }
    /// The last but the one behind the end that satisfies `before`; the first if none does.
    template <class Before>
    [[nodiscard]] std::size_t row(std::size_t column, const Before& before) const noexcept {
        return end_of_prefix(columns_.data() + column * rows() + 1, rows() - 2, before);
    }

    std::vector<double> columns_; // start, left, rise, bend
};

} // namespace qsketch::inline v0::detail
