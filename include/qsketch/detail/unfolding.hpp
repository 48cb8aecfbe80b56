#pragma once

#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// The centroids in up to `pieces` pieces each, spread along the slope that the neighbours suggest, with the same mean
/// together. A centroid that is merged as it is counts as a step, and so moves its values by up to half its width; over
/// many merges that adds up. Exact ones are steps, and stay whole.
/// Pieces of neighbours may overlap: they are put in order.
/// The slope is that of the piecewise linear method, limited as there: van Leer, Towards the ultimate conservative
/// difference scheme IV (J. Comput. Phys. 23, 1977).
[[nodiscard]] inline centroid_list unfolded(const centroid_list& centroids, double min, double max,
                                            std::uint64_t pieces) {
    const auto width = [&](std::size_t i) {
        return centroids.exact(i) ? 1.0 : static_cast<double>(static_cast<std::int64_t>(centroids.weight(i)));
    };
    std::vector<weighted_mean> result;
    result.reserve(centroids.size() * static_cast<std::size_t>(pieces));
    for (std::size_t i = 0; i < centroids.size(); ++i) {
        const weighted_mean c = centroids.at(i);
        const std::uint64_t parts = c.exact ? 1 : (std::min)(pieces, c.weight / 2); // single values would be exact
        if (parts < 2) {
            result.push_back(c);
            continue;
        }
        const bool first = i == 0;
        const bool last = i + 1 == centroids.size();
        const double before = c.mean - (first ? min : centroids.mean(i - 1));
        const double behind = (last ? max : centroids.mean(i + 1)) - c.mean;
        const double reach = ((first ? 0 : width(i - 1)) + (last ? 0 : width(i + 1))) / 2 + width(i);
        const double rise = (std::min)(product(before + behind, width(i) / reach), 2 * (std::min)(before, behind));
        for (std::uint64_t part = 0, begin = 0; part < parts; ++part) {
            const std::uint64_t end = c.weight * (part + 1) / parts;
            const double middle = static_cast<double>(static_cast<std::int64_t>(begin + end)) / (2 * width(i)) - 0.5;
            result.push_back({c.mean + product(rise, middle), end - begin, false});
            begin = end;
        }
    }
    return centroid_list::sorted(std::move(result));
}

} // namespace qsketch::inline v0::detail
