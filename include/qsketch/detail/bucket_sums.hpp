#pragma once

#include <qsketch/detail/bucket_list.hpp>
#include <qsketch/detail/merge_many.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

namespace qsketch::inline v0::detail {

/// Sums of old buckets, which spare queries most of their merges. Each is of all buckets from its first tick up to one
/// common last tick, so that a query that reaches beyond that needs only one of them, some buckets in front of it and
/// some behind it. They are of intervals of time: joining buckets makes a sum at most unusable, never wrong.
template <class Sketch, class Clock>
class bucket_sums {
    using list = bucket_list<Sketch, Clock>;

public:
    // A query merges less than `stride` buckets in front of a sum, and up to `most_behind` and the newest one behind
    // it.
    static constexpr std::size_t stride = 12;
    static constexpr std::size_t most_behind = 16;
    // Events that are late are so mostly by little: they are to find buckets that are not in any sum yet.
    static constexpr std::size_t least_behind = 4;
    static constexpr std::size_t most_parts = stride + most_behind + 1;

    /// Complexity: one merge per bucket, once in most_behind - least_behind buckets; else a search, and a merge for
    /// each bucket of a sum that has been forgotten.
    void prepare(const list& buckets) {
        if (buckets.size() <= most_parts) return;
        const auto starts = [&](const partial_sum& s) { return starts_bucket(buckets, s); };
        sums_.erase(sums_.begin(), std::find_if(sums_.begin(), sums_.end(), starts));
        if (!usable(buckets) || buckets.size() - 1 - buckets.first_after(last_) > most_behind) {
            sums_.clear();
            last_ = buckets[buckets.size() - 2 - least_behind].last;
        }
        std::size_t begin = sums_.empty() ? buckets.first_after(last_) : buckets.first_after(sums_.front().first) - 1;
        Sketch sum = sums_.empty() ? buckets.prototype() : sums_.front().sketch;
        std::vector<partial_sum> older;
        while (begin >= stride) {
            std::vector<const Sketch*> parts;
            for (std::size_t i = begin - stride; i < begin; ++i) parts.push_back(&buckets[i].sketch);
            merge_many(sum, std::span<const Sketch* const>(parts));
            begin -= stride;
            older.push_back({buckets[begin].first, sum});
            compact(older.back().sketch);
        }
        std::reverse(older.begin(), older.end());
        sums_.insert(sums_.begin(), std::make_move_iterator(older.begin()), std::make_move_iterator(older.end()));
    }

    /// What makes up buckets [begin, end), with as few parts as can be had.
    [[nodiscard]] std::vector<const Sketch*> parts(const list& buckets, std::size_t begin, std::size_t end) const {
        std::vector<const Sketch*> found;
        found.reserve(end - begin);
        const auto take = [&](std::size_t upto) {
            for (; begin < upto; ++begin) found.push_back(&buckets[begin].sketch);
        };
        if (begin < end && last_ <= buckets[end - 1].last && usable(buckets)) {
            auto sum = std::lower_bound(sums_.begin(), sums_.end(), buckets[begin].first,
                                        [](const partial_sum& s, std::int64_t time) { return s.first < time; });
            while (sum != sums_.end() && !starts_bucket(buckets, *sum)) ++sum;
            if (sum != sums_.end()) {
                take(buckets.first_after(sum->first) - 1);
                found.push_back(&sum->sketch);
                begin = buckets.first_after(last_);
            }
        }
        take(end);
        return found;
    }

    /// Those that an event at t makes wrong.
    void forget(std::int64_t t) noexcept {
        if (!sums_.empty() && t <= last_)
            sums_.erase(sums_.begin(),
                        std::upper_bound(sums_.begin(), sums_.end(), t,
                                         [](std::int64_t time, const partial_sum& s) { return time < s.first; }));
    }
    void clear() noexcept { sums_.clear(); }

    /// What this object holds elsewhere.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sums_.capacity() * sizeof(partial_sum);
        for (const partial_sum& s : sums_) bytes += s.sketch.memory_bytes() - sizeof s.sketch;
        return bytes;
    }

private:
    struct partial_sum {
        std::int64_t first;
        Sketch sketch;
    };

    /// Whether there still is a bucket that begins where the sum does.
    [[nodiscard]] static bool starts_bucket(const list& buckets, const partial_sum& sum) noexcept {
        const std::size_t behind = buckets.first_after(sum.first);
        return behind > 0 && buckets[behind - 1].first == sum.first;
    }
    /// Whether a bucket still ends where the sums do.
    [[nodiscard]] bool usable(const list& buckets) const noexcept {
        if (sums_.empty()) return false;
        const std::size_t behind = buckets.first_after(last_);
        return behind > 0 && buckets[behind - 1].last == last_;
    }

    std::vector<partial_sum> sums_; // ascending
    std::int64_t last_ = 0;
};

} // namespace qsketch::inline v0::detail
