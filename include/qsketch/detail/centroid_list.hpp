#pragma once

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

/// Centroids in ascending order of their means, held as means and cumulative weights: the prefix sums that ranks are
/// looked up in are the representation itself. The lowest bit of a prefix sum is the `exact` mark of its centroid.
class centroid_list {
public:
    [[nodiscard]] std::size_t size() const noexcept { return means_.size(); }
    [[nodiscard]] bool empty() const noexcept { return means_.empty(); }
    [[nodiscard]] std::span<const double> means() const noexcept { return means_; }
    [[nodiscard]] double mean(std::size_t i) const noexcept { return means_[i]; }
    [[nodiscard]] bool exact(std::size_t i) const noexcept { return (ends_[i] & 1) != 0; }
    /// Values before and up to the end of centroid i.
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
        return partition(ends_.size(), [&](std::size_t i) { return ends_[i] < least; });
    }
    /// Number of centroids with means <= x.
    [[nodiscard]] std::size_t up_to(double x) const noexcept {
        return partition(means_.size(), [&](std::size_t i) { return means_[i] <= x; });
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

private:
    /// The first i in [0, size] for which `before(i)` is false, where it is true for a prefix; without branches.
    template <class Before>
    [[nodiscard]] static std::size_t partition(std::size_t size, const Before& before) noexcept {
        std::size_t first = 0;
        while (size > 0) {
            const std::size_t half = (size + 1) / 2;
            first += half & (std::size_t{0} - static_cast<std::size_t>(before(first + half - 1)));
            size -= half;
        }
        return first;
    }

    std::vector<double> means_;
    std::vector<std::uint64_t> ends_;
};

} // namespace qsketch::inline v0::detail
