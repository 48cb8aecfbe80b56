#pragma once

#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// Cells in rank space, and sums of what falls into them.
template <class Scale>
class cell_grid {
public:
    cell_grid(std::size_t cells, std::uint64_t count, double largest_magnitude)
        // Sums of values near the end of the double range are kept in smaller units, so that they cannot overflow.
        : unit_(largest_magnitude < 0x1p900 ? 1.0 : 0x1p-64), edges_(cells + 1) {
        Scale scale(cells, static_cast<double>(static_cast<std::int64_t>(count)));
        edges_[cells] = 2 * count;
        for (std::size_t i = 1; i <= cells / 2; ++i) {
            const double twice = 2 * scale.edge(i);
            const auto below = static_cast<std::int64_t>(twice);
            const bool whole = static_cast<double>(below) == twice;
            edges_[cells - i] = 2 * count - static_cast<std::uint64_t>(below) - (whole ? 0 : 1);
            edges_[i] = static_cast<std::uint64_t>(below);
        }
    }

    [[nodiscard]] std::size_t cells() const noexcept { return edges_.size() - 1; }
    /// Twice the right end of cell 1 .. cells(), rounded down: twice a middle rank is a whole number, so that integers
    /// decide.
    [[nodiscard]] std::uint64_t edge(std::size_t cell) const noexcept { return edges_[cell]; }
    [[nodiscard]] std::uint64_t width(std::size_t cell) const noexcept { return edges_[cell] - edges_[cell - 1]; }

    [[nodiscard]] double sum(std::span<const double> values) const noexcept {
        double sum = 0;
        if (unit_ == 1)
            for (const double x : values) sum += x;
        else
            for (const double x : values) sum += product(x, unit_);
        return sum;
    }
    [[nodiscard]] double part(double mean, std::uint64_t weight) const noexcept {
        return product(mean * unit_, static_cast<double>(static_cast<std::int64_t>(weight)));
    }
    /// Between first and last: rounding must break neither the order nor a value that all have. No -0.0.
    [[nodiscard]] double mean(double sum, std::uint64_t weight, double first, double last) const noexcept {
        const double all = product(static_cast<double>(static_cast<std::int64_t>(weight)), unit_);
        return (std::min)((std::max)(sum / all, first), last) + 0.0;
    }

private:
    double unit_;
    std::vector<std::uint64_t> edges_;
};

/// One pass of a merging t-digest: joins the items whose middle ranks fall into one cell of the scale's grid. Judging
/// by the middle makes the result independent of the direction of the pass, and bounds the number of centroids by the
/// number of cells (and of the heavy ones below).
///
/// Departs from Dunning and Ertl (arXiv 1902.04023, section 2.3) in two ways: equal exact values are one item, and an
/// exact item that is as heavy as its cell is wide stays alone, so that a value holding much of the data stays exact.
template <class Scale>
[[nodiscard]] centroid_list clustered(const centroid_list& items, std::size_t cells, double magnitude) {
    const cell_grid<Scale> grid(cells, items.count(), magnitude);
    centroid_list out;
    out.resize(items.size());
    std::size_t size = 0;
    std::size_t cell = 1;
    std::uint64_t start = 0;
    for (std::size_t i = 0; i < items.size();) {
        std::uint64_t end = items.end(i);
        while (grid.edge(cell) < start + end) ++cell;
        const std::uint64_t edge = grid.edge(cell);
        const std::uint64_t heavy = grid.width(cell);
        const std::size_t opened = i;
        const double first = items.mean(i);
        bool exact = items.exact(i);
        double mean = first;
        if (!exact || 2 * (end - start) < heavy) {
            double sum = grid.part(first, end - start);
            while (++i < items.size()) {
                const std::uint64_t next = items.end(i);
                if (end + next > edge || (items.exact(i) && 2 * (next - end) >= heavy)) break;
                sum += grid.part(items.mean(i), next - end);
                end = next;
            }
            if (i - opened > 1) {
                mean = grid.mean(sum, end - start, first, items.mean(i - 1));
                exact = false;
            }
        } else {
            ++i;
        }
        out.set(size++, mean, end, exact);
        start = end;
    }
    out.resize(size);
    return out;
}

/// Sorted values as centroids, of a grid of their own: each run of equal values as a whole if there are at most `cells`
/// of them, else clustered.
template <class Scale>
[[nodiscard]] centroid_list clustered(std::span<const double> values, std::size_t cells, double magnitude) {
    centroid_list out;
    out.resize((std::min)(values.size(), 2 * cells + 1)); // a cell may close before a run of equal values
    std::size_t size = 0;
    std::size_t i = 0;
    const auto end_of_run = [&](std::size_t at) {
        const double x = values[at];
        do ++at;
        while (at < values.size() && values[at] == x);
        return at;
    };
    while (i < values.size() && size < cells) {
        const double x = values[i];
        i = end_of_run(i);
        out.set(size++, x, i, true);
    }
    if (i == values.size()) {
        out.resize(size);
        return out;
    }

    i = size = 0;
    const cell_grid<Scale> grid(cells, values.size(), magnitude);
    const auto append_up_to = [&](std::size_t end) {
        if (i == end) return;
        const double sum = grid.sum(values.subspan(i, end - i));
        const double first = values[i];
        const double last = values[end - 1];
        out.set(size++, grid.mean(sum, end - i, first, last), end, first == last);
        i = end;
    };
    for (std::size_t cell = 1; i < values.size(); ++cell) {
        auto end = static_cast<std::size_t>((grid.edge(cell) + 1) / 2);
        if (end <= i) continue;
        if (end < values.size() && values[end] == values[end - 1]) { // equal values stay together
            std::size_t run = end - 1;
            while (run > i && values[run - 1] == values[end]) --run;
            end = end_of_run(end);
            const bool heavy = 2 * (end - run) >= grid.width(cell);
            if (heavy || run + end > grid.edge(cell)) append_up_to(run);
            if (!heavy && i == run) continue;
        }
        append_up_to(end);
    }
    out.resize(size);
    return out;
}

/// At most `limit` centroids of all items: these themselves if they fit, else clustered on a grid of `limit` cells.
/// Heavy items can make more centroids than cells; then a coarser grid is taken.
template <class Scale>
[[nodiscard]] centroid_list compressed(const centroid_list& items, std::size_t limit, double magnitude) {
    for (std::size_t cells = limit; items.size() > limit; cells -= (std::max)(cells / 8, std::size_t{1})) {
        const centroid_list list = clustered<Scale>(items, cells, magnitude);
        if (list.size() <= limit) return centroid_list(list); // copied: without the room that clustering took
    }
    return items;
}

} // namespace qsketch::inline v0::detail
