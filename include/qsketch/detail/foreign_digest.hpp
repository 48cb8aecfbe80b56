#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/centroid_list.hpp>
#include <qsketch/detail/finite.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/strict_math.hpp>
#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// The centroids of another engine's image, on their way into a digest: by way of an image of our own, which is checked
/// like any other and does not depend on what a digest is inside.
class foreign_digest {
public:
    /// As many as an image of ours may have.
    static constexpr std::size_t most_centroids = 12500;

    /// Fails unless both are finite and in order.
    foreign_digest(const byte_reader& in, double least, double largest)
        : in_(in), min_(least + 0.0), max_(largest + 0.0) {
        in_.require(finite(min_) && finite(max_) && min_ <= max_,
                    "has a minimum and a maximum that are not finite, or not in order");
    }

    /// Fails for more than can be read, before they are.
    void reserve(std::uint64_t centroids) {
        in_.require(centroids <= most_centroids, "has more than 12500 centroids");
        centroids_.reserve(static_cast<std::size_t>(centroids));
    }

    /// Fails unless means are finite, ascending and within the extremes, weights positive and 2^53 in all at most.
    void append(double mean, std::uint64_t weight) {
        mean += 0.0;
        in_.require(mean >= min_ && mean <= max_, "has a mean below its minimum or above its maximum");
        in_.require(centroids_.empty() || centroids_.back().mean <= mean, "has means that do not ascend");
        in_.require(weight > 0 && weight <= tdigest<>::max_count - count_,
                    "has a weight of 0, or more than 2^53 values");
        // Only equal values have the mean of their minimum or maximum.
        centroids_.push_back({mean, weight, weight == 1 || mean == min_ || mean == max_});
        count_ += weight;
    }

    /// Of the compression nearest to that one that a digest can have.
    template <class Scale>
    [[nodiscard]] tdigest<Scale> finish(double compression) const {
        using digest = tdigest<Scale>;
        digest result((std::min)((std::max)(compression, digest::min_compression), digest::max_compression));
        if (centroids_.empty()) return result;
        const bool single = count_ == centroids_.size();
        const double enough = (std::max)(digest::min_compression, static_cast<double>(centroids_.size()) * 0.8 + 1);
        image_writer image(image_kind::tdigest, {Scale::id, static_cast<std::uint8_t>(single), 0},
                           32 + centroids_.size() * 16);
        image.put((std::min)(enough, digest::max_compression));
        image.put(min_);
        image.put(max_);
        double sum = 0;
        for (const auto& c : centroids_)
            sum = saturated(sum + saturated(product(c.mean, static_cast<double>(c.weight))));
        image.put(sum + 0.0);
        for (const auto& c : centroids_) image.put(c.mean);
        if (!single)
            for (const auto& c : centroids_) image.put((c.weight << 1) | (c.exact ? 1u : 0u));
        result.merge(digest::deserialize(std::move(image).finish()));
        return result;
    }

private:
    const byte_reader& in_;
    double min_;
    double max_;
    std::uint64_t count_ = 0;
    std::vector<weighted_mean> centroids_;
};

} // namespace qsketch::inline v0::detail
