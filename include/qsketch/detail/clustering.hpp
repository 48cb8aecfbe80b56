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
        std::size_t next = 0;
        for (std::size_t i = 0; i < centroids_.size(); ++i) {
            next += pass.push_values(values_.subspan(next), centroids_.mean(i));
            pass.push(centroids_.at(i));
        }
        pass.push_values(values_.subspan(next), std::numeric_limits<double>::infinity());
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
        runs += item.mean == run.mean && item.exact && run.exact ? 0 : 1;
        run = item;
        return runs <= limit;
    });
    if (runs > limit) return std::nullopt;
    centroid_list out;
    out.reserve(runs);
    run.weight = 0;
    items.each([&](const weighted_mean& item) {
        if (item.mean == run.mean && item.exact && run.exact) {
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
        : scale_(cells, static_cast<double>(count)), cells_(cells), count_(static_cast<double>(count)),
          // Sums of values near the end of the double range are kept in smaller units, so that they cannot overflow.
          unit_(largest_magnitude < 0x1p900 ? 1.0 : 0x1p-64) {
        out_.reserve(cells);
        right_ = edge();
    }

    void push(const weighted_mean& item) {
        if (item.mean == pending_.mean && item.exact && pending_.exact) {
            pending_.weight += item.weight;
        } else {
            if (pending_.weight > 0) place(pending_);
            pending_ = item;
        }
    }

    /// Pushes the values up to `limit`, one by one in effect; returns how many these are.
    std::size_t push_values(std::span<const double> values, double limit) {
        std::size_t next = 0;
        while (next < values.size() && values[next] <= limit) {
            push({values[next++], 1, true});
            if (open_.weight > 0 && pending_.weight == 1 && unit_ == 1.0) next = push_bulk(values, next, limit);
        }
        return next;
    }

    [[nodiscard]] centroid_list finish() && {
        if (pending_.weight > 0) place(pending_);
        close();
        return std::move(out_);
    }

private:
    [[nodiscard]] double edge() noexcept { return cell_ < cells_ ? scale_.edge(cell_) : count_; }

    /// Different single values that stay in the open centroid, whose cell is therefore wider than one: there is only
    /// a sum and a count to keep. The last of them becomes the pending one.
    [[nodiscard]] std::size_t push_bulk(std::span<const double> values, std::size_t next, double limit) noexcept {
        const double room = (std::max)(right_ - placed_ + 0.5, 0.0); // how many have their middle rank in this cell
        const std::size_t left = values.size() - next;
        const std::size_t end = next + (room < static_cast<double>(left) ? static_cast<std::size_t>(room) : left);
        const std::size_t first = next;
        double pending = pending_.mean;
        double last = last_;
        double sum = sum_;
        for (; next < end && values[next] <= limit && values[next] != pending; ++next) {
            sum += pending;
            last = pending;
            pending = values[next];
        }
        if (next == first) return next;
        open_.weight += next - first;
        open_.exact = false;
        placed_ += static_cast<double>(next - first);
        pending_.mean = pending;
        last_ = last;
        sum_ = sum;
        return next;
    }

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
        const double part = product(item.mean * unit_, weight);
        if (open_.weight == 0) {
            open_ = item;
            sum_ = part;
        } else {
            open_.weight += item.weight;
            open_.exact = false;
            sum_ += part;
        }
        last_ = item.mean;
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
    centroid_list out_;
    std::size_t cell_ = 1;
    double left_ = 0;
    double right_ = 0;
    double placed_ = 0;
    weighted_mean pending_{0, 0, false}; // equal exact items, until another one comes
    weighted_mean open_{0, 0, false};
    double sum_ = 0;
    double last_ = 0;
};

} // namespace qsketch::inline v0::detail
