#pragma once

#include <qsketch/detail/byte_vector.hpp>
#include <qsketch/detail/hll_estimate.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/register_sum.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace qsketch::inline v0::detail {

/// The registers of HyperLogLog: each holds the largest rank it saw, 0 if none.
struct largest_rank {
    static constexpr const char* name = "hyperloglog";
    static constexpr image_kind kind = image_kind::hyperloglog;
    /// m times the relative variance of an estimate.
    static constexpr double variance = hll_variance;

    static void raise(std::uint8_t& value, unsigned rank) noexcept {
        value = (std::max)(value, static_cast<std::uint8_t>(rank));
    }
    static void merge(std::span<std::uint8_t> to, std::span<const std::uint8_t> from) noexcept {
        raise_bytes(to, from);
    }
    /// Ranks up to this one change none of the registers.
    [[nodiscard]] static unsigned floor_of(std::span<const std::uint8_t> registers) noexcept {
        return range_of(registers).least;
    }
    /// Calls visit with each rank that is known to have come.
    template <class Visit>
    static void for_each_rank(std::uint8_t value, Visit visit) {
        if (value > 0) visit(unsigned{value});
    }
    /// Whether ranks up to `most` can have led to all of these.
    [[nodiscard]] static bool valid(std::span<const std::uint8_t> registers, unsigned most) noexcept {
        return range_of(registers).largest <= most;
    }
    [[nodiscard]] static bool any(std::span<const std::uint8_t> registers) noexcept {
        return range_of(registers).largest > 0;
    }

    struct figures {
        double estimate;
        std::uint32_t zeros; ///< Registers without a rank.
    };
    [[nodiscard]] static figures figures_of(std::span<const std::uint8_t> registers, unsigned precision) noexcept {
        const register_sum sum = sum_of(registers, precision);
        return {hll_estimate(sum, precision), sum.zeros};
    }
};

} // namespace qsketch::inline v0::detail
