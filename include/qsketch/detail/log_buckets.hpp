#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

/// Buckets of positive doubles whose edges are in a geometric progression. With base = 2^(2^-scale), bucket i holds
/// (base^i, base^(i + 1)]; coarsening by one scale joins buckets 2i and 2i + 1 to bucket i.
/// The buckets are those of OpenTelemetry's exponential histograms and of Prometheus' native ones.
namespace qsketch::inline v0::detail {

inline constexpr int finest_log_scale = 10;
inline constexpr int coarsest_log_scale = -7; // 18 buckets for all positive doubles: coarser ones are never needed
inline constexpr std::uint64_t mantissa_mask = (std::uint64_t{1} << 52) - 1;

/// 2^(2^-k) for k = 1 .. 10: fixed point with 63 bits behind the 1, rounded to nearest.
inline constexpr std::uint64_t roots_of_two[finest_log_scale] = {
    0xb504f333f9de6484, 0x9837f0518db8a96f, 0x8b95c1e3ea8bd6e7, 0x85aac367cc487b15, 0x82cd8698ac2ba1d7,
    0x8164d1f3bc030773, 0x80b1ed4fd999ab6c, 0x8058d7d2d5e5f6b1, 0x802c6436d0e04f51, 0x8016302f17467628,
};

/// Mantissa of 2^(j / 1024), rounded down; 2^52 for j = 1024. log_histogram.test.cpp holds the entries to exact ones.
/// Here and below compilers step through loops, which is dear: hence built-in types and few operations.
inline constexpr auto log_edges = [] {
    constexpr std::size_t octave = std::size_t{1} << finest_log_scale;
    std::uint64_t powers[octave] = {std::uint64_t{1} << 63};
    std::array<std::uint64_t, octave + 1> edges{};
    std::uint64_t* const edge = edges.data();
    for (std::size_t width = 1, k = finest_log_scale; width < octave; width *= 2) {
        const std::uint64_t root = roots_of_two[--k];
        for (std::size_t j = 0; j < width; ++j) {
            const std::uint64_t power = powers[j];
            // The upper half of their product, with 1 for the bit that is lost below it.
            const std::uint64_t high_low =
                (power >> 32) * (root & 0xffffffff) + ((power & 0xffffffff) * (root & 0xffffffff) >> 32);
            const std::uint64_t low_high = (power & 0xffffffff) * (root >> 32) + (high_low & 0xffffffff);
            const std::uint64_t high = (power >> 32) * (root >> 32) + (high_low >> 32) + (low_high >> 32);
            powers[width + j] = high << 1 | 1;
            edge[width + j] = high >> 10 & mantissa_mask;
        }
    }
    edges[octave] = mantissa_mask + 1;
    return edges;
}();

/// For each scale s >= 0 the octave is cut into 2^(s + 1) equal cells, no wider than the narrowest bucket, so that at
/// most one edge falls into each. Entries 2^(s + 1) .. 2^(s + 2) - 1 are such that adding a mantissa of the cell leaves
/// in the upper twelve bits how far its bucket is beyond half the number of the cell.
inline constexpr auto log_cells = [] {
    std::array<std::uint64_t, std::size_t{4} << finest_log_scale> cells{};
    for (unsigned s = 0; s <= finest_log_scale; ++s) {
        const std::size_t number = std::size_t{2} << s;
        std::uint64_t bucket = 0;
        for (std::size_t cell = 0; cell < number; ++cell) {
            const std::uint64_t start = std::uint64_t{cell} << (51 - s);
            const auto edge = [s](std::uint64_t j) { return log_edges[static_cast<std::size_t>(j << (10 - s))]; };
            if (edge(bucket + 1) <= start) ++bucket;
            cells[number + cell] = ((bucket + 1 - cell / 2) << 52) - edge(bucket + 1);
        }
    }
    return cells;
}();

/// The buckets of one scale.
class log_grid {
public:
    explicit log_grid(int scale) noexcept
        : octave_bits_(static_cast<unsigned>((std::max)(scale, 0))),
          joined_bits_(static_cast<unsigned>((std::max)(-scale, 0))), bias_(std::int32_t{1023} << octave_bits_) {}

    [[nodiscard]] int scale() const noexcept { return static_cast<int>(octave_bits_) - static_cast<int>(joined_bits_); }

    /// Of a finite magnitude > 0.
    [[nodiscard]] std::int32_t index(double magnitude) const noexcept {
        const auto bits = std::bit_cast<std::uint64_t>(magnitude);
        if (bits > mantissa_mask) return index_below(bits - 1);
        const auto lifted = std::bit_cast<std::uint64_t>(magnitude * 0x1p52); // a denormal, made normal
        return (raw_index(lifted - 1) - bias_ - (std::int32_t{52} << octave_bits_)) >> joined_bits_;
    }

    /// Of a normal magnitude, given its bits less one, which moves edges to the bucket below them. Of a denormal less
    /// than first_normal(); of zero, which gives all ones, more than any index.
    [[nodiscard]] std::int32_t index_below(std::uint64_t below) const noexcept {
        return (raw_index(below) - bias_) >> joined_bits_;
    }
    /// The same counted from the least exponent, before octaves are joined.
    [[nodiscard]] std::int32_t raw_index(std::uint64_t below) const noexcept {
        const std::uint64_t cell = below >> (51 - octave_bits_); // with the exponent in front
        const std::uint64_t number = std::uint64_t{2} << octave_bits_;
        const std::uint64_t entry = log_cells[static_cast<std::size_t>((cell & (number - 1)) | number)];
        return static_cast<std::int32_t>((cell >> 1) + ((entry + (below & mantissa_mask)) >> 52));
    }
    [[nodiscard]] std::int32_t bias() const noexcept { return bias_; }
    [[nodiscard]] bool joins_octaves() const noexcept { return joined_bits_ > 0; }

    [[nodiscard]] std::int32_t first_normal() const noexcept {
        return ((-(std::int32_t{1022} << octave_bits_) - 1) >> joined_bits_) + 1;
    }

    /// base^i, rounded down; infinity from 2^1024 on.
    [[nodiscard]] double edge(std::int32_t i) const noexcept {
        const auto [exponent, step] = split(i);
        const std::uint64_t mantissa = log_edges[step] | (mantissa_mask + 1);
        if (exponent > 1023) return std::numeric_limits<double>::infinity();
        if (exponent >= -1022) return std::ldexp(static_cast<double>(mantissa), exponent - 52);
        const int lost = -1022 - exponent;
        return lost > 52 ? 0.0 : std::bit_cast<double>(mantissa >> lost);
    }

    /// The value whose relative distance to both ends of bucket i is the same: the harmonic mean of its edges.
    [[nodiscard]] double middle(std::int32_t i) const noexcept {
        const auto [exponent, step] = split(i);
        const double middle = joined_bits_ > 0 ? 2 / (1 + inverse_base()) : [this, first = step] {
            const double lower = edge_in_octave(first);
            const double upper = edge_in_octave(first + (std::size_t{1} << (finest_log_scale - octave_bits_)));
            return 2 * (lower * upper) / (lower + upper);
        }();
        return (std::max)(std::ldexp(middle, exponent), std::numeric_limits<double>::denorm_min());
    }

    /// That distance, (base - 1) / (base + 1).
    [[nodiscard]] double relative_error() const noexcept { return (1 - inverse_base()) / (1 + inverse_base()); }

private:
    struct place {
        int exponent;
        std::size_t step; // of log_edges
    };

    [[nodiscard]] place split(std::int32_t i) const noexcept {
        const std::int64_t fine = std::int64_t{i} * (std::int64_t{1} << joined_bits_);
        const auto in_octave = static_cast<std::size_t>(fine & ((std::int64_t{1} << octave_bits_) - 1));
        return {static_cast<int>(fine >> octave_bits_), in_octave << (finest_log_scale - octave_bits_)};
    }
    [[nodiscard]] static double edge_in_octave(std::size_t step) noexcept {
        return 1 + static_cast<double>(log_edges[step]) * 0x1p-52;
    }
    [[nodiscard]] double inverse_base() const noexcept {
        if (joined_bits_ > 0) return std::ldexp(1.0, -(1 << joined_bits_));
        return 1 / edge_in_octave(std::size_t{1} << (finest_log_scale - octave_bits_));
    }

    unsigned octave_bits_; // 2^octave_bits_ buckets in an octave
    unsigned joined_bits_; // 2^joined_bits_ octaves in a bucket
    std::int32_t bias_;
};

} // namespace qsketch::inline v0::detail
