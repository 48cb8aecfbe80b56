#pragma once

#include <qsketch/detail/log_counters.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>

namespace qsketch::inline v0::detail {

/// The extremes of a batch, by bits; after adding 0.0, so that there is no -0.0.
class value_extremes {
public:
    explicit value_extremes(std::span<const double> values) noexcept {
        for (const double x : values) {
            const auto bits = std::bit_cast<std::uint64_t>(x + 0.0);
            top_ = (std::max)(top_, static_cast<std::int64_t>(bits));
            bottom_ = (std::max)(bottom_, bits);
            least_positive_ = (std::min)(least_positive_, bits - 1);
        }
        if (any_negative())
            for (const double x : values)
                least_negative_ = (std::min)(least_negative_, (std::bit_cast<std::uint64_t>(x + 0.0) ^ sign_bit) - 1);
    }
    [[nodiscard]] bool any_negative() const noexcept { return bottom_ >= sign_bit; }
    [[nodiscard]] bool all_finite() const noexcept {
        return top_ < static_cast<std::int64_t>(infinity_bits) && bottom_ < (infinity_bits | sign_bit);
    }
    [[nodiscard]] log_ranges ranges(const log_grid& grid) const noexcept {
        const auto index = [&grid](std::uint64_t bits) { return grid.index(std::bit_cast<double>(bits)); };
        log_ranges result{};
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
    static constexpr std::uint64_t sign_bit = std::uint64_t{1} << 63;
    static constexpr std::uint64_t infinity_bits = 0x7ff0000000000000;

    std::int64_t top_ = (std::numeric_limits<std::int64_t>::min)();
    std::uint64_t bottom_ = 0;
    std::uint64_t least_positive_ = ~std::uint64_t{0}; // less one
    std::uint64_t least_negative_ = ~std::uint64_t{0}; // less one
};

} // namespace qsketch::inline v0::detail
