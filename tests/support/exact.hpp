#pragma once

#include <qsketch/detail/image.hpp>
#include <qsketch/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace support {

/// All values, sorted: the truth that quantile sketches are measured against, and itself a sketch by all the laws,
/// which lets the code around sketches be tested without their errors. Sketches with different tags do not merge.
class exact_quantiles {
public:
    explicit exact_quantiles(std::uint32_t tag = 0) : tag_(tag) {}

    void add(double x) {
        if (std::isnan(x)) throw std::invalid_argument("exact_quantiles: x must not be NaN");
        values_.insert(std::upper_bound(values_.begin(), values_.end(), x), x + 0.0); // -0.0 becomes 0.0
    }
    void add(std::span<const double> xs) {
        if (std::any_of(xs.begin(), xs.end(), [](double x) { return std::isnan(x); }))
            throw std::invalid_argument("exact_quantiles: xs must not contain NaN");
        for (const double x : xs) values_.push_back(x + 0.0);
        std::sort(values_.begin(), values_.end());
    }

    void merge(const exact_quantiles& other) {
        if (!compatible(other)) throw qsketch::incompatible_error("exact_quantiles: tags differ");
        std::vector<double> merged;
        std::merge(values_.begin(), values_.end(), other.values_.begin(), other.values_.end(),
                   std::back_inserter(merged));
        values_ = std::move(merged);
    }

    [[nodiscard]] bool compatible(const exact_quantiles& other) const noexcept { return tag_ == other.tag_; }
    void clear() noexcept { values_.clear(); }
    [[nodiscard]] bool empty() const noexcept { return values_.empty(); }
    friend bool operator==(const exact_quantiles&, const exact_quantiles&) = default;

    [[nodiscard]] std::uint64_t count() const noexcept { return values_.size(); }
    [[nodiscard]] std::span<const double> values() const noexcept { return values_; }

    /// The value at rank ceil(q * count), the first one for q = 0.
    [[nodiscard]] double quantile(double q) const {
        if (!(q >= 0 && q <= 1)) throw std::invalid_argument("exact_quantiles: q must lie in [0, 1]");
        if (values_.empty()) return std::numeric_limits<double>::quiet_NaN();
        const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values_.size())));
        return values_[rank == 0 ? 0 : rank - 1];
    }

    /// Share of the values up to and including x.
    [[nodiscard]] double cdf(double x) const {
        if (values_.empty()) return std::numeric_limits<double>::quiet_NaN();
        const auto below = std::upper_bound(values_.begin(), values_.end(), x) - values_.begin();
        return static_cast<double>(below) / static_cast<double>(values_.size());
    }

    /// The mean of the values between two ranks, those at the edges in part.
    [[nodiscard]] double trimmed_mean(double low, double high) const {
        if (!(low >= 0 && low < high && high <= 1)) throw std::invalid_argument("exact_quantiles: not a range");
        if (values_.empty()) return std::numeric_limits<double>::quiet_NaN();
        const auto n = static_cast<double>(values_.size());
        double sum = 0;
        for (auto i = static_cast<std::size_t>(low * n); i < values_.size() && static_cast<double>(i) < high * n; ++i)
            sum += values_[i] *
                   ((std::min)(static_cast<double>(i + 1), high * n) - (std::max)(static_cast<double>(i), low * n));
        return sum / (high * n - low * n);
    }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + values_.capacity() * sizeof(double);
    }

    [[nodiscard]] std::vector<std::byte> serialize() const {
        qsketch::detail::image_writer out(kind, {}, 0);
        out.put(tag_);
        for (const double x : values_) out.put(x);
        return std::move(out).finish();
    }

    [[nodiscard]] static exact_quantiles deserialize(std::span<const std::byte> image) {
        qsketch::detail::image_reader in(image, kind, "exact_quantiles");
        in.require(in.options() == qsketch::detail::image_options{}, "has options");
        exact_quantiles sketch(in.take<std::uint32_t>());
        in.require(in.remaining() % sizeof(double) == 0, "ends within a value");
        while (in.remaining() > 0) {
            const double x = in.take_double();
            in.require(!std::isnan(x) && (sketch.empty() || sketch.values_.back() <= x), "has values out of order");
            in.require(!(x == 0 && std::signbit(x)), "has a negative zero");
            sketch.values_.push_back(x);
        }
        return sketch;
    }

private:
    static constexpr auto kind = static_cast<qsketch::detail::image_kind>(250);

    std::uint32_t tag_;
    std::vector<double> values_;
};

/// exact_quantiles that also merges many at once, as tdigest does; `many_merges` counts how often that was used, and
/// `most_parts` is the largest number of sketches that were merged so.
class exact_quantiles_at_once : public exact_quantiles {
public:
    using exact_quantiles::exact_quantiles;
    using exact_quantiles::merge;

    exact_quantiles_at_once(exact_quantiles values) : exact_quantiles(std::move(values)) {}

    void merge(std::span<const exact_quantiles_at_once* const> others) {
        for (const auto* other : others) merge(*other);
        ++many_merges;
        most_parts = (std::max)(most_parts, others.size());
    }

    [[nodiscard]] static exact_quantiles_at_once deserialize(std::span<const std::byte> image) {
        return exact_quantiles::deserialize(image);
    }

    friend bool operator==(const exact_quantiles_at_once& a, const exact_quantiles_at_once& b) {
        return static_cast<const exact_quantiles&>(a) == static_cast<const exact_quantiles&>(b);
    }

    int many_merges = 0;
    std::size_t most_parts = 0;
};

/// A plain counter, as a sketch.
class exact_count {
public:
    void add(std::uint64_t n = 1) noexcept { count_ += n; }
    void merge(const exact_count& other) noexcept { count_ += other.count_; }
    [[nodiscard]] bool compatible(const exact_count&) const noexcept { return true; }
    void clear() noexcept { count_ = 0; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    friend bool operator==(const exact_count&, const exact_count&) = default;
    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return sizeof *this; }
    [[nodiscard]] std::vector<std::byte> serialize() const {
        qsketch::detail::image_writer out(kind, {}, 8);
        out.put(count_);
        return std::move(out).finish();
    }
    [[nodiscard]] static exact_count deserialize(std::span<const std::byte> image) {
        qsketch::detail::image_reader in(image, kind, "exact_count");
        exact_count result;
        result.count_ = in.take<std::uint64_t>();
        in.expect_end();
        return result;
    }

private:
    static constexpr auto kind = static_cast<qsketch::detail::image_kind>(251);

    std::uint64_t count_ = 0;
};

} // namespace support
