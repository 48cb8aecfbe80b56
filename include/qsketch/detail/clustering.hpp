#pragma once

#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// Weighted means in ascending order.
class sorted_items {
public:
    explicit sorted_items(std::span<const weighted_mean> items) noexcept : items_(items) {}

    /// Calls visit(item) for each, until it returns false.
    template <class Visit>
    void each(const Visit& visit) const {
        for (const weighted_mean& item : items_)
            if (!visit(item)) return;
    }
    template <class Clustering>
    void show(Clustering& pass) const {
        for (const weighted_mean& item : items_) pass.push(item);
    }

private:
    std::span<const weighted_mean> items_;
};

/// Centroids and sorted single values, merged on the way.
class centroids_and_values {
public:
    centroids_and_values(const centroid_list& centroids, std::span<const double> values) noexcept
        : centroids_(centroids), values_(values) {}

    template <class Visit>
    void each(const Visit& visit) const {
        std::size_t next = 0;
        for (const double x : values_) {
            for (; next < centroids_.size() && centroids_.mean(next) < x; ++next)
                if (!visit(centroids_.at(next))) return;
            if (!visit(weighted_mean{x, 1, true})) return;
        }
        for (; next < centroids_.size(); ++next)
            if (!visit(centroids_.at(next))) return;
    }
    template <class Clustering>
    void show(Clustering& pass) const {
        if (values_.size() > centroids_.count() / 16 || !pass.unscaled()) {
            each([&](const weighted_mean& item) {
                pass.push(item);
                return true;
            });
            return;
        }
        pass.merge(centroids_, values_);
    }

private:
    const centroid_list& centroids_;
    std::span<const double> values_;
};

/// The items as they are, equal exact ones joined; nothing if that makes more than `limit`.
template <class Items>
[[nodiscard]] std::optional<centroid_list> join(const Items& items, std::size_t limit) {
    weighted_mean run{0, 0, false};
    std::size_t runs = 0;
    items.each([&](const weighted_mean& item) {
        runs += item.same_step(run) ? 0 : 1;
        run = item;
        return runs <= limit;
    });
    if (runs > limit) return std::nullopt;
    centroid_list out;
    out.reserve(runs);
    run.weight = 0;
    items.each([&](const weighted_mean& item) {
        if (item.same_step(run)) {
            run.weight += item.weight;
        } else {
            if (run.weight > 0) out.append(run);
            run = item;
        }
        return true;
    });
    if (run.weight > 0) out.append(run);
    return out;
}

/// One pass of a merging t-digest: joins the items whose middle ranks fall into one cell of the scale's grid. Judging
/// by the middle makes the result independent of the direction of the pass, and bounds the number of centroids by the
/// number of cells (and of the heavy ones below).
///
/// Departs from Dunning and Ertl (arXiv 1902.04023, section 2.3) in two ways: equal exact values are one item, and an
/// item that is as heavy as its cell is wide stays alone, so that a value holding much of the data stays exact.
template <class Scale>
class clustering {
public:
    clustering(std::size_t cells, std::uint64_t count, double largest_magnitude)
        // Sums of values near the end of the double range are kept in smaller units, so that they cannot overflow.
        : unit_(largest_magnitude < 0x1p900 ? 1.0 : 0x1p-64), edges_(cells + 1) {
        Scale scale(cells, static_cast<double>(count));
        for (std::size_t i = 1; i < cells; ++i) edges_[i] = static_cast<std::uint64_t>(2 * scale.edge(i));
        edges_[cells] = 2 * count;
        out_.reserve(cells);
    }

    void push(const weighted_mean& item) {
        if (item.same_step(pending_)) {
            pending_.weight += item.weight;
        } else {
            if (pending_.weight > 0) place(pending_);
            pending_ = item;
        }
    }

    [[nodiscard]] bool unscaled() const noexcept { return unit_ == 1.0; }

    /// The same as pushing everything in order, for values that are few beside what the cells hold: a run of equal ones
    /// seldom fills a cell there, and is one item only where it does, or where cells are narrow. Most of the work is to
    /// add up the values between one centroid and the next, so all state is in local variables.
    void merge(const centroid_list& centroids, std::span<const double> values) {
        const double* x = values.data();
        const double* const end = x + values.size();
        std::size_t next = 0;
        double next_mean = centroids.mean(0);
        std::size_t cell = 1;
        std::uint64_t placed = 0;
        std::uint64_t open = 0; // weight of the open centroid
        bool several = false;   // whether it is made of more than one item
        bool exact = false;
        double first = 0;
        double last = 0;
        double sum = 0;
        const auto close = [&] {
            if (open == 0) return;
            // Rounding must not break the order.
            const double mean = several ? (std::min)((std::max)(sum / as_double(open), first), last) : first;
            out_.append({mean, open, exact && !several});
            open = 0;
            several = false;
            sum = 0;
        };
        for (;;) {
            weighted_mean item{};
            if (x != end && *x < next_mean) {
                const auto room = static_cast<std::int64_t>((edges_[cell] + 1) / 2 - placed);
                if (room >= 2 && edges_[cell] - edges_[cell - 1] >= 8) {
                    const double* const stop = x + (std::min)(room, static_cast<std::int64_t>(end - x));
                    const double* from = x;
                    double longer = sum;
                    do longer += *x++;
                    while (x != stop && *x < next_mean);
                    if (*from != x[-1]) {
                        if (open == 0) first = *from;
                        several = true;
                        last = x[-1];
                        sum = longer;
                        open += static_cast<std::uint64_t>(x - from);
                        placed += static_cast<std::uint64_t>(x - from);
                        continue;
                    }
                    x = from;
                }
                const double* const run = x;
                do ++x;
                while (x != end && *x == *run && *run < next_mean);
                item = {*run, static_cast<std::uint64_t>(x - run), true};
            } else if (next < centroids.size()) {
                item = centroids.at(next++);
                for (; x != end && *x == item.mean && item.exact; ++x) ++item.weight;
                next_mean = next < centroids.size() ? centroids.mean(next) : std::numeric_limits<double>::infinity();
            } else {
                break;
            }
            const std::uint64_t middle = 2 * placed + item.weight;
            bool heavy = 2 * item.weight >= edges_[cell] - edges_[cell - 1];
            if (middle > edges_[cell] || heavy) {
                close();
                while (middle > edges_[cell]) ++cell;
                heavy = 2 * item.weight >= edges_[cell] - edges_[cell - 1];
            }
            several = open > 0;
            if (open == 0) {
                first = item.mean;
                exact = item.exact;
            }
            last = item.mean;
            sum += product(item.mean, as_double(item.weight));
            open += item.weight;
            placed += item.weight;
            if (heavy) close();
        }
        close();
    }

    [[nodiscard]] centroid_list finish() && {
        if (pending_.weight > 0) place(pending_);
        close();
        return std::move(out_);
    }

private:
    /// Signed integers convert in one instruction.
    [[nodiscard]] static double as_double(std::uint64_t weight) noexcept {
        return static_cast<double>(static_cast<std::int64_t>(weight));
    }

    void place(const weighted_mean& item) {
        const std::uint64_t middle = 2 * placed_ + item.weight;
        if (middle > edges_[cell_]) {
            close();
            do ++cell_;
            while (middle > edges_[cell_]);
        }
        const bool heavy = 2 * item.weight >= edges_[cell_] - edges_[cell_ - 1];
        if (heavy) close();
        const double part = product(item.mean * unit_, as_double(item.weight));
        if (open_.weight == 0) {
            open_ = item;
            sum_ = part;
        } else {
            open_.weight += item.weight;
            open_.exact = false;
            sum_ += part;
        }
        last_ = item.mean;
        placed_ += item.weight;
        if (heavy) close();
    }

    void close() {
        if (open_.weight == 0) return;
        if (last_ > open_.mean) {
            const double mean = sum_ / product(as_double(open_.weight), unit_);
            open_.mean = (std::min)((std::max)(mean, open_.mean), last_); // rounding must not break the order
        }
        out_.append(open_);
        open_.weight = 0;
    }

    double unit_;
    // Twice the right end of every cell, rounded down: twice a middle rank is a whole number, so that integers decide.
    std::vector<std::uint64_t> edges_;
    centroid_list out_;
    std::size_t cell_ = 1;
    std::uint64_t placed_ = 0;
    weighted_mean pending_{0, 0, false}; // equal exact items, until another one comes
    weighted_mean open_{0, 0, false};
    double sum_ = 0;
    double last_ = 0;
};

} // namespace qsketch::inline v0::detail
