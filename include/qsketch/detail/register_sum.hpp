#pragma once

#include <qsketch/detail/byte_vector.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

/// What an estimate needs to know of HyperLogLog registers: exact integers, so that every way to add them up agrees.
namespace qsketch::inline v0::detail {

/// Registers of precision p hold 0 .. q + 1, with q = 64 - p.
struct register_sum {
    std::uint64_t weight = 0; ///< sum of 2^(q - r) over the registers r in 1 .. q: at most 2^p 2^(q-1) = 2^63
    std::uint32_t zeros = 0;  ///< registers that are 0
    std::uint32_t full = 0;   ///< registers that are q + 1

    register_sum& operator+=(const register_sum& other) noexcept {
        weight += other.weight;
        zeros += other.zeros;
        full += other.full;
        return *this;
    }
    friend bool operator==(const register_sum&, const register_sum&) noexcept = default;
};

[[nodiscard]] inline register_sum portable_sum_of(std::span<const std::uint8_t> registers,
                                                  unsigned precision) noexcept {
    const unsigned full = 65 - precision;
    register_sum sum;
    for (const std::uint8_t value : registers) {
        sum.weight += (std::uint64_t{1} << (full - value)) >> 1;
        sum.zeros += static_cast<std::uint32_t>(value == 0);
        sum.full += static_cast<std::uint32_t>(value == full);
    }
    sum.weight -= std::uint64_t{sum.zeros} << (full - 1); // modulo 2^64, as the sum before it is
    return sum;
}

#if defined(__SSE2__) || (defined(_M_X64) && !defined(_M_ARM64EC))

/// Adds up the floats 2^-r, which are an exponent and nothing else, 64 to a lane in each block of 256 registers. With R
/// the largest r, they and their sums are multiples of 2^-R; so a block whose sum comes out below 2^(24-R) was never
/// rounded. The few others are added the portable way.
[[nodiscard]] inline register_sum sum_of(std::span<const std::uint8_t> registers, unsigned precision) noexcept {
    constexpr std::size_t block = 256;
    if (precision < 9) return portable_sum_of(registers, precision); // the sum may take 64 bits, and is short

    const unsigned full = 65 - precision;
    const double unit = static_cast<double>(std::uint64_t{1} << (full - 1));
    const __m128i zero = _mm_setzero_si128();
    const __m128i one = _mm_set1_epi16(0x3f80); // the upper half of 1.0f, whose exponent starts at bit 7
    register_sum sum;
    for (std::size_t i = 0; i < registers.size(); i += block) {
        const auto part = registers.subspan(i, block);
        const auto* const from = reinterpret_cast<const __m128i*>(part.data());
        __m128i largest = zero;
        __m128 sum0 = _mm_setzero_ps();
        __m128 sum1 = sum0;
        __m128 sum2 = sum0;
        __m128 sum3 = sum0;
        for (std::size_t j = 0; j < block / 16; ++j) {
            const __m128i ranks = _mm_loadu_si128(from + j);
            largest = _mm_max_epu8(largest, ranks);
            const __m128i low = _mm_sub_epi16(one, _mm_srli_epi16(_mm_unpacklo_epi8(zero, ranks), 1));
            const __m128i high = _mm_sub_epi16(one, _mm_srli_epi16(_mm_unpackhi_epi8(zero, ranks), 1));
            sum0 = _mm_add_ps(sum0, _mm_castsi128_ps(_mm_unpacklo_epi16(zero, low)));
            sum1 = _mm_add_ps(sum1, _mm_castsi128_ps(_mm_unpackhi_epi16(zero, low)));
            sum2 = _mm_add_ps(sum2, _mm_castsi128_ps(_mm_unpacklo_epi16(zero, high)));
            sum3 = _mm_add_ps(sum3, _mm_castsi128_ps(_mm_unpackhi_epi16(zero, high)));
        }
        largest = _mm_max_epu8(largest, _mm_srli_si128(largest, 8));
        largest = _mm_max_epu8(largest, _mm_srli_si128(largest, 4));
        largest = _mm_max_epu8(largest, _mm_srli_si128(largest, 2));
        largest = _mm_max_epu8(largest, _mm_srli_si128(largest, 1));
        const auto top = static_cast<unsigned>(_mm_cvtsi128_si32(largest)) & 255;

        const __m128 floats = _mm_add_ps(_mm_add_ps(sum0, sum1), _mm_add_ps(sum2, sum3));
        const __m128d doubles = _mm_add_pd(_mm_cvtps_pd(floats), _mm_cvtps_pd(_mm_movehl_ps(floats, floats)));
        const double total = _mm_cvtsd_f64(_mm_add_sd(doubles, _mm_unpackhi_pd(doubles, doubles)));
        const double exact_below = static_cast<double>(std::uint64_t{1} << (63 - top)) / 0x1p39;
        if (top == full || total >= exact_below) {
            sum += portable_sum_of(part, precision);
            continue;
        }
        sum.weight += static_cast<std::uint64_t>(total * unit);
        if (total >= 1.0) { // a zero weighs 1
            __m128i zeros = zero;
            for (std::size_t j = 0; j < block / 16; ++j)
                zeros = _mm_sub_epi8(zeros, _mm_cmpeq_epi8(_mm_loadu_si128(from + j), zero));
            const __m128i halves = _mm_sad_epu8(zeros, zero);
            const auto count =
                static_cast<std::uint32_t>(_mm_cvtsi128_si32(halves) + _mm_cvtsi128_si32(_mm_srli_si128(halves, 8)));
            sum.zeros += count;
            sum.weight -= std::uint64_t{count} << (full - 1);
        }
    }
    return sum;
}

#else

[[nodiscard]] inline register_sum sum_of(std::span<const std::uint8_t> registers, unsigned precision) noexcept {
    return portable_sum_of(registers, precision);
}

#endif

} // namespace qsketch::inline v0::detail
