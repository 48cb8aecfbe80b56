#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qsketch::inline v0::detail {

/// A mean with the weight behind it. `exact`: all its values equal the mean, so that it is a step of the distribution
/// and not a slope.
struct weighted_mean {
    double mean;
    std::uint64_t weight;
    bool exact;

    /// The order in which centroids are pooled: a total one, so that results do not depend on who came first.
    friend bool operator<(const weighted_mean& a, const weighted_mean& b) noexcept {
        if (a.mean != b.mean) return a.mean < b.mean;
        if (a.exact != b.exact) return a.exact;
        return a.weight < b.weight;
    }
};

/// The number of items for which `before` holds, where it holds for a prefix. Three guesses at a time are computed, not
/// branched upon: fewer of them wait for each other than in halving, and compilers do not make branches of them.
template <class T, class Before>
[[nodiscard]] std::size_t end_of_prefix(const T* items, std::size_t size, Before before) noexcept {
    const T* first = items;
    const auto holds = [&](std::size_t i) { return before(first[i]) ? std::size_t{1} : std::size_t{0}; };
    while (size >= 4) {
        const std::size_t quarter = size / 4;
        first += quarter * (holds(quarter - 1) + holds(2 * quarter - 1) + holds(3 * quarter - 1));
        size -= 3 * quarter;
    }
    std::size_t last = 0;
    for (std::size_t i = 0; i < size; ++i) last += holds(i);
    return static_cast<std::size_t>(first - items) + last;
}

/// Centroids in ascending order of their means, held as means and cumulative weights: the prefix sums that ranks are
/// looked up in are the representation itself. The lowest bit of a prefix sum is the `exact` mark of its centroid.
class centroid_list {
public:
    [[nodiscard]] std::size_t size() const noexcept { return means_.size(); }
    [[nodiscard]] bool empty() const noexcept { return means_.empty(); }
    [[nodiscard]] std::span<const double> means() const noexcept { return means_; }
    /// Twice the cumulative weights, plus one where a centroid is exact.
    [[nodiscard]] std::span<const std::uint64_t> ends() const noexcept { return ends_; }
    [[nodiscard]] double mean(std::size_t i) const noexcept { return means_[i]; }
    [[nodiscard]] bool exact(std::size_t i) const noexcept { return (ends_[i] & 1) != 0; }
    /// Values before (also for i = size()), and up to the end of, centroid i.
    [[nodiscard]] std::uint64_t start(std::size_t i) const noexcept { return i == 0 ? 0 : ends_[i - 1] >> 1; }
    [[nodiscard]] std::uint64_t end(std::size_t i) const noexcept { return ends_[i] >> 1; }
    [[nodiscard]] std::uint64_t weight(std::size_t i) const noexcept { return end(i) - start(i); }
    [[nodiscard]] std::uint64_t count() const noexcept { return ends_.empty() ? 0 : ends_.back() >> 1; }
    [[nodiscard]] weighted_mean at(std::size_t i) const noexcept { return {mean(i), weight(i), exact(i)}; }

    [[nodiscard]] bool all_exact() const noexcept {
        std::uint64_t marks = 1;
        for (const std::uint64_t end : ends_) marks &= end;
        return marks == 1;
    }

    /// Index of the centroid that holds the value of rank `rank` in (0, count]: the first whose end reaches it.
    [[nodiscard]] std::size_t at_rank(double rank) const noexcept {
        const auto below = static_cast<std::uint64_t>(static_cast<std::int64_t>(rank));
        const std::uint64_t least = (below + (static_cast<double>(static_cast<std::int64_t>(below)) < rank ? 1 : 0))
                                    << 1;
        return end_of_prefix(ends_.data(), ends_.size(), [=](std::uint64_t end) { return end < least; });
    }
    /// Number of centroids with means <= x.
    [[nodiscard]] std::size_t up_to(double x) const noexcept {
        return end_of_prefix(means_.data(), means_.size(), [=](double mean) { return mean <= x; });
    }

    void append(const weighted_mean& c) {
        means_.push_back(c.mean);
        ends_.push_back(((count() + c.weight) << 1) | (c.exact ? 1u : 0u));
    }
    /// Centroid i, where `end` values end. The centroids in between are made by resize().
    void set(std::size_t i, double mean, std::uint64_t end, bool exact) noexcept {
        means_[i] = mean;
        ends_[i] = (end << 1) | (exact ? 1u : 0u);
    }
    void resize(std::size_t size) {
        means_.resize(size);
        ends_.resize(size);
    }
    void clear() noexcept {
        means_.clear();
        ends_.clear();
    }
    void reserve(std::size_t size) {
        means_.reserve(size);
        ends_.reserve(size);
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return means_.capacity() * sizeof(double) + ends_.capacity() * sizeof(std::uint64_t);
    }

    friend bool operator==(const centroid_list&, const centroid_list&) = default;

    /// The items in their order.
    [[nodiscard]] static centroid_list sorted(std::vector<weighted_mean> items) {
        if (!std::is_sorted(items.begin(), items.end())) std::sort(items.begin(), items.end());
        centroid_list list;
        list.reserve(items.size());
        for (const weighted_mean& item : items) list.append(item);
        return list;
    }

private:
    std::vector<double> means_;
    std::vector<std::uint64_t> ends_;
};

} // namespace qsketch::inline v0::detail
