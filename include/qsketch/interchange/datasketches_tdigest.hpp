#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/foreign_digest.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

/// The sketches of Apache DataSketches, in the bytes that its libraries for C++, Java and others exchange.
namespace qsketch::inline v0::datasketches {

/// What tdigest<double> of DataSketches C++ and TDigestDouble of its Java library read, with our centroids in place of
/// theirs: k is the compression, rounded. Sums and exact centroids have no place in it.
/// Layout: u8 longs before the values (2; 1 if there is at most one value), u8 1, u8 20, u16 k, u8 flags (1 empty, 2
/// one value, 4 internal), u16 0; of one value that; else u32 centroids, u32 buffered values, f64 min, f64 max, then
/// each centroid as f64 mean and u64 weight.
template <scale_function Scale>
[[nodiscard]] std::vector<std::byte> serialize(const tdigest<Scale>& digest) {
    const auto centroids = digest.centroids();
    const bool several = digest.count() > 1;
    detail::byte_writer out(32 + centroids.size() * 16);
    out.put(static_cast<std::uint8_t>(several ? 2 : 1));
    out.put(std::uint8_t{1});
    out.put(std::uint8_t{20});
    out.put(static_cast<std::uint16_t>(digest.compression() + 0.5));
    out.put(static_cast<std::uint8_t>((digest.empty() ? 1 : 0) | (digest.count() == 1 ? 2 : 0)));
    out.put(std::uint16_t{0});
    if (digest.count() == 1) out.put((digest.min)());
    if (several) {
        out.put(static_cast<std::uint32_t>(centroids.size()));
        out.put(std::uint32_t{0});
        out.put((digest.min)());
        out.put((digest.max)());
        for (const auto& c : centroids) {
            out.put(c.mean);
            out.put(c.weight);
        }
    }
    return std::move(out).finish();
}

/// Reads images of t-digests of doubles, or, as deserialize_tdigest<float>, of floats (which of both is nowhere said in
/// them), with buffered values or without. The compression is k, or 10000 if that is less; centroids count as exact if
/// they hold one value or lie at an extreme; the sum is that of means times weights.
/// Throws format_error for anything else, and for more than 12500 centroids.
template <std::floating_point Value = double, scale_function Scale = quartic_scale>
[[nodiscard]] tdigest<Scale> deserialize_tdigest(std::span<const std::byte> bytes) {
    static_assert(std::same_as<Value, double> || std::same_as<Value, float>);
    using word = std::conditional_t<std::same_as<Value, double>, std::uint64_t, std::uint32_t>;
    detail::byte_reader in(bytes, "DataSketches t-digest");
    const auto longs = in.take<std::uint8_t>();
    in.require(in.take<std::uint8_t>() == 1, "is of an unknown version");
    in.require(in.take<std::uint8_t>() == 20, "is of another sketch");
    const double k = in.take<std::uint16_t>();
    in.require(k >= 10, "has a k below 10");
    const unsigned flags = in.take<std::uint8_t>();
    const bool empty = (flags & 1) != 0;
    const bool single = (flags & 2) != 0;
    in.require(flags < 8 && !(empty && single) && in.take<std::uint16_t>() == 0, "has unknown flags");
    in.require(longs == (empty || single ? 1 : 2), "has a preamble that does not fit its flags");
    if (empty) {
        in.expect_end();
        return detail::foreign_digest(in, 0, 0).template finish<Scale>(k);
    }
    const auto take = [&in]() -> double { return std::bit_cast<Value>(in.take<word>()); };
    std::uint32_t centroids = 0;
    std::uint32_t buffered = 0;
    if (!single) {
        centroids = in.take<std::uint32_t>();
        buffered = in.take<std::uint32_t>();
        in.require(centroids > 0 || buffered > 0, "has no values, but does not say that it is empty");
        in.require(in.remaining() == (2 + std::uint64_t{2} * centroids + buffered) * sizeof(Value),
                   "does not have the size that it announces");
    }
    const double least = take();
    const double largest = single ? least : take();
    detail::foreign_digest read(in, least, largest);
    read.reserve(centroids);
    if (single) read.append(least, 1);
    for (std::uint32_t i = 0; i < centroids; ++i) {
        const double mean = take();
        read.append(mean, in.take<word>());
    }
    std::vector<double> values;
    values.reserve(buffered);
    for (std::uint32_t i = 0; i < buffered; ++i) {
        values.push_back(take());
        in.require(values.back() >= least && values.back() <= largest,
                   "has a value below its minimum or above its maximum");
    }
    in.expect_end();
    auto digest = read.template finish<Scale>(k);
    in.require(values.size() <= digest.max_count - digest.count(), "has more than 2^53 values");
    digest.add(std::span<const double>(values));
    in.require(single || digest.count() > 1, "has one value, but does not say so");
    return digest;
}

} // namespace qsketch::inline v0::datasketches
