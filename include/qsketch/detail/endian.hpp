#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace qsketch::inline v0::detail {

template <std::unsigned_integral T>
[[nodiscard]] constexpr T bytes_reversed(T value) noexcept {
    if constexpr (sizeof(T) == 1) {
        return value;
    } else {
        T reversed = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            reversed = static_cast<T>((reversed << 8) | (value & 0xff));
            value = static_cast<T>(value >> 8);
        }
        return reversed;
    }
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr T little_endian(T value) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        return value;
    else
        return bytes_reversed(value);
}

/// Reads a little-endian integer from any address, aligned or not. The caller owns the bounds.
template <std::unsigned_integral T>
[[nodiscard]] T load_little_endian(const void* from) noexcept {
    T value;
    std::memcpy(&value, from, sizeof value);
    return little_endian(value);
}

template <std::unsigned_integral T>
void store_little_endian(void* to, T value) noexcept {
    value = little_endian(value);
    std::memcpy(to, &value, sizeof value);
}

} // namespace qsketch::inline v0::detail
