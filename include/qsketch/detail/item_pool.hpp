#pragma once

#include <qsketch/detail/centroid_list.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace qsketch::inline v0::detail {

/// Everything that some digests hold, as sorted runs to be merged into one.
class item_pool {
public:
    void add(const centroid_list& centroids, std::span<const double> values, std::span<const weighted_mean> weighted) {
        for (std::size_t i = 0; i < centroids.size(); ++i) items_.push_back(centroids.at(i));
        close_run();
        for (const double x : values) items_.push_back({x, 1, true});
        items_.insert(items_.end(), weighted.begin(), weighted.end());
        close_run();
    }

    [[nodiscard]] std::span<const weighted_mean> sorted() {
        while (ends_.size() > 1) {
            std::vector<std::size_t> longer;
            std::size_t start = 0;
            for (std::size_t i = 0; i + 1 < ends_.size(); i += 2) {
                std::inplace_merge(at(start), at(ends_[i]), at(ends_[i + 1]));
                longer.push_back(start = ends_[i + 1]);
            }
            if (ends_.size() % 2 == 1) longer.push_back(ends_.back());
            ends_.swap(longer);
        }
        return items_;
    }

private:
    [[nodiscard]] std::vector<weighted_mean>::iterator at(std::size_t i) {
        return items_.begin() + static_cast<std::ptrdiff_t>(i);
    }
    void close_run() {
        const std::size_t start = ends_.empty() ? 0 : ends_.back();
        if (items_.size() == start) return;
        // Centroids are in order but for ties, whose order has to be everybody's.
        if (!std::is_sorted(at(start), items_.end())) std::sort(at(start), items_.end());
        ends_.push_back(items_.size());
    }

    std::vector<weighted_mean> items_;
    std::vector<std::size_t> ends_;
};

} // namespace qsketch::inline v0::detail
