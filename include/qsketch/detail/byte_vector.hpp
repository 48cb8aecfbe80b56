#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__) || (defined(_M_X64) && !defined(_M_ARM64EC))
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

/// Bytes in vector registers. GCC leaves these loops scalar at -O2, which makes them 35 times slower, so the vectors of
/// the target are named here; every one of them, single_byte included, computes the same.
///
/// of()              the same in every byte
/// equal(a, b)       all bits of a byte where they are equal, none where not
/// shifted_right<n>  of each byte by itself
namespace qsketch::inline v0::detail {

struct single_byte {
    static constexpr std::size_t width = 1;
    std::uint8_t value;

    [[nodiscard]] static single_byte load(const std::uint8_t* from) noexcept { return {*from}; }
    void store(std::uint8_t* to) const noexcept { *to = value; }
    [[nodiscard]] friend single_byte larger(single_byte a, single_byte b) noexcept {
        return {(std::max)(a.value, b.value)};
    }
    [[nodiscard]] friend single_byte smaller(single_byte a, single_byte b) noexcept {
        return {(std::min)(a.value, b.value)};
    }

    [[nodiscard]] static single_byte of(std::uint8_t each) noexcept { return {each}; }
    [[nodiscard]] friend single_byte operator&(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value & b.value));
    }
    [[nodiscard]] friend single_byte operator|(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value | b.value));
    }
    [[nodiscard]] friend single_byte operator-(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value - b.value));
    }
    [[nodiscard]] friend single_byte equal(single_byte a, single_byte b) noexcept {
        return of(a.value == b.value ? 0xff : 0);
    }
    template <int Bits>
    [[nodiscard]] single_byte shifted_right() const noexcept {
        return of(static_cast<std::uint8_t>(value >> Bits));
    }
};

#if defined(__AVX512BW__)

struct byte_vector {
    static constexpr std::size_t width = 64;
    __m512i value;

    [[nodiscard]] static byte_vector load(const std::uint8_t* from) noexcept { return {_mm512_loadu_si512(from)}; }
    void store(std::uint8_t* to) const noexcept { _mm512_storeu_si512(to, value); }
    [[nodiscard]] friend byte_vector larger(byte_vector a, byte_vector b) noexcept {
        return {_mm512_max_epu8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector smaller(byte_vector a, byte_vector b) noexcept {
        return {_mm512_min_epu8(a.value, b.value)};
    }

    [[nodiscard]] static byte_vector of(std::uint8_t each) noexcept {
        return {_mm512_set1_epi8(static_cast<char>(each))};
    }
    [[nodiscard]] friend byte_vector operator&(byte_vector a, byte_vector b) noexcept {
        return {_mm512_and_si512(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm512_or_si512(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator-(byte_vector a, byte_vector b) noexcept {
        return {_mm512_sub_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector equal(byte_vector a, byte_vector b) noexcept {
        return {_mm512_maskz_set1_epi8(_mm512_cmpeq_epi8_mask(a.value, b.value), -1)};
    }
    template <int Bits>
    [[nodiscard]] byte_vector shifted_right() const noexcept {
        return byte_vector{_mm512_srli_epi16(value, Bits)} & of(0xff >> Bits);
    }
};

#elif defined(__AVX2__)

struct byte_vector {
    static constexpr std::size_t width = 32;
    __m256i value;

    [[nodiscard]] static byte_vector load(const std::uint8_t* from) noexcept {
        return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))};
    }
    void store(std::uint8_t* to) const noexcept { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value); }
    [[nodiscard]] friend byte_vector larger(byte_vector a, byte_vector b) noexcept {
        return {_mm256_max_epu8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector smaller(byte_vector a, byte_vector b) noexcept {
        return {_mm256_min_epu8(a.value, b.value)};
    }

    [[nodiscard]] static byte_vector of(std::uint8_t each) noexcept {
        return {_mm256_set1_epi8(static_cast<char>(each))};
    }
    [[nodiscard]] friend byte_vector operator&(byte_vector a, byte_vector b) noexcept {
        return {_mm256_and_si256(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm256_or_si256(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator-(byte_vector a, byte_vector b) noexcept {
        return {_mm256_sub_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector equal(byte_vector a, byte_vector b) noexcept {
        return {_mm256_cmpeq_epi8(a.value, b.value)};
    }
    template <int Bits>
    [[nodiscard]] byte_vector shifted_right() const noexcept {
        return byte_vector{_mm256_srli_epi16(value, Bits)} & of(0xff >> Bits);
    }
};

#elif defined(__SSE2__) || (defined(_M_X64) && !defined(_M_ARM64EC))

struct byte_vector {
    static constexpr std::size_t width = 16;
    __m128i value;

    [[nodiscard]] static byte_vector load(const std::uint8_t* from) noexcept {
        return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))};
    }
    void store(std::uint8_t* to) const noexcept { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), value); }
    [[nodiscard]] friend byte_vector larger(byte_vector a, byte_vector b) noexcept {
        return {_mm_max_epu8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector smaller(byte_vector a, byte_vector b) noexcept {
        return {_mm_min_epu8(a.value, b.value)};
    }

    [[nodiscard]] static byte_vector of(std::uint8_t each) noexcept { return {_mm_set1_epi8(static_cast<char>(each))}; }
    [[nodiscard]] friend byte_vector operator&(byte_vector a, byte_vector b) noexcept {
        return {_mm_and_si128(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm_or_si128(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator-(byte_vector a, byte_vector b) noexcept {
        return {_mm_sub_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector equal(byte_vector a, byte_vector b) noexcept {
        return {_mm_cmpeq_epi8(a.value, b.value)};
    }
    template <int Bits>
    [[nodiscard]] byte_vector shifted_right() const noexcept {
        return byte_vector{_mm_srli_epi16(value, Bits)} & of(0xff >> Bits);
    }
};

#elif defined(__ARM_NEON) && defined(__aarch64__)

struct byte_vector {
    static constexpr std::size_t width = 16;
    uint8x16_t value;

    [[nodiscard]] static byte_vector load(const std::uint8_t* from) noexcept { return {vld1q_u8(from)}; }
    void store(std::uint8_t* to) const noexcept { vst1q_u8(to, value); }
    [[nodiscard]] friend byte_vector larger(byte_vector a, byte_vector b) noexcept {
        return {vmaxq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector smaller(byte_vector a, byte_vector b) noexcept {
        return {vminq_u8(a.value, b.value)};
    }

    [[nodiscard]] static byte_vector of(std::uint8_t each) noexcept { return {vdupq_n_u8(each)}; }
    [[nodiscard]] friend byte_vector operator&(byte_vector a, byte_vector b) noexcept {
        return {vandq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {vorrq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator-(byte_vector a, byte_vector b) noexcept {
        return {vsubq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector equal(byte_vector a, byte_vector b) noexcept {
        return {vceqq_u8(a.value, b.value)};
    }
    template <int Bits>
    [[nodiscard]] byte_vector shifted_right() const noexcept {
        return {vshrq_n_u8(value, Bits)};
    }
};

#else

using byte_vector = single_byte;

#endif

/// to[i] = larger(to[i], from[i]); both have the same size.
template <class Vector = byte_vector>
void raise_bytes(std::span<std::uint8_t> to, std::span<const std::uint8_t> from) noexcept {
    std::size_t i = 0;
    for (; i + Vector::width <= to.size(); i += Vector::width)
        larger(Vector::load(to.data() + i), Vector::load(from.data() + i)).store(to.data() + i);
    for (; i < to.size(); ++i) to[i] = (std::max)(to[i], from[i]);
}

struct byte_range {
    std::uint8_t least;
    std::uint8_t largest;
};

/// Of at least one byte.
template <class Vector = byte_vector>
[[nodiscard]] byte_range range_of(std::span<const std::uint8_t> bytes) noexcept {
    byte_range range{bytes[0], bytes[0]};
    std::size_t i = 0;
    if (bytes.size() >= Vector::width) {
        Vector low = Vector::load(bytes.data());
        Vector high = low;
        for (; i + Vector::width <= bytes.size(); i += Vector::width) {
            const Vector here = Vector::load(bytes.data() + i);
            low = smaller(low, here);
            high = larger(high, here);
        }
        std::array<std::uint8_t, Vector::width> lanes;
        low.store(lanes.data());
        range.least = *std::min_element(lanes.begin(), lanes.end());
        high.store(lanes.data());
        range.largest = *std::max_element(lanes.begin(), lanes.end());
    }
    for (; i < bytes.size(); ++i) {
        range.least = (std::min)(range.least, bytes[i]);
        range.largest = (std::max)(range.largest, bytes[i]);
    }
    return range;
}

} // namespace qsketch::inline v0::detail
