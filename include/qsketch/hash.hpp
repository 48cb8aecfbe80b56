#pragma once

#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/mul128.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qsketch::inline v0 {

/// A hash that sketches may be built on: the same 64 bits for the same key on every run, compiler and machine.
/// `id()` names algorithm and seed; it travels in serialized sketches, so that two hashes never meet unnoticed.
template <class Hash, class Key>
concept stable_hash = std::copyable<Hash> && std::equality_comparable<Hash> && requires(const Hash& h, const Key& key) {
    { h(key) }
    noexcept->std::same_as<std::uint64_t>;
    { h.id() }
    noexcept->std::same_as<std::uint32_t>;
};

/// The default hash: fast, seeded, of full 64-bit quality, and not meant to withstand an adversary who may choose
/// keys (a keyed hash such as sip_hash is).
///
/// Integers go through a bijection, so distinct integers never collide. Integers of any width hash by value.
/// Test: hash.test.cpp pins the values. Source: the finalizer of MurmurHash3 (Appleby) over key + seed for integers;
/// wyhash final 4 (Wang Yi, public domain) for bytes.
class hash {
public:
    /// The first 64 bits of the fraction of pi: a seed with nothing up its sleeve.
    static constexpr std::uint64_t default_seed = 0x243f6a8885a308d3;

    constexpr hash() noexcept : hash(default_seed) {}
    explicit constexpr hash(std::uint64_t seed) noexcept : seed_(seed) {}

    [[nodiscard]] constexpr std::uint64_t seed() const noexcept { return seed_; }

    template <std::integral Integer>
    [[nodiscard]] constexpr std::uint64_t operator()(Integer key) const noexcept {
        return mix(static_cast<std::uint64_t>(key) + seed_);
    }

    /// Doubles hash by value: -0.0 as 0.0, and every NaN as one.
    [[nodiscard]] constexpr std::uint64_t operator()(double key) const noexcept {
        if (key == 0.0) return (*this)(std::uint64_t{0});
        if (key != key) return (*this)(std::uint64_t{0x7ff8000000000000});
        return (*this)(std::bit_cast<std::uint64_t>(key));
    }

    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept {
        const char* p = key.data();
        const std::size_t size = key.size();
        std::uint64_t state = seed_ ^ detail::folded_product(seed_ ^ secret_[0], secret_[1]);
        std::uint64_t a = 0;
        std::uint64_t b = 0;
        if (size <= 16) {
            if (size >= 4) {
                const std::size_t inner = (size >> 3) << 2;
                a = (word32(p) << 32) | word32(p + inner);
                b = (word32(p + size - 4) << 32) | word32(p + size - 4 - inner);
            } else if (size > 0) {
                a = (byte(p[0]) << 16) | (byte(p[size >> 1]) << 8) | byte(p[size - 1]);
            }
        } else {
            std::size_t left = size;
            if (left >= 48) {
                std::uint64_t second = state;
                std::uint64_t third = state;
                for (; left >= 48; left -= 48, p += 48) {
                    state = detail::folded_product(word64(p) ^ secret_[1], word64(p + 8) ^ state);
                    second = detail::folded_product(word64(p + 16) ^ secret_[2], word64(p + 24) ^ second);
                    third = detail::folded_product(word64(p + 32) ^ secret_[3], word64(p + 40) ^ third);
                }
                state ^= second ^ third;
            }
            for (; left > 16; left -= 16, p += 16)
                state = detail::folded_product(word64(p) ^ secret_[1], word64(p + 8) ^ state);
            a = word64(p + left - 16);
            b = word64(p + left - 8);
        }
        const auto [low, high] = detail::multiply(a ^ secret_[1], b ^ state);
        return detail::folded_product(low ^ secret_[0] ^ size, high ^ secret_[1]);
    }

    [[nodiscard]] constexpr std::uint32_t id() const noexcept {
        return static_cast<std::uint32_t>((*this)(std::uint64_t{0x71736b65746368}) >> 32);
    }

    friend constexpr bool operator==(const hash&, const hash&) noexcept = default;

private:
    static constexpr std::uint64_t secret_[4] = {0x2d358dccaa6c78a5, 0x8bb84b93962eacc9, 0x4b33a62ed433d4a3,
                                                 0x4d5a2da51de1aa47};

    [[nodiscard]] static constexpr std::uint64_t mix(std::uint64_t x) noexcept {
        x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
        x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
        return x ^ (x >> 33);
    }

    [[nodiscard]] static std::uint64_t byte(char c) noexcept { return static_cast<unsigned char>(c); }
    [[nodiscard]] static std::uint64_t word32(const char* p) noexcept {
        return detail::load_little_endian<std::uint32_t>(p);
    }
    [[nodiscard]] static std::uint64_t word64(const char* p) noexcept {
        return detail::load_little_endian<std::uint64_t>(p);
    }

    std::uint64_t seed_;
};

} // namespace qsketch::inline v0
