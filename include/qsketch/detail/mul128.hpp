#pragma once

#include <cstdint>

#if defined(_MSC_VER) && defined(_M_X64) && !defined(__clang__)
#include <intrin.h>
#endif

namespace qsketch::inline v0::detail {

struct wide_product {
    std::uint64_t low;
    std::uint64_t high;
};

/// The full 128 bits of a 64 x 64 bit product.
[[nodiscard]] inline wide_product multiply(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
    __extension__ using wide = unsigned __int128;
    const auto product = static_cast<wide>(a) * b;
    return {static_cast<std::uint64_t>(product), static_cast<std::uint64_t>(product >> 64)};
#elif defined(_MSC_VER) && defined(_M_X64)
    wide_product product;
    product.low = _umul128(a, b, &product.high);
    return product;
#else
    constexpr std::uint64_t low_half = 0xffffffff;
    const std::uint64_t low_low = (a & low_half) * (b & low_half);
    const std::uint64_t high_low = (a >> 32) * (b & low_half) + (low_low >> 32); // at most 2^64 - 2^32: cannot wrap
    const std::uint64_t low_high = (a & low_half) * (b >> 32) + (high_low & low_half);
    return {(low_high << 32) | (low_low & low_half), (a >> 32) * (b >> 32) + (high_low >> 32) + (low_high >> 32)};
#endif
}

/// Both halves of a product xored together: one multiplication mixes 128 bits into 64.
[[nodiscard]] inline std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) noexcept {
    const auto [low, high] = multiply(a, b);
    return low ^ high;
}

} // namespace qsketch::inline v0::detail
