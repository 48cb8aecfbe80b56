#pragma once

#include <qsketch/detail/block_sort.hpp>
#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/centroid_merge.hpp>
#include <qsketch/detail/clustering.hpp>
#include <qsketch/detail/finite.hpp>
#include <qsketch/detail/fold_queue.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/reconstruction.hpp>
#include <qsketch/detail/share.hpp>
#include <qsketch/detail/unfolding.hpp>
#include <qsketch/error.hpp>
#include <qsketch/scale.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// Quantiles of a stream of doubles in a few kilobytes, sharpest towards both ends: a merging t-digest.
///
/// Values are collected in a buffer that grows with use and folded into centroids. Four times as many centroids are
/// kept inside as serialize() writes, so that merging costs hardly any accuracy. Everything is exact while there are
/// at most 1.25 * compression distinct values; values that hold much of the data stay exact always.
///
/// There is no worst-case bound on the error: inputs exist on which any t-digest errs widely. What is measured, over
/// which inputs, is in docs/accuracy.md. log_histogram bounds the error in value instead.
/// Source: Dunning and Ertl, Computing extremely accurate quantiles using t-digests (arXiv 1902.04023).
template <scale_function Scale = quartic_scale>
class tdigest {
public:
    struct centroid {
        double mean;
        std::uint64_t weight;
        bool exact; ///< All its values equal the mean.
        friend bool operator==(const centroid&, const centroid&) = default;
    };

    static constexpr double min_compression = 10;
    static constexpr double max_compression = 10000;
    /// Ranks are computed in doubles, which count exactly up to here.
    static constexpr std::uint64_t max_count = std::uint64_t{1} << 53;

    /// compression: 10 .. 10000; the serialized form has at most 1.25 * compression centroids of 16 bytes.
    /// Throws std::invalid_argument for any other compression.
    explicit tdigest(double compression = 100) : compression_(checked(compression)) {}

    /// Throws std::invalid_argument, with nothing added, unless x is finite and the count stays within max_count.
    /// Amortized O(1).
    void add(double x) {
        if (!detail::finite(x)) [[unlikely]]
            reject(x);
        if (buffer_.size() >= room_) [[unlikely]]
            make_room(1);
        buffer_.push_back(x + 0.0); // -0.0 becomes 0.0: equal values must have equal bits
    }

    /// Throws std::invalid_argument, with nothing added, if one of the values is not finite or the count would exceed
    /// max_count. If memory runs out, the first of the values may have been added.
    void add(std::span<const double> values) {
        for (const double x : values)
            if (!detail::finite(x)) [[unlikely]]
                reject(x);
        require_room(values.size());
        while (!values.empty()) {
            if (buffer_.size() >= room_) make_room(values.size());
            const auto block = values.first((std::min)(values.size(), room_ - buffer_.size()));
            const std::size_t size = buffer_.size();
            buffer_.insert(buffer_.end(), block.begin(), block.end());
            for (std::size_t i = size; i < buffer_.size(); ++i) buffer_[i] += 0.0; // as above
            values = values.subspan(block.size());
        }
    }

    /// The same as `weight` single adds of x, in one. Throws std::invalid_argument, with nothing added, unless x is
    /// finite, weight is positive and the count stays within max_count.
    void add(double x, std::uint64_t weight) {
        if (!detail::finite(x)) reject(x);
        if (weight == 0) throw std::invalid_argument("tdigest: weight must be positive, got 0");
        require_room(weight);
        if (!waiting_.empty() && waiting_.front().weighted.size() >= inner_cells()) fold();
        detail::fold_queue& q = opened();
        q.weighted.push_back({x + 0.0, weight, true});
        q.count += weight;
        sum_ = detail::saturated(sum_ + detail::saturated(detail::product(x, static_cast<double>(weight))));
        include(x);
        measure_room();
    }

    /// Adds all that `other` holds, buffered values included; `other` may be *this. The compression stays.
    /// What is merged waits, as added values do, until there is much of it: amortized over many merges.
    /// Throws incompatible_error, with nothing changed, if the counts together exceed max_count.
    void merge(const tdigest& other) {
        const tdigest* const others[] = {&other};
        merge(std::span<const tdigest* const>(others));
    }

    /// Merges any number of digests in one pass, which is faster and more accurate than one after the other.
    /// O(n log k) for n centroids and buffered values in k digests.
    void merge(std::span<const tdigest* const> others) {
        std::uint64_t added = 0;
        std::size_t cells = centroid_count();
        std::size_t lists = list_count();
        std::size_t room = whole_room();
        unsigned filled = empty() ? 0 : 1;
        const tdigest* last = nullptr;
        for (const tdigest* other : others) {
            if (other->count() > max_count - count() - added)
                throw incompatible_error("tdigest: the counts of the merged digests exceed 2^53");
            added += other->count();
            cells += other->centroid_count();
            lists += other->list_count();
            room += other->whole_room();
            if (other->empty()) continue;
            ++filled;
            last = other;
        }
        if (added == 0) return;
        if (filled == 1 && last->compression_ == compression_) { // into an empty one: no bit changes
            tdigest copy = last->pending() ? last->gathered() : *last;
            if (last->pending()) copy.cluster_beside(copy.answers_at_once());
            copy.table_ = {}; // as little memory as after any other merge
            if (copy.rounds_ < many_rounds) copy.answers_ = {};
            become(std::move(copy));
        } else if (room <= buffer_limit() / 4 * 3 && lists <= most_lists && (cells == 0 || 2 * cells > inner_cells())) {
            join(others); // so decided that it does not show who receives
        } else { // also where centroids are few and need not stay so coarse, which would not show any more later on
            tdigest all = gathered(others);
            all.cluster(inner_cells());
            become(std::move(all));
        }
    }

    /// Prepares the answers, so that queries need not, and folds buffered values in. Changes no answer.
    void flush() {
        if (empty() || prepared()) return;
        if (pending()) {
            tdigest all = gathered();
            detail::centroid_list answers = all.answers_at_once();
            // Of merged digests more may follow, and can be folded with these.
            if (!answers.empty() && buffer_.empty() && waiting_.front().weighted.empty()) {
                prepare(std::move(answers));
                waiting_.front().prepared = count();
                return;
            }
            all.cluster_beside(std::move(answers));
            become(std::move(all));
        }
        prepare(answers_.empty() ? answering() : answers_);
    }

    /// Keeps what serialize() writes and gives back all other memory: as if the digest had been read back from its
    /// bytes. For digests that are held for long and seldom added to. O(n log n) for n buffered values.
    void compact() {
        const detail::centroid_list list = outer();
        tdigest kept(compression_);
        kept.include(*this);
        kept.sum_ = sum();
        kept.centroids_ = list; // copied: a copy has no spare capacity
        kept.rounds_ = kept.centroids_.all_exact() ? 0 : many_rounds;
        kept.measure_room();
        *this = std::move(kept);
    }

    /// The value at rank q * count(): the smallest x with cdf(x) >= q, up to rounding where values lie few units in the
    /// last place apart; min() for q = 0. NaN if empty(). O(log c) for c centroids; with values still buffered, the
    /// cost of a flush() on a copy. Throws std::invalid_argument unless 0 <= q <= 1.
    [[nodiscard]] double quantile(double q) const {
        require_quantile(q);
        if (empty()) return detail::not_a_number();
        return answered([&](const tdigest& d, const auto& function) { return d.quantile_of(function, q); });
    }

    /// answers[i] = quantile(qs[i]), with at most one flush. Throws std::invalid_argument, with `answers` unchanged,
    /// if the sizes differ or a q is outside [0, 1].
    void quantiles(std::span<const double> qs, std::span<double> answers) const {
        if (qs.size() != answers.size())
            throw std::invalid_argument("tdigest: " + std::to_string(qs.size()) + " quantiles asked, room for " +
                                        std::to_string(answers.size()));
        for (const double q : qs) require_quantile(q);
        if (empty()) {
            std::fill(answers.begin(), answers.end(), detail::not_a_number());
            return;
        }
        answered([&](const tdigest& d, const auto& function) {
            for (std::size_t i = 0; i < qs.size(); ++i) answers[i] = d.quantile_of(function, qs[i]);
            return 0;
        });
    }

    /// The share of values <= x, in [0, 1]; NaN if empty() or x is NaN. The inverse of quantile(): asserted by
    /// tdigest.test.cpp. O(log c), as quantile().
    [[nodiscard]] double cdf(double x) const {
        if (empty() || x != x) return detail::not_a_number();
        return answered([&](const tdigest& d, const auto& function) -> double {
            if (x < d.min_) return 0;
            if (x >= d.max_) return 1;
            return function.rank_of(x) / function.count();
        });
    }

    /// The mean of the values between the quantiles low and high, of which there are (high - low) * count(): a value
    /// at the edge counts in part. Between 0 and 1 it is the mean of all. NaN if empty(). O(c).
    /// Throws std::invalid_argument unless 0 <= low < high <= 1.
    /// Errors, as measured and asserted: trimmed_mean.test.cpp.
    [[nodiscard]] double trimmed_mean(double low, double high) const {
        detail::require_share("tdigest", low, high);
        if (empty()) return detail::not_a_number();
        return with_folded([&](const tdigest& d) {
            return d.reconstructed([&](const detail::reconstruction& function) {
                return function.mean_between(low * function.count(), high * function.count());
            });
        });
    }

    [[nodiscard]] std::uint64_t count() const noexcept {
        return centroids_.count() + buffer_.size() + (waiting_.empty() ? 0 : waiting_.front().count);
    }
    [[nodiscard]] bool empty() const noexcept { return count() == 0; }
    /// NaN if empty(). O(1) after flush(), else O(buffered values), as max() and sum().
    [[nodiscard]] double(min)() const noexcept {
        return empty() ? detail::not_a_number()
                       : std::accumulate(buffer_.begin(), buffer_.end(), min_,
                                         [](double a, double b) { return (std::min)(a, b); });
    }
    /// NaN if empty().
    [[nodiscard]] double(max)() const noexcept {
        return empty() ? detail::not_a_number()
                       : std::accumulate(buffer_.begin(), buffer_.end(), max_,
                                         [](double a, double b) { return (std::max)(a, b); });
    }
    /// The sum of all values in double arithmetic, kept within the finite range; 0 if empty().
    [[nodiscard]] double sum() const noexcept { return detail::saturated(sum_ + sum_of_buffer()) + 0.0; }
    [[nodiscard]] double compression() const noexcept { return compression_; }

    /// What serialize() would write, in ascending order of means: at most 1.25 * compression centroids, whose weights
    /// add up to count().
    [[nodiscard]] std::vector<centroid> centroids() const {
        const detail::centroid_list list = outer();
        std::vector<centroid> result;
        result.reserve(list.size());
        for (std::size_t i = 0; i < list.size(); ++i) {
            const item c = list.at(i);
            result.push_back({c.mean, c.weight, c.exact});
        }
        return result;
    }

    /// Any two digests of the same scale merge, whatever their compressions.
    [[nodiscard]] bool compatible(const tdigest&) const noexcept { return true; }

    /// Keeps the compression and the allocated memory.
    void clear() noexcept {
        centroids_.clear();
        forget_answers();
        buffer_.clear();
        for (detail::fold_queue& q : waiting_) q.clear();
        measure_room();
        rounds_ = 0;
        sum_ = 0;
        min_ = std::numeric_limits<double>::infinity();
        max_ = -min_;
    }

    /// How many centroids and buffered values it holds: what memory_bytes() depends on, but the same on every machine.
    [[nodiscard]] std::size_t parts() const noexcept {
        std::size_t parts = centroid_count() + buffer_.size();
        for (const detail::fold_queue& q : waiting_) parts += q.weighted.size() + q.values.size();
        return parts;
    }
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + centroids_.memory_bytes() + answers_.memory_bytes() + table_.memory_bytes() +
                            buffer_.capacity() * sizeof(double) + waiting_.capacity() * sizeof(detail::fold_queue);
        for (const detail::fold_queue& q : waiting_) bytes += q.memory_bytes();
        return bytes;
    }

    /// Equal in everything that serialize() writes. O(c).
    friend bool operator==(const tdigest& a, const tdigest& b) {
        return a.compression_ == b.compression_ && a.count() == b.count() && a.sum() == b.sum() &&
               (a.empty() || ((a.min)() == (b.min)() && (a.max)() == (b.max)())) && a.outer() == b.outer();
    }

    /// At most 44 + 16 * 1.25 * compression bytes, less where weights are all 1. Layout: docs/format.md.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        return with_outer([&](const detail::centroid_list& list) {
            const bool single = list.count() == list.size();
            detail::image_writer image(detail::image_kind::tdigest, {Scale::id, static_cast<std::uint8_t>(single), 0},
                                       32 + list.size() * (single ? 8 : 16));
            if (list.empty())
                image.put(compression_);
            else
                image.put(compression_, (min)(), (max)(), sum());
            image.put(list.means());
            if (!single)
                image.put_each(list.size(), [ends = list.ends(), start = std::uint64_t{0}](std::size_t i) mutable {
                    const std::uint64_t word = ends[i] - start; // twice the weight, and the mark
                    start = ends[i] & ~std::uint64_t{1};
                    return word;
                });
            return std::move(image).finish();
        });
    }

    /// Throws format_error unless `bytes` are an image written by serialize() of this scale. Allocates at most the
    /// size of the image.
    [[nodiscard]] static tdigest deserialize(std::span<const std::byte> bytes) {
        detail::image_reader image(bytes, detail::image_kind::tdigest, "tdigest");
        image.require(image.options()[0] == Scale::id, "is of another scale");
        image.require(image.options()[1] <= 1 && image.options()[2] == 0, "has unknown options");
        const bool single = image.options()[1] == 1;
        const double compression = image.take_double();
        image.require(compression >= min_compression && compression <= max_compression,
                      "has a compression outside 10 .. 10000");
        tdigest result(compression);
        if (image.remaining() == 0) {
            image.require(single, "has no centroids but says that they have weights");
            return result;
        }
        result.min_ = image.take_double();
        result.max_ = image.take_double();
        result.sum_ = image.take_double();
        image.require(detail::finite(result.min_) && detail::finite(result.max_) && detail::finite(result.sum_) &&
                          result.min_ <= result.max_,
                      "has a minimum, maximum and sum that are not finite, or not in order");
        for (const double x : {result.min_, result.max_, result.sum_})
            image.require(x != 0 || !std::signbit(x), "has a negative zero");
        const std::size_t size = image.remaining() / (single ? 8 : 16);
        image.require(size > 0 && size <= result.outer_cells(),
                      "has no centroids, or more than its compression allows");
        result.read_centroids(image, size, single);
        image.expect_end();
        return result;
    }

private:
    using item = detail::weighted_mean;
    static constexpr unsigned many_rounds = 4;
    static constexpr std::size_t most_lists = 8; // that wait: looking at each must not take long

    [[noreturn]] static void reject(double x) {
        throw std::invalid_argument("tdigest: value must be finite, got " + std::to_string(x));
    }
    [[nodiscard]] static double checked(double compression) {
        if (!(compression >= min_compression && compression <= max_compression))
            throw std::invalid_argument("tdigest: compression must be from 10 to 10000, got " +
                                        std::to_string(compression));
        return compression;
    }
    [[noreturn]] static void reject_quantile(double q) {
        throw std::invalid_argument("tdigest: quantile must be from 0 to 1, got " + std::to_string(q));
    }
    static void require_quantile(double q) {
        if (!(q >= 0 && q <= 1)) [[unlikely]]
            reject_quantile(q);
    }
    void require_room(std::uint64_t weight) const {
        if (weight > max_count - count())
            throw std::invalid_argument("tdigest: the count must stay within 2^53, got " + std::to_string(count()) +
                                        " + " + std::to_string(weight));
    }

    [[nodiscard]] std::size_t outer_cells() const noexcept { return static_cast<std::size_t>(1.25 * compression_); }
    [[nodiscard]] std::size_t inner_cells() const noexcept { return 4 * outer_cells(); }
    [[nodiscard]] std::size_t buffer_limit() const noexcept { return 8 * inner_cells(); }
    [[nodiscard]] double magnitude() const noexcept { return (std::max)(-min_, max_); }

    void include(double x) noexcept {
        min_ = (std::min)(min_, x + 0.0);
        max_ = (std::max)(max_, x + 0.0);
    }
    void include(const tdigest& other) noexcept {
        if (other.empty()) return;
        min_ = (std::min)(min_, (other.min)());
        max_ = (std::max)(max_, (other.max)());
    }

    /// In eight lanes, in a fixed order: fast, and the same on every machine.
    [[nodiscard]] double sum_of_buffer() const noexcept {
        const double sum = sum_of_buffer([](double x) { return x; });
        if (detail::finite(sum)) return sum;
        return detail::saturated(sum_of_buffer([](double x) { return detail::product(x, 0x1p-64); }) * 0x1p64);
    }
    template <class Part>
    [[nodiscard]] double sum_of_buffer(const Part& part) const noexcept {
        double lanes[8] = {};
        const std::size_t whole = buffer_.size() / 8 * 8;
        for (std::size_t i = 0; i < whole; i += 8)
            for (std::size_t lane = 0; lane < 8; ++lane) lanes[lane] += part(buffer_[i + lane]);
        for (std::size_t i = whole; i < buffer_.size(); ++i) lanes[i % 8] += part(buffer_[i]);
        return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    }

    [[nodiscard]] detail::fold_queue& opened() {
        if (waiting_.empty()) waiting_.emplace_back();
        return waiting_.front();
    }
    [[nodiscard]] std::size_t centroid_count() const noexcept {
        return centroids_.size() + (waiting_.empty() ? 0 : waiting_.front().centroid_count());
    }
    /// What waits of merged digests, in values of the buffer that take the same memory.
    [[nodiscard]] std::size_t waiting_room() const noexcept {
        return waiting_.empty() ? 0 : 2 * waiting_.front().centroid_count() + waiting_.front().values.size();
    }

    /// The same of all it holds, and of how many lists that is.
    [[nodiscard]] std::size_t whole_room() const noexcept {
        return 2 * centroids_.size() + waiting_room() + buffer_.size() +
               (waiting_.empty() ? 0 : 2 * waiting_.front().weighted.size());
    }
    [[nodiscard]] std::size_t list_count() const noexcept {
        return (centroids_.empty() ? 0u : 1u) + (waiting_.empty() ? 0 : waiting_.front().lists.size());
    }

    /// Lets everything of `others` wait in the queue, where the buffer goes, too: the sum of all is made of the sum of
    /// each, in an order of its own.
    void join(std::span<const tdigest* const> others) {
        detail::fold_queue& q = opened();
        std::vector<detail::centroid_list> lists;
        std::vector<double> values(buffer_);
        std::vector<double> sums{sum()};
        tdigest all(compression_);
        all.include(*this);
        all.rounds_ = rounds_;
        std::uint64_t added = buffer_.size();
        for (const tdigest* other : others) {
            if (other->empty()) continue;
            all.include(*other);
            all.rounds_ = (std::max)(all.rounds_, other->rounds_);
            added += other->count();
            sums.push_back(other->sum());
            if (!other->centroids_.empty()) lists.push_back(other->centroids_);
            values.insert(values.end(), other->buffer_.begin(), other->buffer_.end());
            for (const detail::fold_queue& theirs : other->waiting_) {
                lists.insert(lists.end(), theirs.lists.begin(), theirs.lists.end());
                values.insert(values.end(), theirs.values.begin(), theirs.values.end());
                if (!theirs.weighted.empty()) lists.push_back(detail::centroid_list::sorted(theirs.weighted));
            }
        }
        q.lists.reserve(q.lists.size() + lists.size());
        q.values.insert(q.values.end(), values.begin(), values.end());
        // From here on nothing throws.
        q.lists.insert(q.lists.end(), std::make_move_iterator(lists.begin()), std::make_move_iterator(lists.end()));
        q.count += added;
        buffer_.clear();
        answers_ = {};
        table_ = {};
        rounds_ = all.rounds_;
        min_ = all.min_;
        max_ = all.max_;
        sum_ = sum_of(std::move(sums));
        measure_room();
    }

    /// In ascending order, so that who came first does not show.
    [[nodiscard]] static double sum_of(std::vector<double> sums) noexcept {
        std::sort(sums.begin(), sums.end());
        double sum = sums[0];
        for (std::size_t i = 1; i < sums.size(); ++i) sum = detail::saturated(sum + sums[i]);
        return sum;
    }

    [[nodiscard]] static std::vector<double> sorted(const std::vector<std::span<const double>>& values) {
        std::vector<double> pool;
        if (values.size() != 1)
            for (const auto& part : values) pool.insert(pool.end(), part.begin(), part.end());
        const std::span<const double> from = values.size() == 1 ? values[0] : pool;
        std::vector<double> result(from.size());
        detail::sort_block(from, result.data());
        return result;
    }
    [[nodiscard]] detail::centroid_list clustered(std::span<const double> in_order, double magnitude) const {
        return detail::clustered<Scale>(in_order, inner_cells(), magnitude);
    }

    [[nodiscard]] bool pending() const noexcept {
        return !buffer_.empty() || (!waiting_.empty() && waiting_.front().count > 0);
    }

    /// Are the answers those of all values? Where some wait: whatever is added changes the count.
    [[nodiscard]] bool prepared() const noexcept {
        return !table_.empty() && (!pending() || (!waiting_.empty() && waiting_.front().prepared == count()));
    }

    /// The same digest and all that `others` hold, with everything that waits among the centroids, which have yet to be
    /// clustered.
    [[nodiscard]] tdigest gathered(std::span<const tdigest* const> others = {}) const {
        tdigest all(compression_);
        std::vector<const tdigest*> parts;
        std::vector<double> sums;
        std::vector<std::span<const double>> values;
        std::size_t cells = 0;
        const auto take = [&](const tdigest& d) {
            if (d.empty()) return;
            parts.push_back(&d);
            sums.push_back(d.sum());
            if (!d.buffer_.empty()) values.push_back(d.buffer_);
            for (const detail::fold_queue& q : d.waiting_)
                if (!q.values.empty()) values.push_back(q.values);
            cells += d.centroid_count();
            all.rounds_ = (std::max)(all.rounds_, d.rounds_);
            all.min_ = (std::min)(all.min_, d.min_);
            all.max_ = (std::max)(all.max_, d.max_);
        };
        take(*this);
        for (const tdigest* other : others) take(*other);
        all.sum_ = sum_of(std::move(sums));
        const std::vector<double> in_order = sorted(values);
        if (!in_order.empty()) {
            all.include(in_order.front());
            all.include(in_order.back());
        }
        // Few and coarse centroids, as of digests that were compact, need not stay so coarse.
        const bool coarse = parts.size() > 1 && cells > 0 && 2 * cells <= inner_cells() && all.magnitude() < 0x1p900;
        const std::size_t pieces = coarse ? (std::min)(inner_cells() / cells, std::size_t{4}) : 1;
        std::vector<detail::centroid_list> made;
        made.reserve(2 * parts.size() + 1); // so that none moves
        std::vector<const detail::centroid_list*> lists;
        for (const tdigest* d : parts) {
            if (!d->centroids_.empty())
                lists.push_back(pieces > 1
                                    ? &made.emplace_back(detail::unfolded(d->centroids_, d->min_, d->max_, pieces))
                                    : &d->centroids_);
            for (const detail::fold_queue& q : d->waiting_) {
                for (const detail::centroid_list& list : q.lists) lists.push_back(&list);
                if (!q.weighted.empty()) lists.push_back(&made.emplace_back(detail::centroid_list::sorted(q.weighted)));
            }
        }
        if (!in_order.empty()) lists.push_back(&made.emplace_back(clustered(in_order, all.magnitude())));
        all.centroids_ = detail::merged(lists);
        return all;
    }
    /// Of a gathered digest: the centroids of the public size, which will answer, made without the round in between.
    /// None where those of that round may have to: if there are few rounds, or few centroids beside heavy values.
    [[nodiscard]] detail::centroid_list answers_at_once() const {
        if (rounds_ + 1 < many_rounds) return {};
        detail::centroid_list list = compressed_to(outer_cells());
        return 4 * list.size() > 3 * outer_cells() ? std::move(list) : detail::centroid_list();
    }
    [[nodiscard]] detail::centroid_list compressed_to(std::size_t limit) const {
        return detail::compressed<Scale>(centroids_, limit, magnitude());
    }
    void cluster(std::size_t limit) { become_clustered(compressed_to(limit)); }
    void become_clustered(detail::centroid_list list) {
        centroids_ = std::move(list);
        count_round(rounds_);
        measure_room();
    }
    void prepare(detail::centroid_list answers) {
        table_.prepare(detail::reconstruction(answers, min_, max_));
        answers_ = std::move(answers);
    }
    /// Keeps the allocations of what was buffered.
    void become(tdigest&& all) noexcept {
        all.buffer_.swap(buffer_);
        all.waiting_.swap(waiting_);
        all.buffer_.clear();
        for (detail::fold_queue& q : all.waiting_) q.clear();
        *this = std::move(all);
    }
    /// Of a gathered digest, with what answers_at_once() made of it.
    void cluster_beside(detail::centroid_list answers) {
        cluster(inner_cells());
        answers_ = std::move(answers);
    }
    void fold() {
        if (!pending()) return;
        tdigest all = gathered();
        all.cluster(inner_cells());
        become(std::move(all));
    }

    void make_room(std::uint64_t wanted) {
        require_room(wanted);
        fold();
    }
    void measure_room() noexcept {
        const std::uint64_t left = max_count - (count() - buffer_.size());
        room_ = static_cast<std::size_t>((std::min)(std::uint64_t{buffer_limit() - waiting_room()}, left));
    }
    void forget_answers() noexcept {
        answers_.clear();
        table_.clear();
    }

    /// Calls ask(digest without buffered values).
    template <class Ask>
    auto with_folded(const Ask& ask) const {
        if (pending()) [[unlikely]] {
            tdigest all = gathered();
            if (auto list = all.answers_at_once(); !list.empty())
                all.become_clustered(std::move(list));
            else
                all.cluster(inner_cells());
            return ask(std::as_const(all));
        }
        return ask(*this);
    }

    /// Calls ask(digest without buffered values, its quantile function), for a digest that is not empty.
    template <class Ask>
    auto answered(const Ask& ask) const {
        if (prepared()) return ask(*this, table_);
        return with_folded([&](const tdigest& d) {
            return d.reconstructed([&](const detail::reconstruction& function) { return ask(d, function); });
        });
    }

    /// Calls ask(the quantile function), of a digest without buffered values.
    template <class Ask>
    auto reconstructed(const Ask& ask) const {
        if (!answers_.empty()) return ask(detail::reconstruction(answers_, min_, max_));
        const detail::centroid_list list = answering();
        return ask(detail::reconstruction(list, min_, max_));
    }

    /// The centroids that answer. The inner ones are narrow, and what they took in at different times overlaps: from
    /// a few rounds of clustering on they err more than those of the public size, in which that evens out.
    [[nodiscard]] detail::centroid_list answering() const { return rounds_ < many_rounds ? centroids_ : public_size(); }

    /// Counts a round of clustering, after it; exact centroids come out of none.
    void count_round(unsigned rounds_before) noexcept {
        rounds_ = centroids_.all_exact() ? 0 : (std::min)(rounds_before + 1, many_rounds);
    }

    [[nodiscard]] detail::centroid_list public_size() const {
        if (centroids_.size() <= outer_cells()) return centroids_;
        return compressed_to(outer_cells());
    }

    /// Calls ask(the centroids to be written).
    template <class Ask>
    auto with_outer(const Ask& ask) const {
        if (pending() && prepared()) return ask(answers_);
        return with_folded([&](const tdigest& d) {
            if (d.rounds_ == many_rounds && !d.answers_.empty()) return ask(d.answers_);
            if (d.centroids_.size() <= d.outer_cells()) return ask(d.centroids_);
            return ask(d.public_size());
        });
    }
    [[nodiscard]] detail::centroid_list outer() const {
        return with_outer([](const detail::centroid_list& list) { return list; });
    }

    /// Of this digest, in which nothing is buffered.
    template <class Function>
    [[nodiscard]] double quantile_of(const Function& function, double q) const noexcept {
        if (q == 0) return min_;
        if (q == 1) return max_;
        // A hair less: q = k / n must give the k-th of n values also where the product is rounded up.
        return function.value_at(q * function.count() * (1 - 0x1p-51));
    }

    void read_centroids(detail::image_reader& image, std::size_t size, bool single) {
        const auto* const means = image.take_bytes(size * 8).data();
        const auto* const weights = image.take_bytes(single ? 0 : size * 8).data();
        bool ascending = true;
        double previous = min_;
        // Twice the weights that have passed, and the bits of all these sums and weights: an excess cannot wrap around
        // without a trace in them.
        std::uint64_t passed = 0;
        std::uint64_t seen = 0;
        std::uint64_t least = 3;
        centroids_.resize(size);
        for (std::size_t i = 0; i < size; ++i) {
            const auto mean = std::bit_cast<double>(detail::load_little_endian<std::uint64_t>(means + 8 * i));
            const std::uint64_t word = single ? 3 : detail::load_little_endian<std::uint64_t>(weights + 8 * i);
            ascending &= mean >= previous;
            previous = mean;
            least = (std::min)(least, word);
            const std::uint64_t end = passed + word;
            seen |= word | end;
            passed = end & ~std::uint64_t{1};
            centroids_.set(i, mean, end >> 1, (word & 1) != 0);
        }
        image.require(ascending && previous <= max_, "has means that are not ascending from min to max");
        const auto zeros = std::equal_range(centroids_.means().begin(), centroids_.means().end(), 0.0);
        image.require(std::none_of(zeros.first, zeros.second, [](double x) { return std::signbit(x); }),
                      "has a negative zero");
        image.require(least >= 2 && seen >> 55 == 0 && passed <= 2 * max_count,
                      "has a weight of 0, or more than 2^53 values");
        image.require(least >= 3, "has a single value that is not marked exact");
        image.require(single || passed != 2 * size, "writes out weights that are all 1");
        image.require(passed > 2 || min_ == max_, "has one value, but another minimum than maximum");
        rounds_ = centroids_.all_exact() ? 0 : many_rounds;
        measure_room();
    }

    double compression_;
    detail::centroid_list centroids_;
    unsigned rounds_ = 0; // of clustering that the centroids went through, up to many_rounds
    // What answers queries, and the quantile function over it: kept by flush(), else made for each query.
    detail::centroid_list answers_;
    detail::quantile_table table_;
    std::vector<double> buffer_;
    std::size_t room_ = buffer_limit();       // how far the buffer may fill
    std::vector<detail::fold_queue> waiting_; // none or one: most digests need none, and should not be larger for it
    double sum_ = 0;
    double min_ = std::numeric_limits<double>::infinity();
    double max_ = -std::numeric_limits<double>::infinity();
};

} // namespace qsketch::inline v0
