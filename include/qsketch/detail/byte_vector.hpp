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
/// of()        the same in every byte
/// less(a, b)  a - b, or 0 where b is larger
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
    [[nodiscard]] friend single_byte operator|(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value | b.value));
    }
    [[nodiscard]] friend single_byte operator^(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value ^ b.value));
    }
    [[nodiscard]] friend single_byte operator+(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value + b.value));
    }
    [[nodiscard]] friend single_byte less(single_byte a, single_byte b) noexcept {
        return of(static_cast<std::uint8_t>(a.value > b.value ? a.value - b.value : 0));
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
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm512_or_si512(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator^(byte_vector a, byte_vector b) noexcept {
        return {_mm512_xor_si512(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator+(byte_vector a, byte_vector b) noexcept {
        return {_mm512_add_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector less(byte_vector a, byte_vector b) noexcept {
        return {_mm512_subs_epu8(a.value, b.value)};
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
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm256_or_si256(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator^(byte_vector a, byte_vector b) noexcept {
        return {_mm256_xor_si256(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator+(byte_vector a, byte_vector b) noexcept {
        return {_mm256_add_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector less(byte_vector a, byte_vector b) noexcept {
        return {_mm256_subs_epu8(a.value, b.value)};
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
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {_mm_or_si128(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator^(byte_vector a, byte_vector b) noexcept {
        return {_mm_xor_si128(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator+(byte_vector a, byte_vector b) noexcept {
        return {_mm_add_epi8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector less(byte_vector a, byte_vector b) noexcept {
        return {_mm_subs_epu8(a.value, b.value)};
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
    [[nodiscard]] friend byte_vector operator|(byte_vector a, byte_vector b) noexcept {
        return {vorrq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator^(byte_vector a, byte_vector b) noexcept {
        return {veorq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector operator+(byte_vector a, byte_vector b) noexcept {
        return {vaddq_u8(a.value, b.value)};
    }
    [[nodiscard]] friend byte_vector less(byte_vector a, byte_vector b) noexcept {
        return {vqsubq_u8(a.value, b.value)};
    }
};

#else

using byte_vector = single_byte;

#endif

/// to[i] = join(to[i], from[i]), vectors of them at once, where both have the same size. Some may be joined twice,
/// which must change nothing more: so the stores between the first and the last can be aligned.
template <class Vector, class Join>
void join_bytes(std::span<std::uint8_t> to, std::span<const std::uint8_t> from, Join join) noexcept {
    const auto step = [&, to = to.data(), from = from.data()](std::size_t i) {
        join(Vector::load(to + i), Vector::load(from + i)).store(to + i);
    };
    const std::size_t size = to.size();
    constexpr std::size_t width = Vector::width;
    if (size < width) {
        if constexpr (width > 1) join_bytes<single_byte>(to, from, join);
        return;
    }
    step(0);
    std::size_t i = width - reinterpret_cast<std::uintptr_t>(to.data()) % width;
    for (; i + 4 * width <= size; i += 4 * width) { // GCC would not unroll it at -O2
        step(i);
        step(i + width);
        step(i + 2 * width);
        step(i + 3 * width);
    }
    for (; i + width <= size; i += width) step(i);
    step(size - width);
}

/// to[i] = larger(to[i], from[i]); both have the same size.
template <class Vector = byte_vector>
void raise_bytes(std::span<std::uint8_t> to, std::span<const std::uint8_t> from) noexcept {
    join_bytes<Vector>(to, from, [](auto a, auto b) { return larger(a, b); });
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
