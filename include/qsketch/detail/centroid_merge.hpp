#pragma once

#include <qsketch/detail/centroid_list.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// All centroids of both, in ascending order of their means; of equal means, those of `a` come first.
[[nodiscard]] inline centroid_list merged(const centroid_list& a, const centroid_list& b) {
    centroid_list out;
    out.resize(a.size() + b.size());
    const double* const a_means = a.means().data();
    const double* const b_means = b.means().data();
    std::size_t i = 0;
    std::size_t j = 0;
    // Which of the two comes next is a guess in every step: counted, not branched upon.
    while (i < a.size() && j < b.size()) {
        const bool from_b = b_means[j] < a_means[i];
        const double mean = from_b ? b_means[j] : a_means[i];
        const bool exact = from_b ? b.exact(j) : a.exact(i);
        const std::size_t k = i + j;
        i += from_b ? 0 : 1;
        j += from_b ? 1 : 0;
        out.set(k, mean, a.start(i) + b.start(j), exact);
    }
    for (; i < a.size(); ++i) out.set(i + j, a.mean(i), a.end(i) + b.count(), a.exact(i));
    for (; j < b.size(); ++j) out.set(i + j, b.mean(j), a.count() + b.end(j), b.exact(j));
    return out;
}

/// Joins equal steps, and sorts other centroids of equal means among themselves: results must not depend on which of
/// them came first.
inline void settle_ties(centroid_list& list) {
    const auto means = list.means();
    if (std::adjacent_find(means.begin(), means.end()) == means.end()) return;
    std::vector<weighted_mean> tied;
    std::size_t size = 0;
    std::uint64_t passed = 0;
    for (std::size_t begin = 0, end = 0; begin < list.size(); begin = end) {
        tied.clear();
        do tied.push_back(list.at(end++));
        while (end < list.size() && list.mean(end) == list.mean(begin));
        std::sort(tied.begin(), tied.end()); // the exact ones first
        for (std::size_t i = 0; i < tied.size(); ++i) {
            if (i > 0 && tied[i].exact) --size;
            list.set(size++, tied[i].mean, passed += tied[i].weight, tied[i].exact);
        }
    }
    list.resize(size);
}

/// The centroids of all lists, in an order that is a function of the centroids alone.
[[nodiscard]] inline centroid_list merged(std::vector<centroid_list> lists) {
    if (lists.empty()) return {};
    for (; lists.size() > 1; lists.resize((lists.size() + 1) / 2))
        for (std::size_t i = 0; i < lists.size(); i += 2)
            lists[i / 2] = i + 1 < lists.size() ? merged(lists[i], lists[i + 1]) : std::move(lists[i]);
    settle_ties(lists[0]);
    return std::move(lists[0]);
}

} // namespace qsketch::inline v0::detail
