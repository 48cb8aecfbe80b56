#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/varint.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

/// States of aggregate functions of ClickHouse, as RowBinary and native inserts take them.
namespace qsketch::inline v0::clickhouse {

/// A value of AggregateFunction(quantileTDigest, T), for any level and any T that is a number. ClickHouse keeps means
/// and weights in single precision, and neither minimum, maximum nor sum. It would interpolate into a centroid of equal
/// values; so those are written as three of the same mean, the outer ones of weight 1, where it does not.
/// Throws std::invalid_argument for a mean beyond single precision.
/// Layout: the number of centroids as LEB128, then each as f32 mean and f32 weight, little-endian.
template <scale_function Scale>
[[nodiscard]] std::vector<std::byte> serialize(const tdigest<Scale>& digest) {
    const auto centroids = digest.centroids();
    detail::byte_writer states(8 * centroids.size());
    std::uint32_t count = 0;
    const auto put = [&](double mean, std::uint64_t weight) {
        if (weight == 0) return;
        states.put(std::bit_cast<std::uint32_t>(static_cast<float>(mean)));
        states.put(std::bit_cast<std::uint32_t>(static_cast<float>(weight)));
        ++count;
    };
    for (const auto& c : centroids) {
        constexpr double most = (std::numeric_limits<float>::max)();
        if (!(c.mean >= -most && c.mean <= most))
            throw std::invalid_argument("clickhouse: means must be within single precision, got " +
                                        std::to_string(c.mean));
        const std::uint64_t ends = c.exact ? (std::min)(c.weight, std::uint64_t{2}) : 0;
        put(c.mean, ends / 2);
        put(c.mean, c.weight - ends);
        put(c.mean, ends - ends / 2);
    }
    const auto body = std::move(states).finish();
    detail::byte_writer out(5 + body.size());
    detail::put_varint(out, count);
    out.put(std::span<const std::byte>(body));
    return std::move(out).finish();
}

} // namespace qsketch::inline v0::clickhouse
