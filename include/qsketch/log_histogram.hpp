#pragma once

#include <qsketch/detail/difference_code.hpp>
#include <qsketch/detail/finite.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/log_buckets.hpp>
#include <qsketch/detail/share.hpp>
#include <qsketch/detail/strict_math.hpp>
#include <qsketch/detail/varint.hpp>
#include <qsketch/error.hpp>

#include <algorithm>
#include <array>
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
        const survey found(values);
        if (!found.all_finite())
            for (const double x : values)
                if (!detail::finite(x)) reject(x);
        require_room(values.size());
        make_room(found.ranges(grid_));
        const std::uint64_t zeros_before = zeros_;
        count_all(values, found.any_negative());
        count_ += values.size();
        min_ = (std::min)(min_, found.smallest(zeros_ != zeros_before));
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
        const int scale = (std::min)(grid_.scale(), other.grid_.scale());
        const range_pair needed = joined(occupied(scale), other.occupied(scale));
        if (scale == grid_.scale() && covers(needed)) {
            other.pour_into(counters_, grid_, ranges_);
        } else {
            const layout plan = fit(scale, needed);
            std::vector<Counter> fresh(plan.size());
            pour_into(fresh, plan.grid, plan.ranges);
            other.pour_into(fresh, plan.grid, plan.ranges);
            take(plan, std::move(fresh));
        }
        zeros_ += other.zeros_;
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
        const int scale = (std::min)(grid_.scale(), other.grid_.scale());
        log_histogram left(*this);
        left.take_layout(left.fit(scale, left.occupied(scale)));
        bool enough = other.zeros_ <= zeros_;
        for (const unsigned sign : {0u, 1u})
            other.for_each_of(sign, [&](std::int32_t i, Counter n) {
                if (n == 0) return;
                Counter* const own = left.find(sign, i >> (other.grid_.scale() - scale));
                enough = enough && own != nullptr && *own >= n;
                if (enough) *own = static_cast<Counter>(*own - n);
            });
        if (!enough)
            throw incompatible_error("log_histogram: the subtracted histogram holds values that this one does not");
        left.zeros_ -= other.zeros_;
        left.count_ -= other.count_;
        if (left.empty())
            left.clear();
        else
            left.narrow_bounds();
        *this = std::move(left);
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
        const auto& [positive, negative] = ranges_;
        const std::int32_t above = split(positive, [&](std::int32_t i) { return clamped(grid_.middle(i)) <= x; });
        const std::int32_t up_to = split(negative, [&](std::int32_t i) { return clamped(-grid_.middle(i)) > x; });
        std::uint64_t rank = x >= 0 ? zeros_ : 0;
        for (std::int32_t i = positive.first; i < above; ++i) rank += at(0, i);
        for (std::int32_t i = up_to; i < negative.end; ++i) rank += at(1, i);
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
        for_each_down(1, [&](std::int32_t i, Counter n) { include(-grid_.middle(i), n); });
        include(0, zeros_);
        for_each_of(0, [&](std::int32_t i, Counter n) { include(grid_.middle(i), n); });
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
        for_each_down(1, [&](std::int32_t i, Counter n) { include(-grid_.middle(i), n); });
        for_each_of(0, [&](std::int32_t i, Counter n) { include(grid_.middle(i), n); });
        return sum;
    }

    /// What the answers hold to now: at most what was asked for, as long as the range fits into max_buckets.
    /// A hair above (base - 1) / (base + 1), for the rounding of the answers.
    [[nodiscard]] double relative_error() const noexcept { return grid_.relative_error() + 0x1p-50; }
    /// Bucket i holds magnitudes in (base^i, base^(i + 1)], with base = 2^(2^-scale()).
    [[nodiscard]] int scale() const noexcept { return grid_.scale(); }
    [[nodiscard]] std::size_t max_buckets() const noexcept { return max_buckets_; }

    /// Those that are not empty, in ascending order. An edge beyond the largest double is infinite.
    [[nodiscard]] std::vector<bucket> buckets() const {
        std::vector<bucket> result;
        for_each_down(1, [&](std::int32_t i, Counter n) {
            if (n != 0) result.push_back({0 - grid_.edge(i + 1), 0 - grid_.edge(i), n});
        });
        if (zeros_ != 0) result.push_back({0, 0, zeros_});
        for_each_of(0, [&](std::int32_t i, Counter n) {
            if (n != 0) result.push_back({grid_.edge(i), grid_.edge(i + 1), n});
        });
        return result;
    }

    /// Whether both started from buckets of the same width and have the same max_buckets.
    [[nodiscard]] bool compatible(const log_histogram& other) const noexcept {
        return finest_scale_ == other.finest_scale_ && max_buckets_ == other.max_buckets_;
    }

    /// Keeps the parameters and the allocated memory; buckets are again as narrow as asked for.
    void clear() noexcept {
        counters_.clear();
        arrange({detail::log_grid(finest_scale_), {}});
        zeros_ = 0;
        count_ = 0;
        min_ = std::numeric_limits<double>::infinity();
        max_ = -min_;
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + counters_.capacity() * sizeof(Counter);
    }

    /// Equal in everything that serialize() writes. O(buckets).
    friend bool operator==(const log_histogram& a, const log_histogram& b) noexcept {
        return a.compatible(b) && a.scale() == b.scale() && a.count_ == b.count_ && a.zeros_ == b.zeros_ &&
               a.min_ == b.min_ && a.max_ == b.max_ && a.same_buckets(b, 0) && a.same_buckets(b, 1);
    }

    /// About as many bits for a bucket as it takes to write how its count differs from that before. Histograms with
    /// other Counters read it, too. Layout: docs/format.md.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        const auto finest = static_cast<std::uint8_t>(finest_scale_);
        const auto joins = static_cast<std::uint8_t>(finest_scale_ - scale());
        detail::image_writer image(detail::image_kind::log_histogram, {finest, joins, 0}, 4 + 24 + counters_.size());
        image.put(static_cast<std::uint32_t>(max_buckets_));
        if (empty()) return std::move(image).finish();
        image.put(min_);
        image.put(max_);
        const range_pair used = {occupied_of(0), occupied_of(1)};
        detail::put_varint(image, static_cast<std::uint32_t>(used[1].size()));
        detail::put_varint(image, static_cast<std::uint32_t>(used[0].size()));
        detail::difference_writer counts(image);
        for (std::int32_t i = used[1].end; i-- > used[1].first;) counts.put(at(1, i));
        if (has_zero_field()) counts.put(zeros_);
        for (std::int32_t i = used[0].first; i < used[0].end; ++i) counts.put(at(0, i));
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
    /// Indexes first .. end - 1, none if equal.
    struct index_range {
        std::int32_t first = 0;
        std::int32_t end = 0;
        [[nodiscard]] std::int32_t size() const noexcept { return end - first; }
        [[nodiscard]] bool empty() const noexcept { return first == end; }
        [[nodiscard]] bool contains(const index_range& r) const noexcept {
            return r.empty() || (first <= r.first && r.end <= end);
        }
        [[nodiscard]] index_range joined(const index_range& r) const noexcept {
            if (empty() || r.empty()) return empty() ? r : *this;
            return {(std::min)(first, r.first), (std::max)(end, r.end)};
        }
        [[nodiscard]] index_range coarser(int scales) const noexcept {
            return empty() ? index_range{} : index_range{first >> scales, ((end - 1) >> scales) + 1};
        }
    };
    using range_pair = std::array<index_range, 2>; // of positive values, and of the magnitudes of negative ones

    struct layout {
        detail::log_grid grid;
        range_pair ranges;
        [[nodiscard]] std::size_t size() const noexcept {
            return static_cast<std::size_t>(ranges[0].size() + ranges[1].size());
        }
    };

    /// The part of a range that normal values can be looked up in without looking at them twice.
    struct window {
        std::int32_t first = 0;
        std::uint32_t size = 0;
        std::size_t offset = 0; // into counters_
    };

    static constexpr std::uint64_t sign_bit = std::uint64_t{1} << 63;
    static constexpr std::uint64_t infinity_bits = 0x7ff0000000000000;

    /// The extremes of a batch, by bits; after adding 0.0, so that there is no -0.0.
    class survey {
    public:
        explicit survey(std::span<const double> values) noexcept {
            for (const double x : values) {
                const auto bits = std::bit_cast<std::uint64_t>(x + 0.0);
                top_ = (std::max)(top_, static_cast<std::int64_t>(bits));
                bottom_ = (std::max)(bottom_, bits);
                least_positive_ = (std::min)(least_positive_, bits - 1);
            }
            if (any_negative())
                for (const double x : values)
                    least_negative_ =
                        (std::min)(least_negative_, (std::bit_cast<std::uint64_t>(x + 0.0) ^ sign_bit) - 1);
        }
        [[nodiscard]] bool any_negative() const noexcept { return bottom_ >= sign_bit; }
        [[nodiscard]] bool all_finite() const noexcept {
            return top_ < static_cast<std::int64_t>(infinity_bits) && bottom_ < (infinity_bits | sign_bit);
        }
        [[nodiscard]] range_pair ranges(const detail::log_grid& grid) const noexcept {
            const auto index = [&grid](std::uint64_t bits) { return grid.index(std::bit_cast<double>(bits)); };
            range_pair result{};
            if (top_ > 0) result[0] = {index(least_positive_ + 1), index(static_cast<std::uint64_t>(top_)) + 1};
            if (any_negative()) result[1] = {index(least_negative_ + 1), index(bottom_ ^ sign_bit) + 1};
            return result;
        }
        [[nodiscard]] double smallest(bool has_zeros) const noexcept {
            if (any_negative()) return std::bit_cast<double>(bottom_);
            return has_zeros ? 0.0 : std::bit_cast<double>(least_positive_ + 1);
        }
        [[nodiscard]] double largest() const noexcept {
            return top_ >= 0 ? std::bit_cast<double>(top_) : -std::bit_cast<double>(least_negative_ + 1);
        }

    private:
        std::int64_t top_ = (std::numeric_limits<std::int64_t>::min)();
        std::uint64_t bottom_ = 0;
        std::uint64_t least_positive_ = ~std::uint64_t{0}; // less one
        std::uint64_t least_negative_ = ~std::uint64_t{0}; // less one
    };

    log_histogram(int scale, std::size_t max_buckets) noexcept
        : finest_scale_(scale), max_buckets_(max_buckets), grid_(scale) {}

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
                                     std::to_string(max_buckets_) + " and " + std::to_string(other.max_buckets_));
    }

    void add_checked(double x, std::uint64_t weight) {
        if (!detail::finite(x)) [[unlikely]]
            reject(x);
        if (weight > max_count - count_) [[unlikely]]
            require_room(weight);
        const auto bits = std::bit_cast<std::uint64_t>(x);
        const window& w = windows_[static_cast<std::size_t>(bits >> 63)];
        const auto at = static_cast<std::uint32_t>(grid_.index_below((bits & ~sign_bit) - 1) - w.first);
        if (at < w.size) [[likely]] {
            counters_[w.offset + at] = static_cast<Counter>(counters_[w.offset + at] + weight);
        } else {
            add_odd(x, weight);
        }
        count_ += weight;
        const double bound = x + 0.0; // -0.0 becomes 0.0
        min_ = (std::min)(min_, bound);
        max_ = (std::max)(max_, bound);
    }
    /// Zero, a denormal, or a value that there is no room for yet.
    void add_odd(double x, std::uint64_t weight) {
        if (x == 0) {
            zeros_ += weight;
            return;
        }
        const unsigned sign = x < 0 ? 1 : 0;
        const std::int32_t i = grid_.index(std::abs(x));
        range_pair needed{};
        needed[sign] = {i, i + 1};
        make_room(needed);
        Counter& counter = *find(sign, grid_.index(std::abs(x))); // the scale may be another now
        counter = static_cast<Counter>(counter + weight);
    }

    /// Finite values that there is room for.
    void count_all(std::span<const double> values, bool any_negative) noexcept {
        // Copies, which counters cannot alias.
        const detail::log_grid grid = grid_;
        const std::array<window, 2> windows = windows_;
        Counter* const counters = counters_.data();
        if (!any_negative && !grid.joins_octaves()) {
            Counter* const first = counters + windows[0].offset;
            const std::uint32_t size = windows[0].size;
            const std::int32_t skipped = windows[0].first + grid.bias();
            for (const double x : values) {
                const std::uint64_t below = std::bit_cast<std::uint64_t>(x + 0.0) - 1;
                const auto at = static_cast<std::uint32_t>(grid.raw_index(below) - skipped);
                if (at < size) [[likely]]
                    ++first[at];
                else
                    count_odd(x);
            }
            return;
        }
        for (const double x : values) {
            const auto bits = std::bit_cast<std::uint64_t>(x);
            const window& w = windows[static_cast<std::size_t>(bits >> 63)];
            const auto at = static_cast<std::uint32_t>(grid.index_below((bits & ~sign_bit) - 1) - w.first);
            if (at < w.size) [[likely]]
                ++counters[w.offset + at];
            else
                count_odd(x);
        }
    }
    /// A zero, a denormal, or the normal value next to them.
    void count_odd(double x) noexcept {
        if (x == 0)
            ++zeros_;
        else
            ++*find(x < 0 ? 1 : 0, grid_.index(std::abs(x)));
    }

    [[nodiscard]] std::size_t offset_of(unsigned sign) const noexcept {
        return sign == 0 ? 0 : static_cast<std::size_t>(ranges_[0].size());
    }
    [[nodiscard]] Counter at(unsigned sign, std::int32_t i) const noexcept {
        return counters_[offset_of(sign) + static_cast<std::size_t>(i - ranges_[sign].first)];
    }
    [[nodiscard]] Counter* find(unsigned sign, std::int32_t i) noexcept {
        if (i < ranges_[sign].first || i >= ranges_[sign].end) return nullptr;
        return counters_.data() + offset_of(sign) + (i - ranges_[sign].first);
    }
    template <class Visit>
    void for_each_of(unsigned sign, Visit visit) const {
        for (std::int32_t i = ranges_[sign].first; i < ranges_[sign].end; ++i) visit(i, at(sign, i));
    }
    template <class Visit>
    void for_each_down(unsigned sign, Visit visit) const {
        for (std::int32_t i = ranges_[sign].end; i-- > ranges_[sign].first;) visit(i, at(sign, i));
    }

    /// From the first bucket that is not empty to the last.
    [[nodiscard]] index_range occupied_of(unsigned sign) const noexcept {
        index_range r = ranges_[sign];
        while (!r.empty() && at(sign, r.end - 1) == 0) --r.end;
        while (!r.empty() && at(sign, r.first) == 0) ++r.first;
        return r.empty() ? index_range{} : r;
    }
    /// In buckets of `scale`, which is no finer than scale().
    [[nodiscard]] range_pair occupied(int scale) const noexcept {
        return {occupied_of(0).coarser(grid_.scale() - scale), occupied_of(1).coarser(grid_.scale() - scale)};
    }
    [[nodiscard]] static range_pair joined(const range_pair& a, const range_pair& b) noexcept {
        return {a[0].joined(b[0]), a[1].joined(b[1])};
    }
    [[nodiscard]] bool covers(const range_pair& r) const noexcept {
        return ranges_[0].contains(r[0]) && ranges_[1].contains(r[1]);
    }

    /// The finest buckets, not finer than `scale`, of which max_buckets_ reach over `needed`; and some to spare. What
    /// is spare must not decide about the scale: it depends on the order of adds.
    [[nodiscard]] layout fit(int scale, range_pair needed) const noexcept {
        const auto limit = static_cast<std::int32_t>(max_buckets_);
        while (needed[0].size() + needed[1].size() > limit) {
            needed = {needed[0].coarser(1), needed[1].coarser(1)};
            --scale;
        }
        const std::int32_t free = (limit - needed[0].size() - needed[1].size()) / 4;
        for (index_range& r : needed) {
            if (r.empty()) continue;
            const std::int32_t spare = (std::min)(free, r.size() / 8 + 4);
            r = {r.first - spare, r.end + spare};
        }
        return {detail::log_grid(scale), needed};
    }

    /// Adds the counters to those of a layout of the same or a coarser scale that covers them.
    void pour_into(std::vector<Counter>& counters, const detail::log_grid& grid, const range_pair& ranges) const {
        const int scales = grid_.scale() - grid.scale();
        for (const unsigned sign : {0u, 1u}) {
            const index_range used = occupied_of(sign);
            const std::size_t offset = sign == 0 ? 0 : static_cast<std::size_t>(ranges[0].size());
            for (std::int32_t i = used.first; i < used.end; ++i) {
                Counter& to = counters[offset + static_cast<std::size_t>((i >> scales) - ranges[sign].first)];
                to = static_cast<Counter>(to + at(sign, i));
            }
        }
    }
    void make_room(const range_pair& needed) {
        if (!covers(needed)) take_layout(fit(grid_.scale(), joined(occupied(grid_.scale()), needed)));
    }
    void take_layout(const layout& plan) {
        std::vector<Counter> fresh(plan.size());
        pour_into(fresh, plan.grid, plan.ranges);
        take(plan, std::move(fresh));
    }
    void take(const layout& plan, std::vector<Counter>&& counters) noexcept {
        counters_ = std::move(counters);
        arrange(plan);
    }
    void arrange(const layout& plan) noexcept {
        grid_ = plan.grid;
        ranges_ = plan.ranges;
        for (const unsigned sign : {0u, 1u}) {
            const std::int32_t first = (std::max)(ranges_[sign].first, grid_.first_normal());
            const std::int32_t end = (std::max)(ranges_[sign].end, first);
            windows_[sign] = {first, static_cast<std::uint32_t>(end - first),
                              offset_of(sign) + static_cast<std::size_t>(first - ranges_[sign].first)};
        }
    }

    [[nodiscard]] double clamped(double x) const noexcept { return (std::min)((std::max)(x, min_), max_); }

    /// The first index in the range for which `before` does not hold, which holds for all before it only.
    template <class Before>
    [[nodiscard]] static std::int32_t split(index_range r, const Before& before) {
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
        std::uint64_t up_to = 0;
        for (std::int32_t i = ranges_[1].end; i-- > ranges_[1].first;)
            if (static_cast<double>(up_to += at(1, i)) >= rank) return clamped(-grid_.middle(i));
        if (static_cast<double>(up_to += zeros_) >= rank) return 0;
        for (std::int32_t i = ranges_[0].first; i < ranges_[0].end; ++i)
            if (static_cast<double>(up_to += at(0, i)) >= rank) return clamped(grid_.middle(i));
        return max_;
    }

    /// What is left lies within the old bounds and within the buckets.
    void narrow_bounds() noexcept {
        const auto above = [](double edge) { return std::bit_cast<double>(std::bit_cast<std::uint64_t>(edge) + 1); };
        const range_pair used = {occupied_of(0), occupied_of(1)};
        const double lower = !used[1].empty() ? -grid_.edge(used[1].end)
                             : zeros_ != 0    ? 0.0
                                              : above(grid_.edge(used[0].first));
        const double upper = !used[0].empty() ? grid_.edge(used[0].end)
                             : zeros_ != 0    ? 0.0
                                              : -above(grid_.edge(used[1].first));
        min_ = (std::max)(min_, lower);
        max_ = (std::min)(max_, upper);
    }

    [[nodiscard]] bool same_buckets(const log_histogram& other, unsigned sign) const noexcept {
        const index_range used = occupied_of(sign);
        const index_range others = other.occupied_of(sign);
        if (used.first != others.first || used.end != others.end) return false;
        for (std::int32_t i = used.first; i < used.end; ++i)
            if (at(sign, i) != other.at(sign, i)) return false;
        return true;
    }

    [[nodiscard]] bool has_zero_field() const noexcept { return min_ <= 0 && max_ >= 0; }

    void read_counts(detail::image_reader& image, const detail::log_grid& grid) {
        const std::uint64_t negative = detail::take_varint(image);
        const std::uint64_t positive = detail::take_varint(image);
        image.require(negative + positive <= max_buckets_, "has more buckets than it says it may have");
        image.require((negative == 0) == (min_ >= 0) && (positive == 0) == (max_ <= 0),
                      "has buckets of a sign that its minimum and maximum do not have");
        detail::difference_reader counts(image);
        image.require(negative + positive <= counts.bits_left(), "has more buckets than it has bits for");
        layout plan{grid, {}};
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
        take(plan, std::vector<Counter>(plan.size()));
        const auto take_one = [&] {
            const std::uint64_t n = counts.take();
            image.require(n <= max_count - count_, "has more values than can be counted");
            count_ += n;
            return n;
        };
        for (std::int32_t i = ranges_[1].end; i-- > ranges_[1].first;) *find(1, i) = static_cast<Counter>(take_one());
        if (has_zero_field()) zeros_ = take_one();
        for (std::int32_t i = ranges_[0].first; i < ranges_[0].end; ++i) *find(0, i) = static_cast<Counter>(take_one());
        counts.expect_end();
        for (const unsigned sign : {0u, 1u})
            image.require(occupied_of(sign).size() == ranges_[sign].size(), "has empty buckets at an end");
        image.require(zeros_ != 0 || (min_ != 0 && max_ != 0), "has no zero, but says so");
    }

    int finest_scale_;
    std::size_t max_buckets_;
    detail::log_grid grid_;
    std::vector<Counter> counters_; // of positive values, then of negative ones by magnitude
    range_pair ranges_{};
    std::array<window, 2> windows_{};
    std::uint64_t zeros_ = 0;
    std::uint64_t count_ = 0;
    double min_ = std::numeric_limits<double>::infinity();
    double max_ = -std::numeric_limits<double>::infinity();
};

} // namespace qsketch::inline v0
