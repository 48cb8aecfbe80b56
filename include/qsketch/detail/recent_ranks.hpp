#pragma once

#include <qsketch/detail/byte_vector.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/largest_rank.hpp>
#include <qsketch/detail/rank_likelihood.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qsketch::inline v0::detail {

/// The registers of UltraLogLog:
///
///     bit  7 .. 2                     1                       0
///          u, the largest rank or 0   did rank u - 1 come?    did rank u - 2 come?
///
/// Rank 0 counts as come, and rank -1 as not, so that an empty register is 0 and shifting alone moves the history on.
struct recent_ranks {
    static constexpr const char* name = "ultraloglog";
    static constexpr image_kind kind = image_kind::ultraloglog;
    /// m times the relative variance of an estimate. Source: Ertl 2024 (VLDB 17), UltraLogLog, of the
    /// maximum-likelihood estimator: 0.76086^2.
    static constexpr double variance = 0.57891;

    static void raise(std::uint8_t& value, unsigned rank) noexcept {
        // Bit r + 2 says that rank r came; ranks are 61 at most.
        const std::uint64_t ranks = (std::uint64_t{4} | (value & 3)) << (value >> 2) | (std::uint64_t{4} << rank);
        const auto largest = static_cast<unsigned>(std::bit_width(ranks)) - 3;
        value = static_cast<std::uint8_t>(largest << 2 | ((ranks >> largest) & 3));
    }

    /// As a register of another kind.
    template <std::same_as<largest_rank>>
    [[nodiscard]] static std::uint8_t to(std::uint8_t value) noexcept {
        return value >> 2;
    }

    template <class Vector = byte_vector>
    static void merge(std::span<std::uint8_t> to, std::span<const std::uint8_t> from) noexcept {
        join_bytes<Vector>(to, from, [](auto a, auto b) { return joined(a, b); });
    }

    [[nodiscard]] static unsigned floor_of(std::span<const std::uint8_t> registers) noexcept {
        const unsigned least = range_of(registers).least >> 2;
        return least < 3 ? 0 : least - 3;
    }

    template <class Visit>
    static void for_each_rank(std::uint8_t value, Visit visit) {
        const unsigned largest = value >> 2;
        if (largest > 2 && (value & 1) != 0) visit(largest - 2);
        if (largest > 1 && (value & 2) != 0) visit(largest - 1);
        if (largest > 0) visit(largest);
    }

    [[nodiscard]] static bool valid(std::span<const std::uint8_t> registers, unsigned most) noexcept {
        return std::all_of(registers.begin(), registers.end(), [most](unsigned value) {
            const unsigned largest = value >> 2;
            if (largest == 0) return value == 0;
            if (largest == 1) return (value & 3) == 2;
            return largest <= most && (largest > 2 || (value & 1) == 1);
        });
    }
    [[nodiscard]] static bool any(std::span<const std::uint8_t> registers) noexcept {
        return range_of(registers).largest > 0;
    }

    struct figures {
        double estimate;
        std::uint32_t zeros;
    };
    [[nodiscard]] static figures figures_of(std::span<const std::uint8_t> registers, unsigned precision) noexcept {
        const auto counts = histogram_of(registers);
        const unsigned last = 64 - precision; // ranks above it are as likely as it is
        rank_likelihood seen;
        for (std::size_t value = 0; value < counts.size(); ++value) {
            if (counts[value] == 0) continue;
            const auto largest = static_cast<unsigned>(value >> 2);
            const double times = counts[value];
            if (largest <= last) seen.none_above(largest, times);
            if (largest > 0) seen.came((std::min)(largest, last), times);
            for (unsigned before = 1; before <= 2 && before < largest; ++before) {
                if ((value >> (2 - before) & 1) != 0)
                    seen.came(largest - before, times);
                else
                    seen.missed(largest - before, times);
            }
        }
        // The bias of order 1/m. Ertl's constant for many keys is 0.48147; the interpolation by the square of the share
        // of registers in use is ours, fitted to simulation.
        const double m = static_cast<double>(registers.size());
        const double used = m - counts[0];
        const double bias = 0.3 + used * used / (m * m / 0.18147);
        return {m * seen.rate() / (1 + bias / m), counts[0]};
    }

private:
    using counts_of_bytes = std::array<std::uint32_t, 256>;

    /// The register of the ranks of both: the one with the larger rank, and what the other adds to its history.
    ///
    /// That depends on how far the other is behind, d = (high | 3) - low, which is four times the difference of the
    /// largest ranks plus 3 less the history of the other:
    ///
    ///     d            0 1 2 3   4 5 6 7   8 .. 11   12 ..
    ///     it adds      3 2 1 0   3 3 2 2   1         0
    template <class Vector>
    [[nodiscard]] static Vector joined(Vector a, Vector b) noexcept {
        const Vector high = larger(a, b);
        const Vector behind = less(high | Vector::of(3), smaller(a, b));
        const auto below = [behind](std::uint8_t most) { // 1 if behind < most
            return smaller(less(Vector::of(most), behind), Vector::of(1));
        };
        const Vector apart = below(6) + below(8) + below(12);
        return high | smaller(apart, behind ^ Vector::of(3));
    }

    /// In four parts, since the next of the same byte would have to wait for the one before.
    [[nodiscard]] static counts_of_bytes histogram_of(std::span<const std::uint8_t> bytes) noexcept {
        std::array<counts_of_bytes, 4> parts{};
        // There are at least 16, and a power of two. GCC would not unroll a loop over the parts at -O2.
        for (std::size_t i = 0; i < bytes.size(); i += 4) {
            ++parts[0][bytes[i]];
            ++parts[1][bytes[i + 1]];
            ++parts[2][bytes[i + 2]];
            ++parts[3][bytes[i + 3]];
        }
        for (std::size_t value = 0; value < 256; ++value)
            parts[0][value] += parts[1][value] + parts[2][value] + parts[3][value];
        return parts[0];
    }
};

} // namespace qsketch::inline v0::detail
