#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/foreign_digest.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

/// The t-digest of those who invented it: https://github.com/tdunning/t-digest.
namespace qsketch::inline v0::tdunning {

/// Reads what MergingDigest.asBytes() and asSmallBytes() write. The compression is theirs, within the range of ours;
/// centroids count as exact if they hold one value or lie at an extreme; the sum is that of means times weights.
/// AVLTreeDigest writes other bytes under the same codes; they are refused.
/// Throws format_error for anything else, for weights that are not whole, and for more than 12500 centroids.
/// Layout, big-endian: u32 1, f64 min, f64 max, f64 compression, u32 n, then n times f64 weight and f64 mean; or u32 2,
/// f64 min, f64 max, f32 compression, u16 and u16 capacities, u16 n, then n times f32 weight and f32 mean.
template <scale_function Scale = quartic_scale>
[[nodiscard]] tdigest<Scale> deserialize(std::span<const std::byte> bytes) {
    detail::byte_reader in(bytes, "MergingDigest");
    const auto take = [&in]<std::unsigned_integral T>(T) { return detail::bytes_reversed(in.take<T>()); };
    const auto take_double = [&] { return std::bit_cast<double>(take(std::uint64_t{})); };
    const auto take_float = [&] { return std::bit_cast<float>(take(std::uint32_t{})); };
    const auto encoding = take(std::uint32_t{});
    in.require(encoding == 1 || encoding == 2, "has neither the verbose nor the small encoding");
    const bool small = encoding == 2;
    const double least = take_double();
    const double largest = take_double();
    const double compression = small ? static_cast<double>(take_float()) : take_double();
    in.require(compression > 0 && detail::finite(compression), "has a compression that is not positive and finite");
    if (small) static_cast<void>(take(std::uint32_t{})); // the capacities
    const std::uint32_t size = small ? take(std::uint16_t{}) : take(std::uint32_t{});
    in.require(in.remaining() == std::uint64_t{size} * (small ? 8 : 16), "does not have the size that it announces");
    if (size == 0) {
        // Its extremes are those of no values: infinite.
        return detail::foreign_digest(in, 0, 0).template finish<Scale>(compression);
    }
    detail::foreign_digest read(in, least, largest);
    read.reserve(size);
    // Extremes are doubles always, so that the floats nearest to them may lie outside.
    const auto is_nearest = [](double single, double extreme) {
        constexpr double most = (std::numeric_limits<float>::max)();
        return extreme >= -most && extreme <= most && single == static_cast<double>(static_cast<float>(extreme));
    };
    for (std::uint32_t i = 0; i < size; ++i) {
        const double weight = small ? static_cast<double>(take_float()) : take_double();
        double mean = small ? static_cast<double>(take_float()) : take_double();
        in.require(weight >= 1 && weight <= static_cast<double>(tdigest<Scale>::max_count),
                   "has a weight below 1 or above 2^53");
        const auto whole = static_cast<std::uint64_t>(weight);
        in.require(static_cast<double>(whole) == weight, "has a weight that is not whole");
        if (small && mean < least && is_nearest(mean, least)) mean = least;
        if (small && mean > largest && is_nearest(mean, largest)) mean = largest;
        read.append(mean, whole);
    }
    auto digest = read.template finish<Scale>(compression);
    in.require(digest.count() > 1 || least == largest, "has one value, but a minimum and a maximum that differ");
    return digest;
}

} // namespace qsketch::inline v0::tdunning
