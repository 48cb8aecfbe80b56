#pragma once

#include <qsketch/detail/endian.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace qsketch::inline v0 {

/// The hash for keys chosen by strangers: without the key nobody can aim at the registers or cells of a sketch, which
/// is easy against an unkeyed hash or one that is merely seeded. Seven to ten times the cost of `hash` on short keys.
///
/// Sketches that are to be merged need the same key. The key is never serialized: keep it as one keeps a password.
/// Integers hash as their 8 little-endian bytes and so by value at any width.
/// Test: hash.test.cpp, against the published vectors. Source: SipHash-2-4, Aumasson and Bernstein 2012 (Indocrypt).
class sip_hash {
public:
    /// The key as two integers: its first 8 bytes and its last 8, both little-endian.
    constexpr sip_hash(std::uint64_t first, std::uint64_t second) noexcept : first_(first), second_(second) {}

    explicit sip_hash(std::span<const std::byte, 16> key) noexcept
        : sip_hash(detail::load_little_endian<std::uint64_t>(key.data()),
                   detail::load_little_endian<std::uint64_t>(key.data() + 8)) {}

    template <std::integral Integer>
    [[nodiscard]] constexpr std::uint64_t operator()(Integer key) const noexcept {
        state s(first_, second_);
        s.absorb(static_cast<std::uint64_t>(key));
        s.absorb(std::uint64_t{8} << 56);
        return s.finish();
    }

    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept {
        state s(first_, second_);
        const char* p = key.data();
        std::size_t left = key.size();
        for (; left >= 8; left -= 8, p += 8) s.absorb(detail::load_little_endian<std::uint64_t>(p));
        std::uint64_t last = static_cast<std::uint64_t>(key.size()) << 56;
        for (std::size_t i = 0; i < left; ++i)
            last |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
        s.absorb(last);
        return s.finish();
    }

    /// Half of the keyed hash of a constant: it tells keys apart and, as any output of a keyed hash, tells nothing
    /// about the key.
    [[nodiscard]] std::uint32_t id() const noexcept {
        return static_cast<std::uint32_t>((*this)(std::string_view("qsketch sip_hash 2-4 id")) >> 32);
    }

    friend constexpr bool operator==(const sip_hash&, const sip_hash&) noexcept = default;

private:
    // Section 2 of the paper. The constants are the ASCII of "somepseudorandomlygeneratedbytes".
    class state {
    public:
        constexpr state(std::uint64_t first, std::uint64_t second) noexcept
            : a_(first ^ 0x736f6d6570736575), b_(second ^ 0x646f72616e646f6d), c_(first ^ 0x6c7967656e657261),
              d_(second ^ 0x7465646279746573) {}

        constexpr void absorb(std::uint64_t word) noexcept {
            d_ ^= word;
            rounds(2);
            a_ ^= word;
        }

        [[nodiscard]] constexpr std::uint64_t finish() noexcept {
            c_ ^= 0xff;
            rounds(4);
            return a_ ^ b_ ^ c_ ^ d_;
        }

    private:
        constexpr void rounds(int count) noexcept {
            for (; count > 0; --count) {
                a_ += b_;
                b_ = std::rotl(b_, 13) ^ a_;
                a_ = std::rotl(a_, 32);
                c_ += d_;
                d_ = std::rotl(d_, 16) ^ c_;
                a_ += d_;
                d_ = std::rotl(d_, 21) ^ a_;
                c_ += b_;
                b_ = std::rotl(b_, 17) ^ c_;
                c_ = std::rotl(c_, 32);
            }
        }

        std::uint64_t a_;
        std::uint64_t b_;
        std::uint64_t c_;
        std::uint64_t d_;
    };

    std::uint64_t first_;
    std::uint64_t second_;
};

} // namespace qsketch::inline v0
