#pragma once

#include <qsketch/detail/centroid_list.hpp>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace qsketch::inline v0::detail {

/// What waits to be folded into a digest beside its buffer, of which sum and extremes are known already.
struct fold_queue {
    std::vector<weighted_mean> weighted;
    std::vector<centroid_list> lists; // of merged digests, and
    std::vector<double> values;       // what was in their buffers, and in the one here
    std::uint64_t count = 0;          // of all these together
    std::uint64_t prepared = 0;       // of the whole digest, when it was flushed with this still waiting

    /// Keeps the memory of weighted values only.
    void clear() noexcept {
        weighted.clear();
        lists = std::vector<centroid_list>(); // not {}, which would keep the capacity
        values = std::vector<double>();
        count = prepared = 0;
    }
    [[nodiscard]] std::size_t centroid_count() const noexcept {
        return std::accumulate(lists.begin(), lists.end(), std::size_t{0},
                               [](std::size_t n, const centroid_list& list) { return n + list.size(); });
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return weighted.capacity() * sizeof(weighted_mean) + values.capacity() * sizeof(double) +
               lists.capacity() * sizeof(centroid_list) +
               std::accumulate(lists.begin(), lists.end(), std::size_t{0},
                               [](std::size_t n, const centroid_list& l) { return n + l.memory_bytes(); });
    }
};

} // namespace qsketch::inline v0::detail
