#include <qsketch/hash.hpp>
#include <qsketch/sip_hash.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

using qsketch::hash;
using qsketch::sip_hash;

static_assert(qsketch::stable_hash<hash, std::uint64_t> && qsketch::stable_hash<hash, double> &&
              qsketch::stable_hash<hash, std::string_view>);
static_assert(qsketch::stable_hash<sip_hash, std::uint64_t> && qsketch::stable_hash<sip_hash, std::string_view>);

namespace {

/// The key and messages of the vectors: the bytes 0, 1, 2, ...
const sip_hash counting_key(0x0706050403020100, 0x0f0e0d0c0b0a0908);

std::string counting_bytes(std::size_t size) {
    std::string bytes;
    for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(i));
    return bytes;
}

} // namespace

TEST_CASE("strings hash to the published values of wyhash final 4, seeds 0 to 6") {
    CHECK(hash(0)("") == 0x93228a4de0eec5a2);
    CHECK(hash(1)("a") == 0xc5bac3db178713c4);
    CHECK(hash(2)("abc") == 0xa97f2f7b1d9b3314);
    CHECK(hash(3)("message digest") == 0x786d1f1df3801df4);
    CHECK(hash(4)("abcdefghijklmnopqrstuvwxyz") == 0xdca5a8138ad37c87);
    CHECK(hash(5)("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == 0xb9e734f117cfaf70);
    std::string digits;
    for (int i = 0; i < 8; ++i) digits += "1234567890";
    CHECK(hash(6)(digits) == 0x6cc5eab49a92d617);
}

TEST_CASE("strings hash by content: any address, embedded zeros, every length told apart") {
    const std::string text = counting_bytes(200);
    std::vector<std::uint64_t> seen;
    for (std::size_t size = 0; size <= text.size(); ++size) {
        seen.push_back(hash{}(std::string_view(text).substr(0, size)));
        seen.push_back(hash{}(std::string(size, '\0') + "\2"));
        for (std::size_t shift = 1; shift < 9; ++shift) {
            const std::string moved = std::string(shift, 'x') + text;
            CHECK(hash{}(std::string_view(moved).substr(shift, size)) == seen[2 * size]);
        }
    }
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    CHECK(hash{}(std::string_view()) == hash{}(""));
}

TEST_CASE("the default seed's values and ids are pinned; to change them is to change every stored sketch") {
    CHECK(hash{}.seed() == 0x243f6a8885a308d3);
    CHECK(hash{}(0) == 0x7acdbb98b1344213);
    CHECK(hash{}(1) == 0x6dd91846275cd6fd);
    CHECK(hash{}(1.0) == 0xf7de82b3f90dad13);
    CHECK(hash{}("qsketch") == 0x92a111daef8ab353);
    CHECK(hash{}.id() == 0x470158a3);
}

TEST_CASE("integers hash by value at any width, and their hash is known at compile time") {
    static_assert(hash{}(std::uint8_t{200}) == hash{}(std::uint64_t{200}));
    static_assert(hash{}(std::int8_t{-56}) == hash{}(std::int64_t{-56}));
    static_assert(hash{}(std::uint8_t{200}) != hash{}(std::int8_t{-56}));
    static_assert(hash{}(std::int32_t{-1}) != hash{}(std::uint32_t{0xffffffff}));
    static_assert(hash{}('a') == hash{}(97L));
    CHECK(counting_key(std::uint16_t{7}) == counting_key(std::int64_t{7}));
    CHECK(counting_key(std::int8_t{-1}) == counting_key(~std::uint64_t{0}));
}

TEST_CASE("the integer hash is a bijection: its steps undone lead back to the key") {
    // Inverses of the two odd factors modulo 2^64, by Newton's iteration.
    const auto inverse = [](std::uint64_t odd) {
        std::uint64_t x = odd;
        for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
        return x;
    };
    const std::uint64_t second = inverse(0xc4ceb9fe1a85ec53);
    const std::uint64_t first = inverse(0xff51afd7ed558ccd);
    support::random_bits random(3);
    for (int i = 0; i < 10'000; ++i) {
        const std::uint64_t key = random() >> random.below(64);
        const hash hasher(random());
        std::uint64_t x = hasher(key);
        x = (x ^ (x >> 33)) * second;
        x = (x ^ (x >> 33)) * first;
        x = x ^ (x >> 33);
        CHECK(x - hasher.seed() == key);
    }
}

TEST_CASE("each bit of a key flips each bit of its hash half of the time") {
    constexpr int trials = 4000; // six standard deviations are 0.047
    support::random_bits random(4);
    std::array<std::array<int, 64>, 64> flips{};
    std::array<std::array<int, 64>, 64> text_flips{};
    for (int trial = 0; trial < trials; ++trial) {
        const std::uint64_t key = random();
        const auto text = std::bit_cast<std::array<char, 8>>(key);
        const std::uint64_t before = hash{}(key);
        const std::uint64_t text_before = hash{}(std::string_view(text.data(), 8));
        for (unsigned in = 0; in < 64; ++in) {
            const std::uint64_t other = key ^ std::uint64_t{1} << in;
            const auto other_text = std::bit_cast<std::array<char, 8>>(other);
            const std::uint64_t change = before ^ hash {}(other);
            const std::uint64_t text_change = text_before ^ hash {}(std::string_view(other_text.data(), 8));
            for (unsigned out = 0; out < 64; ++out) {
                flips[in][out] += static_cast<int>(change >> out & 1);
                text_flips[in][out] += static_cast<int>(text_change >> out & 1);
            }
        }
    }
    double worst = 0;
    double worst_text = 0;
    for (unsigned in = 0; in < 64; ++in) {
        for (unsigned out = 0; out < 64; ++out) {
            worst = std::max(worst, std::abs(flips[in][out] / static_cast<double>(trials) - 0.5));
            worst_text = std::max(worst_text, std::abs(text_flips[in][out] / static_cast<double>(trials) - 0.5));
        }
    }
    CHECK(worst < 0.05);
    CHECK(worst_text < 0.05);
}

TEST_CASE("doubles hash by value: one zero, one NaN, everything else apart") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(hash{}(-0.0) == hash{}(0.0));
    CHECK(hash{}(-nan) == hash{}(nan));
    CHECK(hash{}(std::bit_cast<double>(0x7ff8000000000123)) == hash{}(nan));
    CHECK(hash{}(1.0) != hash{}(-1.0));
    CHECK(hash{}(std::numeric_limits<double>::denorm_min()) != hash{}(0.0));
    CHECK(hash{}(std::numeric_limits<double>::infinity()) != hash{}(nan));
}

TEST_CASE("seeds make other hashes, with another id") {
    CHECK(hash(1) == hash(1));
    CHECK(hash(1) != hash(2));
    CHECK(hash(1).id() == hash(1).id());
    CHECK(hash(1).id() != hash(2).id());
    CHECK(hash(1)(7) != hash(2)(7));
    CHECK(hash(1)("seven") != hash(2)("seven"));
}

TEST_CASE("bytes are read little-endian, at any address") {
    const std::array<unsigned char, 9> bytes{0xff, 1, 2, 3, 4, 5, 6, 7, 8};
    CHECK(qsketch::detail::load_little_endian<std::uint64_t>(bytes.data() + 1) == 0x0807060504030201);
    CHECK(qsketch::detail::load_little_endian<std::uint32_t>(bytes.data() + 1) == 0x04030201);
    std::array<unsigned char, 4> written{};
    qsketch::detail::store_little_endian(written.data(), std::uint32_t{0x0a0b0c0d});
    CHECK(written == std::array<unsigned char, 4>{0x0d, 0x0c, 0x0b, 0x0a});
}

TEST_CASE("sip_hash gives the published values of SipHash-2-4") {
    // vectors_sip64 of the authors' reference implementation, read as little-endian integers; [15] is in the paper.
    const std::array<std::uint64_t, 16> published{
        0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
        0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
        0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
        0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5};
    for (std::size_t size = 0; size < published.size(); ++size)
        CHECK(counting_key(std::string_view(counting_bytes(size))) == published[size]);
}

TEST_CASE("sip_hash takes an integer for its 8 little-endian bytes and a key for its 16 bytes") {
    CHECK(counting_key(0x0706050403020100) == counting_key(std::string_view(counting_bytes(8))));
    const std::string key = counting_bytes(16);
    const auto raw = std::as_bytes(std::span<const char, 16>(key.data(), 16));
    CHECK(sip_hash(raw) == counting_key);
}

TEST_CASE("the id of a sip_hash tells keys apart and is nothing the key can be read from") {
    CHECK(sip_hash(0, 0).id() != 0);
    CHECK(sip_hash(0, 0).id() != sip_hash(0, 1).id());
    CHECK(sip_hash(0, 0).id() != sip_hash(1, 0).id());
    CHECK(counting_key.id() == 0xa472497c);
    // One bit of the key changes half of the id, as it must if the id is to say nothing about that bit.
    int flipped = 0;
    for (unsigned bit = 0; bit < 64; ++bit) {
        flipped += std::popcount(counting_key.id() ^
                                 sip_hash(0x0706050403020100 ^ std::uint64_t{1} << bit, 0x0f0e0d0c0b0a0908).id());
        flipped += std::popcount(counting_key.id() ^
                                 sip_hash(0x0706050403020100, 0x0f0e0d0c0b0a0908 ^ std::uint64_t{1} << bit).id());
    }
    CHECK(std::abs(flipped - 64 * 32) < 6 * 32); // standard deviation 32
}
