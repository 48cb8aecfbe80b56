#pragma once

#include <qsketch/detail/difference_code.hpp>
#include <qsketch/detail/finite.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/log_buckets.hpp>
#include <qsketch/detail/log_counters.hpp>
#include <qsketch/detail/share.hpp>
#include <qsketch/detail/strict_math.hpp>
#include <qsketch/detail/value_extremes.hpp>
#include <qsketch/detail/varint.hpp>
#include <qsketch/error.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// Quantiles of a stream of doubles, each within relative_error() of the true value.
///
/// Values are counted in buckets whose edges are in a geometric progression, of each sign and zero; no value decides
/// where others go. Only the range matters: where max_buckets do not reach from the smallest magnitude to the largest,
/// buckets are joined in pairs, which about doubles the error, and relative_error() tells. The state depends on which
/// values were added and not on their order, so that merges in any order and shape lead to equal bytes: asserted by
/// log_histogram.test.cpp.
///
/// Counter: an unsigned integer that can hold the count of all values together.
/// Source: Masson, Rim and Lee, DDSketch (PVLDB 12, 2019); joining pairs: Epicoco et al., UDDSketch (IEEE Access 8,
/// 2020); the buckets are those of OpenTelemetry's exponential histograms.
template <std::unsigned_integral Counter = std::uint64_t>
class log_histogram {
public:
    struct bucket {
        double lower; ///< Not in the bucket.
        double upper; ///< In the bucket. Both are 0 in that of zero; negative ones hold [lower, upper).
        std::uint64_t count;
        friend bool operator==(const bucket&, const bucket&) = default;
    };

    static constexpr double min_relative_error = 0.0005;
    static constexpr double max_relative_error = 0.5;
    static constexpr std::size_t least_max_buckets = 64;
    static constexpr std::size_t most_max_buckets = 65536;
    /// 2^53, up to which doubles count exactly, or the largest Counter if that is less.
    static constexpr std::uint64_t max_count =
        (std::min)(std::uint64_t{1} << 53, static_cast<std::uint64_t>((std::numeric_limits<Counter>::max)()));

    /// relative_error: 0.0005 .. 0.5; the coarsest buckets that keep it are taken, of which there are 2^s in an octave:
    /// 64 for 0.01. max_buckets: 64 .. 65536, of both signs together; 4096 reach over 19 decades at 0.01.
    /// Throws std::invalid_argument for anything else. Nothing is allocated before the first value.
    explicit log_histogram(double relative_error = 0.01, std::size_t max_buckets = 4096)
        : log_histogram(scale_for(relative_error), checked(max_buckets)) {}

    /// Throws std::invalid_argument, with nothing added, unless x is finite and the count stays within max_count.
    /// O(1); O(max_buckets) for a value outside the range so far, of which few can come before there is room for them.
    void add(double x) { add_checked(x, 1); }

    /// The same as `weight` single adds of x, in one. Throws std::invalid_argument, with nothing added, unless x is
    /// finite, weight is positive and the count stays within max_count.
    void add(double x, std::uint64_t weight) {
        if (weight == 0) throw std::invalid_argument("log_histogram: weight must be positive, got 0");
        add_checked(x, weight);
    }

    /// All or nothing: throws std::invalid_argument, with nothing added, if one of the values is not finite or the
    /// count would exceed max_count.
    void add(std::span<const double> values) {
        if (values.empty()) return;
        const detail::value_extremes found(values);
        if (!found.all_finite())
            for (const double x : values)
                if (!detail::finite(x)) reject(x);
        require_room(values.size());
        counters_.make_room(found.ranges(grid()));
        const std::uint64_t zeros_before = counters_.zeros();
        counters_.add(values, found.any_negative());
        count_ += values.size();
        min_ = (std::min)(min_, found.smallest(counters_.zeros() != zeros_before));
        max_ = (std::max)(max_, found.largest());
    }

    /// Adds all that `other` holds; `other` may be *this. Exact, commutative and associative. O(buckets).
    /// Throws incompatible_error, with nothing changed, unless compatible(other) and the counts together stay within
    /// max_count.
    void merge(const log_histogram& other) {
        require_compatible(other);
        if (other.count_ > max_count - count_)
            throw incompatible_error("log_histogram: the counts of the merged histograms exceed " +
                                     std::to_string(max_count));
        if (other.empty()) return;
        counters_.merge(other.counters_);
        count_ += other.count_;
        min_ = (std::min)(min_, other.min_);
        max_ = (std::max)(max_, other.max_);
    }

    /// Takes out what `other` holds, as if it had never been added; `other` may be *this. What is left keeps its
    /// buckets, however coarse they have become; min() and max() are then the tightest bounds that the buckets and the
    /// old ones give, and need not be values that were added. O(buckets).
    /// Throws incompatible_error, with nothing changed, unless compatible(other) and no bucket of `other` holds more
    /// than the same bucket of *this.
    void subtract(const log_histogram& other) {
        require_compatible(other);
        if (other.empty()) return;
        auto left = counters_.without(other.counters_);
        if (!left)
            throw incompatible_error("log_histogram: the subtracted histogram holds values that this one does not");
        count_ -= other.count_;
        if (empty()) return clear();
        counters_ = *std::move(left);
        narrow_bounds();
    }

    /// The smallest x with cdf(x) >= q; min() for q = 0 and max() for q = 1. NaN if empty(). O(buckets).
    /// Throws std::invalid_argument unless 0 <= q <= 1.
    /// Off by at most relative_error() times the value of rank ceil(q * count()), plus, among denormals, 2^-1074:
    /// asserted by log_histogram.test.cpp.
    [[nodiscard]] double quantile(double q) const {
        require_quantile(q);
        if (empty()) return detail::not_a_number();
        return quantile_of(q);
    }

    /// answers[i] = quantile(qs[i]). Throws std::invalid_argument, with `answers` unchanged, if the sizes differ or a
    /// q is outside [0, 1].
    void quantiles(std::span<const double> qs, std::span<double> answers) const {
        if (qs.size() != answers.size())
            throw std::invalid_argument("log_histogram: " + std::to_string(qs.size()) + " quantiles asked, room for " +
                                        std::to_string(answers.size()));
        for (const double q : qs) require_quantile(q);
        for (std::size_t i = 0; i < qs.size(); ++i) answers[i] = empty() ? detail::not_a_number() : quantile_of(qs[i]);
    }

    /// The share of values <= x, in [0, 1]; NaN if empty() or x is NaN. The inverse of quantile(): asserted by
    /// log_histogram_members.test.cpp. O(buckets).
    /// With F the exact share and e = relative_error(), between F(x / (1 + e)) and F(x / (1 - e)), for x < 0 the other
    /// way round: asserted by log_histogram.test.cpp.
    [[nodiscard]] double cdf(double x) const {
        if (empty() || x != x) return detail::not_a_number();
        if (x < min_) return 0;
        if (x >= max_) return 1;
        // What buckets stand for ascends with them, of negative ones descends.
        const detail::log_range& positive = counters_.range(0);
        const detail::log_range& negative = counters_.range(1);
        const std::int32_t above = split(positive, [&](std::int32_t i) { return clamped(grid().middle(i)) <= x; });
        const std::int32_t up_to = split(negative, [&](std::int32_t i) { return clamped(-grid().middle(i)) > x; });
        std::uint64_t rank = x >= 0 ? counters_.zeros() : 0;
        for (std::int32_t i = positive.first; i < above; ++i) rank += counters_.at(0, i);
        for (std::int32_t i = up_to; i < negative.end; ++i) rank += counters_.at(1, i);
        return static_cast<double>(rank) / static_cast<double>(count_);
    }

    /// The mean of the values between the quantiles low and high, of which there are (high - low) * count(): a value
    /// at the edge counts in part. NaN if empty(). O(buckets). Throws std::invalid_argument unless
    /// 0 <= low < high <= 1. Off by at most relative_error() times the mean of the magnitudes of these values, plus,
    /// among denormals, 2^-1074 for each bucket: asserted by trimmed_mean.test.cpp.
    [[nodiscard]] double trimmed_mean(double low, double high) const {
        detail::require_share("log_histogram", low, high);
        if (empty()) return detail::not_a_number();
        const double from = low * static_cast<double>(count_);
        const double to = high * static_cast<double>(count_);
        if (!(from < to)) return quantile_of(high);
        double mean = 0;
        std::uint64_t passed = 0;
        const auto include = [&](double value, std::uint64_t n) {
            const double begin = (std::max)(from, static_cast<double>(passed));
            passed += n;
            const double end = (std::min)(to, static_cast<double>(passed));
            if (begin < end) mean += clamped(value) * ((end - begin) / (to - from)); // in shares: nothing overflows
        };
        counters_.for_each_down(1, [&](std::int32_t i, Counter n) { include(-grid().middle(i), n); });
        include(0, counters_.zeros());
        counters_.for_each_of(0, [&](std::int32_t i, Counter n) { include(grid().middle(i), n); });
        return clamped(mean);
    }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    /// Exact until something was subtracted. NaN if empty().
    [[nodiscard]] double(min)() const noexcept { return empty() ? detail::not_a_number() : min_; }
    /// Exact until something was subtracted. NaN if empty().
    [[nodiscard]] double(max)() const noexcept { return empty() ? detail::not_a_number() : max_; }

    /// The sum of all values, off by at most relative_error() times the sum of their magnitudes, kept within the
    /// finite range; 0 if empty(). From the buckets: a sum of doubles would depend on the order of adds. O(buckets).
    /// The bound is asserted by log_histogram.test.cpp.
    [[nodiscard]] double sum_estimate() const noexcept {
        double sum = 0;
        const auto include = [&](double value, Counter n) {
            sum = detail::saturated(sum + detail::saturated(detail::product(clamped(value), static_cast<double>(n))));
        };
        counters_.for_each_down(1, [&](std::int32_t i, Counter n) { include(-grid().middle(i), n); });
        counters_.for_each_of(0, [&](std::int32_t i, Counter n) { include(grid().middle(i), n); });
        return sum;
    }

    /// What the answers hold to now: at most what was asked for, as long as the range fits into max_buckets.
    /// A hair above (base - 1) / (base + 1), for the rounding of the answers.
    [[nodiscard]] double relative_error() const noexcept { return grid().relative_error() + 0x1p-50; }
    /// Bucket i holds magnitudes in (base^i, base^(i + 1)], with base = 2^(2^-scale()).
    [[nodiscard]] int scale() const noexcept { return grid().scale(); }
    [[nodiscard]] std::size_t max_buckets() const noexcept { return counters_.max_buckets(); }

    /// Those that are not empty, in ascending order. An edge beyond the largest double is infinite.
    [[nodiscard]] std::vector<bucket> buckets() const {
        std::vector<bucket> result;
        counters_.for_each_down(1, [&](std::int32_t i, Counter n) {
            if (n != 0) result.push_back({0 - grid().edge(i + 1), 0 - grid().edge(i), n});
        });
        if (counters_.zeros() != 0) result.push_back({0, 0, counters_.zeros()});
        counters_.for_each_of(0, [&](std::int32_t i, Counter n) {
            if (n != 0) result.push_back({grid().edge(i), grid().edge(i + 1), n});
        });
        return result;
    }

    /// Whether both started from buckets of the same width and have the same max_buckets.
    [[nodiscard]] bool compatible(const log_histogram& other) const noexcept {
        return finest_scale_ == other.finest_scale_ && max_buckets() == other.max_buckets();
    }

    /// Keeps the parameters and the allocated memory; buckets are again as narrow as asked for.
    void clear() noexcept {
        counters_.clear(finest_scale_);
        count_ = 0;
        min_ = std::numeric_limits<double>::infinity();
        max_ = -min_;
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept { return sizeof *this + counters_.allocated_bytes(); }

    /// Equal in everything that serialize() writes. O(buckets).
    friend bool operator==(const log_histogram& a, const log_histogram& b) noexcept {
        return a.compatible(b) && a.count_ == b.count_ && a.min_ == b.min_ && a.max_ == b.max_ &&
               a.counters_ == b.counters_;
    }

    /// About as many bits for a bucket as it takes to write how its count differs from that before. Histograms with
    /// other Counters read it, too. Layout: docs/format.md.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        const auto finest = static_cast<std::uint8_t>(finest_scale_);
        const auto joins = static_cast<std::uint8_t>(finest_scale_ - scale());
        detail::image_writer image(detail::image_kind::log_histogram, {finest, joins, 0}, 4 + 24 + counters_.size());
        image.put(static_cast<std::uint32_t>(max_buckets()));
        if (empty()) return std::move(image).finish();
        image.put(min_);
        image.put(max_);
        const detail::log_range positive = counters_.occupied_of(0);
        const detail::log_range negative = counters_.occupied_of(1);
        detail::put_varint(image, static_cast<std::uint32_t>(negative.size()));
        detail::put_varint(image, static_cast<std::uint32_t>(positive.size()));
        detail::difference_writer counts(image);
        for (std::int32_t i = negative.end; i-- > negative.first;) counts.put(counters_.at(1, i));
        if (has_zero_field()) counts.put(counters_.zeros());
        for (std::int32_t i = positive.first; i < positive.end; ++i) counts.put(counters_.at(0, i));
        counts.finish();
        return std::move(image).finish();
    }

    /// Throws format_error unless `bytes` are an image written by serialize() whose counts fit Counter. Allocates at
    /// most eight Counters for each byte of the image.
    [[nodiscard]] static log_histogram deserialize(std::span<const std::byte> bytes) {
        detail::image_reader image(bytes, detail::image_kind::log_histogram, "log_histogram");
        const int finest = image.options()[0];
        const int scale = finest - image.options()[1];
        image.require(finest <= detail::finest_log_scale && scale >= detail::coarsest_log_scale &&
                          image.options()[2] == 0,
                      "has unknown options");
        const auto max_buckets = image.take<std::uint32_t>();
        image.require(max_buckets >= least_max_buckets && max_buckets <= most_max_buckets,
                      "has a number of buckets outside 64 .. 65536");
        log_histogram result(finest, max_buckets);
        if (image.remaining() == 0) {
            image.require(scale == finest, "is empty but has joined buckets");
            return result;
        }
        result.min_ = image.take_double();
        result.max_ = image.take_double();
        image.require(detail::finite(result.min_) && detail::finite(result.max_) && result.min_ <= result.max_,
                      "has a minimum and maximum that are not finite, or not in order");
        for (const double x : {result.min_, result.max_})
            image.require(x != 0 || !std::signbit(x), "has a negative zero");
        result.read_counts(image, detail::log_grid(scale));
        return result;
    }

private:
    log_histogram(int scale, std::size_t max_buckets) noexcept : finest_scale_(scale), counters_(scale, max_buckets) {}

    [[nodiscard]] const detail::log_grid& grid() const noexcept { return counters_.grid(); }

    [[nodiscard]] static int scale_for(double relative_error) {
        if (!(relative_error >= min_relative_error && relative_error <= max_relative_error))
            throw std::invalid_argument("log_histogram: relative_error must be from 0.0005 to 0.5, got " +
                                        std::to_string(relative_error));
        int scale = 0;
        while (detail::log_grid(scale).relative_error() > relative_error) ++scale;
        return scale;
    }
    [[nodiscard]] static std::size_t checked(std::size_t max_buckets) {
        if (max_buckets < least_max_buckets || max_buckets > most_max_buckets)
            throw std::invalid_argument("log_histogram: max_buckets must be from 64 to 65536, got " +
                                        std::to_string(max_buckets));
        return max_buckets;
    }
    [[noreturn]] static void reject(double x) {
        throw std::invalid_argument("log_histogram: value must be finite, got " + std::to_string(x));
    }
    static void require_quantile(double q) {
        if (!(q >= 0 && q <= 1))
            throw std::invalid_argument("log_histogram: quantile must be from 0 to 1, got " + std::to_string(q));
    }
    void require_room(std::uint64_t weight) const {
        if (weight > max_count - count_)
            throw std::invalid_argument("log_histogram: the count must stay within " + std::to_string(max_count) +
                                        ", got " + std::to_string(count_) + " + " + std::to_string(weight));
    }
    void require_compatible(const log_histogram& other) const {
        if (!compatible(other))
            throw incompatible_error("log_histogram: parameters differ: scale " + std::to_string(finest_scale_) +
                                     " and " + std::to_string(other.finest_scale_) + ", max_buckets " +
                                     std::to_string(max_buckets()) + " and " + std::to_string(other.max_buckets()));
    }

    void add_checked(double x, std::uint64_t weight) {
        if (!detail::finite(x)) [[unlikely]]
            reject(x);
        if (weight > max_count - count_) [[unlikely]]
            require_room(weight);
        counters_.add(x, weight);
        count_ += weight;
        const double bound = x + 0.0; // -0.0 becomes 0.0
        min_ = (std::min)(min_, bound);
        max_ = (std::max)(max_, bound);
    }
    [[nodiscard]] double clamped(double x) const noexcept { return (std::min)((std::max)(x, min_), max_); }

    /// The first index in the range for which `before` does not hold, which holds for all before it only.
    template <class Before>
    [[nodiscard]] static std::int32_t split(detail::log_range r, const Before& before) {
        while (!r.empty()) {
            const std::int32_t middle = r.first + r.size() / 2;
            if (before(middle))
                r.first = middle + 1;
            else
                r.end = middle;
        }
        return r.first;
    }

    [[nodiscard]] double quantile_of(double q) const noexcept {
        if (q == 0) return min_;
        if (q == 1) return max_;
        // A hair less: q = k / n must give the k-th of n values also where the product is rounded up.
        const double rank = q * static_cast<double>(count_) * (1 - 0x1p-51);
        const detail::log_range& positive = counters_.range(0);
        const detail::log_range& negative = counters_.range(1);
        std::uint64_t up_to = 0;
        for (std::int32_t i = negative.end; i-- > negative.first;)
            if (static_cast<double>(up_to += counters_.at(1, i)) >= rank) return clamped(-grid().middle(i));
        if (static_cast<double>(up_to += counters_.zeros()) >= rank) return 0;
        for (std::int32_t i = positive.first; i < positive.end; ++i)
            if (static_cast<double>(up_to += counters_.at(0, i)) >= rank) return clamped(grid().middle(i));
        return max_;
    }

    /// What is left lies within the old bounds and within the buckets.
    void narrow_bounds() noexcept {
        const auto above = [](double edge) { return std::bit_cast<double>(std::bit_cast<std::uint64_t>(edge) + 1); };
        const detail::log_range positive = counters_.occupied_of(0);
        const detail::log_range negative = counters_.occupied_of(1);
        const bool has_zeros = counters_.zeros() != 0;
        const double lower = !negative.empty() ? -grid().edge(negative.end)
                             : has_zeros       ? 0.0
                                               : above(grid().edge(positive.first));
        const double upper = !positive.empty() ? grid().edge(positive.end)
                             : has_zeros       ? 0.0
                                               : -above(grid().edge(negative.first));
        min_ = (std::max)(min_, lower);
        max_ = (std::min)(max_, upper);
    }

    [[nodiscard]] bool has_zero_field() const noexcept { return min_ <= 0 && max_ >= 0; }

    void read_counts(detail::image_reader& image, const detail::log_grid& grid) {
        const std::uint64_t negative = detail::take_varint(image);
        const std::uint64_t positive = detail::take_varint(image);
        image.require(negative + positive <= max_buckets(), "has more buckets than it says it may have");
        image.require((negative == 0) == (min_ >= 0) && (positive == 0) == (max_ <= 0),
                      "has buckets of a sign that its minimum and maximum do not have");
        detail::difference_reader counts(image);
        image.require(negative + positive <= counts.bits_left(), "has more buckets than it has bits for");
        detail::log_layout plan{grid, {}};
        if (positive != 0) {
            const std::int32_t end = grid.index(max_) + 1;
            plan.ranges[0] = {end - static_cast<std::int32_t>(positive), end};
        }
        if (negative != 0) {
            const std::int32_t end = grid.index(-min_) + 1;
            plan.ranges[1] = {end - static_cast<std::int32_t>(negative), end};
        }
        const double least = std::numeric_limits<double>::denorm_min();
        image.require((positive == 0 || plan.ranges[0].first >= grid.index(min_ > 0 ? min_ : least)) &&
                          (negative == 0 || plan.ranges[1].first >= grid.index(max_ < 0 ? -max_ : least)),
                      "has buckets beyond its minimum and maximum");
        image.require((min_ <= 0 || plan.ranges[0].first == grid.index(min_)) &&
                          (max_ >= 0 || plan.ranges[1].first == grid.index(-max_)),
                      "has buckets that do not reach to its minimum and maximum");
        counters_.assign(plan);
        const auto take_one = [&] {
            const std::uint64_t n = counts.take();
            image.require(n <= max_count - count_, "has more values than can be counted");
            count_ += n;
            return n;
        };
        const auto& [positives, negatives] = plan.ranges;
        for (std::int32_t i = negatives.end; i-- > negatives.first;) counters_.set(1, i, take_one());
        if (has_zero_field()) counters_.set_zeros(take_one());
        for (std::int32_t i = positives.first; i < positives.end; ++i) counters_.set(0, i, take_one());
        counts.expect_end();
        for (const unsigned sign : {0u, 1u})
            image.require(counters_.occupied_of(sign).size() == counters_.range(sign).size(),
                          "has empty buckets at an end");
        image.require(counters_.zeros() != 0 || (min_ != 0 && max_ != 0), "has no zero, but says so");
    }

    int finest_scale_;
    detail::log_counters<Counter> counters_;
    std::uint64_t count_ = 0;
    double min_ = std::numeric_limits<double>::infinity();
    double max_ = -std::numeric_limits<double>::infinity();
};

} // namespace qsketch::inline v0
