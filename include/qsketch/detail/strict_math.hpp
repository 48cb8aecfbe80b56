#pragma once

#include <bit>
#include <cstdint>

#ifdef __FAST_MATH__
#error "qsketch needs IEEE arithmetic: NaN, infinities and rounding. Compile without -ffast-math."
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 2
#error "qsketch needs doubles that are rounded after every operation. Compile with -msse2 -mfpmath=sse."
#endif

/// Floating-point steps that decide what a sketch stores. Compilers may fuse `a * b + c` into one rounding where the
/// target has an instruction for it, and math libraries differ in the last bit; sketches must not.
namespace qsketch::inline v0::detail {

/// a * b, rounded on its own whatever it is added to.
[[nodiscard]] inline double product(double a, double b) noexcept {
    double rounded = a * b;
#if defined(__GNUC__) && defined(__SSE2__)
    __asm__("" : "+x"(rounded));
#elif defined(__GNUC__) && defined(__aarch64__)
    __asm__("" : "+w"(rounded));
#else
    volatile double stored = rounded;
    rounded = stored;
#endif
    return rounded;
}

/// Natural logarithm of a finite x >= 1, the same bits everywhere, to about 1e-13 relative.
[[nodiscard]] inline double strict_log(double x) noexcept {
    constexpr double ln2 = 0.693147180559945309;
    const auto bits = std::bit_cast<std::uint64_t>(x);
    const auto exponent = static_cast<int>(bits >> 52) - 1023;
    const auto mantissa = std::bit_cast<double>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
    // ln m = 2 artanh(s) with s = (m - 1) / (m + 1) in [0, 1/3)
    const double s = (mantissa - 1) / (mantissa + 1);
    const double s2 = product(s, s);
    double series = 0;
    for (int k = 27; k >= 1; k -= 2) series = product(series, s2) + 1.0 / k;
    return product(ln2, exponent) + product(product(2, s), series);
}

/// e^x for 0 <= x <= 100, the same bits everywhere, to about 1e-13 relative.
[[nodiscard]] inline double strict_exp(double x) noexcept {
    const double fraction = x / 256;
    double series = 1;
    for (int k = 14; k >= 1; --k) series = product(series, fraction / k) + 1;
    for (int doubling = 0; doubling < 8; ++doubling) series = product(series, series);
    return series;
}

} // namespace qsketch::inline v0::detail
