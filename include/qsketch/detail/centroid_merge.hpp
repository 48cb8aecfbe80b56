#pragma once

#include <qsketch/detail/block_sort.hpp>
#include <qsketch/detail/centroid_list.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qsketch::inline v0::detail {

/// All centroids of both, in ascending order of their means; of equal means, those of `a` come first.
[[nodiscard]] inline centroid_list merged(const centroid_list& a, const centroid_list& b) {
    centroid_list out;
    out.resize(a.size() + b.size());
    // Which comes next is a guess in every step: it is computed, not branched upon. That takes long, so both ends are
    // worked at.
    std::size_t i = 0;
    std::size_t j = 0;
    std::size_t a_end = a.size();
    std::size_t b_end = b.size();
    while (i < a_end && j < b_end) {
        const std::size_t least = b.mean(j) < a.mean(i) ? 1 : 0;
        const std::size_t most = b.mean(b_end - 1) < a.mean(a_end - 1) ? 1 : 0;
        const double mean = b.mean(j) < a.mean(i) ? b.mean(j) : a.mean(i);
        const double last = b.mean(b_end - 1) < a.mean(a_end - 1) ? a.mean(a_end - 1) : b.mean(b_end - 1);
        const unsigned exact = (a.exact(i) ? 2u : 0u) + (b.exact(j) ? 1u : 0u);
        const unsigned last_exact = (b.exact(b_end - 1) ? 2u : 0u) + (a.exact(a_end - 1) ? 1u : 0u);
        out.set(a_end + b_end - 1, last, a.end(a_end - 1) + b.end(b_end - 1), ((last_exact >> (1 - most)) & 1) != 0);
        const std::size_t at = i + j;
        i += 1 - least;
        j += least;
        a_end -= most;
        b_end -= 1 - most;
        out.set(at, mean, a.start(i) + b.start(j), ((exact >> (1 - least)) & 1) != 0);
    }
    for (; i < a_end; ++i) out.set(i + j, a.mean(i), a.end(i) + b.start(j), a.exact(i));
    for (; j < b_end; ++j) out.set(i + j, b.mean(j), a.start(i) + b.end(j), b.exact(j));
    return out;
}

/// Joins equal steps, and sorts other centroids of equal means among themselves: results must not depend on which of
/// them came first.
inline void settle_ties(centroid_list& list) {
    const auto means = list.means();
    const auto first = std::adjacent_find(means.begin(), means.end());
    if (first == means.end()) return;
    std::vector<weighted_mean> tied;
    auto size = static_cast<std::size_t>(first - means.begin());
    for (std::size_t begin = size, end = begin; begin < list.size(); begin = end) {
        bool exact = true;
        do exact &= list.exact(end++);
        while (end < list.size() && list.mean(end) == list.mean(begin));
        if (exact || end - begin == 1) {
            list.set(size++, list.mean(begin), list.end(end - 1), exact);
            continue;
        }
        tied.clear();
        std::uint64_t passed = list.start(begin);
        for (std::size_t i = begin; i < end; ++i) tied.push_back(list.at(i));
        std::sort(tied.begin(), tied.end()); // the exact ones first
        for (std::size_t i = 0; i < tied.size(); ++i) {
            if (i > 0 && tied[i].exact) --size;
            list.set(size++, tied[i].mean, passed += tied[i].weight, tied[i].exact);
        }
    }
    list.resize(size);
}

/// The centroids of many lists, in one sort.
[[nodiscard]] inline centroid_list sorted_pool(std::span<const centroid_list* const> lists) {
    struct item {
        double mean;
        std::uint64_t word; // twice the weight, plus one where it is exact
    };
    std::size_t size = 0;
    for (const centroid_list* list : lists) size += list->size();
    std::vector<item> items;
    items.reserve(size);
    for (const centroid_list* list : lists) {
        std::uint64_t start = 0;
        for (std::size_t i = 0; i < list->size(); ++i) {
            const std::uint64_t end = list->ends()[i];
            items.push_back({list->mean(i), end - start});
            start = end & ~std::uint64_t{1};
        }
    }
    std::vector<item> in_order(items.size());
    sort_block(std::span<const item>(items), in_order.data());
    centroid_list out;
    out.resize(items.size());
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < in_order.size(); ++i) {
        end += in_order[i].word >> 1;
        out.set(i, in_order[i].mean, end, (in_order[i].word & 1) != 0);
    }
    return out;
}

/// The centroids of all lists.
[[nodiscard]] inline centroid_list pooled(std::span<const centroid_list* const> lists) {
    constexpr std::size_t worth_sorting = 6;
    if (lists.empty()) return {};
    if (lists.size() == 1) return *lists[0];
    if (lists.size() == 2) return merged(*lists[0], *lists[1]);
    if (lists.size() >= worth_sorting) return sorted_pool(lists);
    const std::size_t half = lists.size() / 2;
    return merged(pooled(lists.first(half)), pooled(lists.subspan(half)));
}

/// The same, in an order that is a function of the centroids alone.
[[nodiscard]] inline centroid_list merged(std::span<const centroid_list* const> lists) {
    centroid_list list = pooled(lists);
    settle_ties(list);
    return list;
}

} // namespace qsketch::inline v0::detail
