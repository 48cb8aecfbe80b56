#pragma once

#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace qsketch::inline v0::detail {

/// One pass of a merging t-digest: takes weighted means in ascending order and joins those whose middle rank falls
/// into one cell of the scale's grid. Judging by the middle makes the result independent of the direction of the pass
/// and bounds the number of centroids by the number of cells (and of the heavy ones below).
///
/// Departs from Dunning and Ertl (arXiv 1902.04023, section 2.3) in two ways: equal exact values are one item, and an
/// item that is as heavy as its cell is wide stays alone, so that a value holding much of the data stays exact.
template <class Scale>
class clustering {
public:
    clustering(std::size_t cells, std::uint64_t count, double largest_magnitude, centroid_list& out)
        : scale_(cells, static_cast<double>(count)), cells_(cells), count_(static_cast<double>(count)),
          // Sums of values near the end of the double range are kept in smaller units, so that they cannot overflow.
          unit_(largest_magnitude < 0x1p900 ? 1.0 : 0x1p-64), out_(out) {
        right_ = edge();
    }

    void push(const weighted_mean& item) {
        if (item.mean == run_.mean && item.exact && run_.exact) {
            run_.weight += item.weight;
        } else {
            if (run_.weight > 0) place(run_);
            run_ = item;
            ++runs_;
        }
    }

    void finish() {
        if (run_.weight > 0) place(run_);
        close();
    }

    /// Distinct items pushed, equal exact ones counted once.
    [[nodiscard]] std::size_t runs() const noexcept { return runs_; }

private:
    [[nodiscard]] double edge() noexcept { return cell_ < cells_ ? scale_.edge(cell_) : count_; }

    void place(const weighted_mean& item) {
        const double weight = static_cast<double>(item.weight);
        const double middle = placed_ + weight / 2;
        if (middle > right_) {
            close();
            while (middle > right_ && cell_ < cells_) {
                ++cell_;
                left_ = right_;
                right_ = edge();
            }
        }
        const bool heavy = weight >= right_ - left_;
        if (heavy) close();
        if (open_.weight == 0) {
            open_ = item;
            last_ = item.mean;
            sum_ = product(product(item.mean, unit_), weight);
        } else {
            open_.weight += item.weight;
            open_.exact = false;
            last_ = item.mean;
            sum_ += product(product(item.mean, unit_), weight);
        }
        placed_ += weight;
        if (heavy) close();
    }

    void close() {
        if (open_.weight == 0) return;
        if (last_ > open_.mean) {
            const double mean = sum_ / static_cast<double>(open_.weight) / unit_;
            open_.mean = (std::min)((std::max)(mean, open_.mean), last_); // rounding must not break the order
        }
        out_.append(open_);
        open_.weight = 0;
    }

    Scale scale_;
    std::size_t cells_;
    double count_;
    double unit_;
    centroid_list& out_;
    std::size_t cell_ = 1;
    double left_ = 0;
    double right_ = 0;
    double placed_ = 0;
    weighted_mean run_{0, 0, false};
    std::size_t runs_ = 0;
    weighted_mean open_{0, 0, false};
    double sum_ = 0;
    double last_ = 0;
};

} // namespace qsketch::inline v0::detail
