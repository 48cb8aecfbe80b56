#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <cmath>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;
using qsketch::format_error;
using bytes = std::vector<std::byte>;
using qsketch::detail::image_kind;
using qsketch::detail::image_options;
using qsketch::detail::image_writer;

namespace {

counter built(unsigned precision, std::uint64_t n) {
    counter sketch(precision);
    for (std::uint64_t i = 0; i < n; ++i) sketch.add(i);
    return sketch;
}

/// A framed image with a right checksum around whatever body it is given.
bytes crafted(image_options options, const std::vector<std::uint8_t>& body, std::uint32_t id = qsketch::hash{}.id(),
              image_kind kind = image_kind::hyperloglog) {
    image_writer out(kind, options, body.size() + 4);
    out.put(id);
    out.put(std::span<const std::uint8_t>(body));
    return std::move(out).finish();
}

/// A sparse image that announces `count` tokens, with these differences less one, coded for 2^k.
bytes crafted_sparse(std::uint32_t count, unsigned k, const std::vector<std::uint32_t>& gaps,
                     std::uint8_t precision = 4) {
    image_writer out(image_kind::hyperloglog, {precision, 0, 0}, 64);
    out.put(qsketch::hash{}.id());
    qsketch::detail::put_varint(out, count);
    qsketch::detail::bit_writer bits(out);
    for (const auto gap : gaps) {
        bits.put(gap & ((1u << k) - 1), k);
        bits.put_unary(gap >> k);
    }
    bits.finish();
    return std::move(out).finish();
}

/// "" for an image that is taken, else the complaint.
std::string complaint(const bytes& image) {
    try {
        (void)counter::deserialize(image);
        return "";
    } catch (const format_error& error) {
        return error.what();
    }
}

} // namespace

TEST_CASE("every state comes back from its bytes, equal and with equal bytes") {
    for (unsigned precision = 4; precision <= 18; ++precision) {
        const std::uint64_t limit = 3 * (std::uint64_t{1} << precision) / 16;
        for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, limit, limit + 1}) {
            const auto sketch = built(precision, n);
            const auto image = sketch.serialize();
            auto copy = counter::deserialize(image);
            CHECK(copy == sketch);
            CHECK(copy.serialize() == image);
            CHECK(copy.estimate() == sketch.estimate());
            copy.add(1'000'000);
            auto more = sketch;
            more.add(1'000'000);
            CHECK(copy == more);
        }
    }
}

TEST_CASE("tokens of hashes with many leading zeros come back as well") {
    support::random_bits random(1);
    for (const unsigned precision : {4u, 14u, 15u, 18u}) {
        for (int trial = 0; trial < 300; ++trial) {
            counter sketch(precision);
            sketch.add_hash(random() >> random.below(64));
            sketch.add_hash((random() >> random.below(64)) ^ random.below(16));
            sketch.add_hash(random());
            CHECK(counter::deserialize(sketch.serialize()) == sketch);
        }
    }
    counter zero(18);
    zero.add_hash(0);
    CHECK(counter::deserialize(zero.serialize()) == zero);
}

TEST_CASE("few keys make small images") {
    CHECK(counter(14).serialize().size() == 16);
    for (std::uint64_t trial = 0; trial < 100; ++trial) {
        counter sketch(14);
        for (std::uint64_t i = 0; i < 3072; ++i) {
            if (i == 10) CHECK(sketch.serialize().size() <= 50);
            if (i == 100) CHECK(sketch.serialize().size() <= 300);
            if (i == 1000) CHECK(sketch.serialize().size() <= 2450);
            sketch.add(trial << 32 | i);
        }
        CHECK(sketch.serialize().size() <= 6700);
    }
    CHECK(built(14, 10'000).serialize().size() == 16 + 16'384);
}

TEST_CASE("the size of a sparse image is as documented") {
    for (const unsigned precision : {14u, 15u, 18u}) {
        const double bits = precision < 15 ? 27 : 31;
        for (std::uint64_t n = 100; n <= 3u << (precision - 4); n += n / 2) {
            const double expected = 17 + static_cast<double>(n) * (bits + 1.6 - std::log2(static_cast<double>(n))) / 8;
            const auto size = static_cast<double>(built(precision, n).serialize().size());
            INFO("precision " << precision << ", " << n << " keys, " << size << " bytes, " << expected << " expected");
            CHECK(std::abs(size / expected - 1) < 0.02);
        }
    }
}

TEST_CASE("the bytes of one sketch are pinned; they change only with the format version") {
    counter sketch(4);
    sketch.add_hash(0x8000000000000001); // token 0x4000001: the top 9 bits of the hash, and its low 18
    sketch.add_hash(0x0000000000000002); // token 0x8000000 + (46 << 18) + 2: none of the top 46 bits is set
    const auto image = sketch.serialize();
    const std::vector<int> head{'Q', 'S', 'K', 1, 3, 4, 0, 0};
    // Two tokens, so 26 bits of 0x4000000, one zero, a one; then 26 of 0x4b80000, one zero, a one.
    const std::vector<int> body{2, 0x00, 0x00, 0x00, 0x08, 0x00, 0x80, 0x8b};
    REQUIRE(image.size() == 24);
    for (std::size_t i = 0; i < head.size(); ++i) CHECK(std::to_integer<int>(image[i]) == head[i]);
    for (std::size_t i = 0; i < body.size(); ++i) CHECK(std::to_integer<int>(image[16 + i]) == body[i]);
}

TEST_CASE("and those of one with longer tokens") {
    counter sketch(15);
    sketch.add_hash(0x8008000000000001); // token 0x40040001: the top 13 bits of the hash, and its low 18
    sketch.add_hash(0x0000000000000002); // token 0x80000000 + (46 << 18) + 2
    const auto image = sketch.serialize();
    const std::vector<int> head{'Q', 'S', 'K', 1, 3, 15, 0, 0};
    // Two tokens, so 30 bits of 0x40040000, one zero, a one; then 30 of 0x40b40000, one zero, a one.
    const std::vector<int> body{2, 0x00, 0x00, 0x04, 0x80, 0x00, 0x00, 0xb4, 0x80};
    REQUIRE(image.size() == 25);
    for (std::size_t i = 0; i < head.size(); ++i) CHECK(std::to_integer<int>(image[i]) == head[i]);
    for (std::size_t i = 0; i < body.size(); ++i) CHECK(std::to_integer<int>(image[16 + i]) == body[i]);
}

TEST_CASE("no truncation, no bit flip and no extra byte goes unnoticed") {
    for (const auto& [precision, n] : {std::pair{8u, 0u}, {8u, 30u}, {8u, 1000u}, {4u, 100u}, {16u, 30u}}) {
        const auto image = built(precision, n).serialize();
        for (std::size_t size = 0; size < image.size(); ++size)
            CHECK_THROWS_AS(counter::deserialize(std::span(image).first(size)), format_error);
        auto damaged = image;
        for (std::size_t bit = 0; bit < 8 * image.size(); ++bit) {
            damaged[bit / 8] ^= std::byte{1} << (bit % 8);
            CHECK_THROWS_AS(counter::deserialize(damaged), format_error);
            damaged[bit / 8] = image[bit / 8];
        }
        damaged.push_back(std::byte{0});
        CHECK_THROWS_AS(counter::deserialize(damaged), format_error);
    }
}

TEST_CASE("forged images with a right checksum are refused, each by the rule it breaks") {
    const std::vector<std::uint8_t> ones(16, 1);
    REQUIRE(complaint(crafted({4, 1, 0}, ones)) == "");
    CHECK(complaint(crafted({3, 1, 0}, std::vector<std::uint8_t>(8, 1))) ==
          "hyperloglog image has a precision outside [4, 18]");
    CHECK(complaint(crafted({19, 0, 0}, {})) == "hyperloglog image has a precision outside [4, 18]");
    CHECK(complaint(crafted({64, 1, 0}, {})) == "hyperloglog image has a precision outside [4, 18]");
    CHECK(complaint(crafted({4, 3, 0}, ones)) == "hyperloglog image is neither sparse nor dense nor coded");
    CHECK(complaint(crafted({4, 1, 1}, ones)) == "hyperloglog image has a nonzero reserved byte");
    CHECK(complaint(crafted({4, 1, 0}, ones, qsketch::hash(1).id())) ==
          "hyperloglog image was made with another hash, or another seed or key of it");
    CHECK(complaint(crafted({4, 1, 0}, ones, qsketch::hash{}.id(), image_kind::ultraloglog)) ==
          "hyperloglog image is of kind 5, expected kind 3");
    image_writer headless(image_kind::hyperloglog, {4, 0, 0}, 2);
    headless.put(std::uint16_t{0});
    CHECK(complaint(std::move(headless).finish()) == "hyperloglog image is truncated: 4 bytes needed, 2 left");
}

TEST_CASE("forged dense images: size, range of the registers, and at least one key") {
    std::vector<std::uint8_t> registers(16, 61);
    CHECK(complaint(crafted({4, 1, 0}, registers)) == "");
    registers[7] = 62;
    CHECK(complaint(crafted({4, 1, 0}, registers)) == "hyperloglog image has a register that no hashes lead to");
    CHECK(complaint(crafted({4, 1, 0}, std::vector<std::uint8_t>(16))) ==
          "hyperloglog image is dense but without a single key");
    CHECK(complaint(crafted({4, 1, 0}, std::vector<std::uint8_t>(17, 1))) == "hyperloglog image has 1 bytes too many");
    CHECK(complaint(crafted({4, 1, 0}, std::vector<std::uint8_t>(15, 1))) ==
          "hyperloglog image is truncated: 16 values of 1 bytes announced, 15 bytes left");
    CHECK(complaint(crafted({18, 1, 0}, {})) ==
          "hyperloglog image is truncated: 262144 values of 1 bytes announced, 0 bytes left");
}

TEST_CASE("forged sparse images: tokens of a valid form, as many as announced, and no bit to spare") {
    constexpr std::uint32_t flag = 1u << 27;
    CHECK(complaint(crafted_sparse(1, 27, {(1u << 18) - 1})) == ""); // the least top bits
    CHECK(complaint(crafted_sparse(3, 25, {(1u << 18) - 1, 0, 0})) == "");
    CHECK(complaint(crafted_sparse(1, 27, {(flag | 9u << 18) - 1})) == ""); // the least zeros where the top is zero
    CHECK(complaint(crafted_sparse(1, 27, {(flag | 46u << 18 | 0x3ffff) - 1})) == "");
    const std::string no_hash = "hyperloglog image has a token that no hash leads to";
    CHECK(complaint(crafted_sparse(1, 27, {0})) == no_hash);
    CHECK(complaint(crafted_sparse(1, 27, {(1u << 18) - 2})) == no_hash);
    CHECK(complaint(crafted_sparse(1, 27, {(flag | 9u << 18) - 2})) == no_hash);
    CHECK(complaint(crafted_sparse(1, 27, {(flag | 47u << 18) - 1})) == no_hash);
    CHECK(complaint(crafted_sparse(1, 27, {0xffffffff})) == no_hash);
    CHECK(complaint(crafted_sparse(2, 26, {1u << 18, 0xffffffff})) == no_hash); // not modulo 2^32
    CHECK(complaint(crafted_sparse(4, 25, {1u << 18, 0, 0, 0})) ==
          "hyperloglog image is sparse but holds more tokens than fit");
    CHECK(complaint(crafted_sparse(0, 0, {})) == "hyperloglog image announces no tokens");
    CHECK(complaint(crafted({4, 0, 0}, {3})) ==
          "hyperloglog image is truncated: it announces more tokens than it holds");
    CHECK(complaint(crafted({4, 0, 0}, {1, 0, 0, 0, 0})) == "hyperloglog image is truncated within a number");
    CHECK(complaint(crafted({4, 0, 0}, {1, 0, 0, 4, 8, 0})) == "hyperloglog image has bytes too many");
    CHECK(complaint(crafted({4, 0, 0}, {1, 0, 0, 4, 8})) == "");
    CHECK(complaint(crafted({4, 0, 0}, {1, 0, 0, 4, 24})) == "hyperloglog image has bits set after its last number");
    const std::string overlong = "hyperloglog image has an overlong variable-length integer";
    CHECK(complaint(crafted({4, 0, 0}, {0x81, 0x00})) == overlong);
    const std::string wide = "hyperloglog image has a variable-length integer of more than 32 bits";
    CHECK(complaint(crafted({4, 0, 0}, {0xff, 0xff, 0xff, 0xff, 0x1f})) == wide);
    CHECK(complaint(crafted({4, 0, 0}, {0x90})) == "hyperloglog image is truncated: 1 bytes needed, 0 left");
    CHECK(complaint(crafted({18, 0, 0}, {0x80, 0x80, 0x03})) == // 49152
          "hyperloglog image is truncated: it announces more tokens than it holds");
}

TEST_CASE("forged sparse images with longer tokens, which fill 32 bits") {
    constexpr std::uint32_t flag = 1u << 31;
    const std::string no_hash = "hyperloglog image has a token that no hash leads to";
    for (const std::uint8_t precision : {std::uint8_t{15}, std::uint8_t{18}}) {
        const auto first = [&](std::uint32_t token) {
            return complaint(crafted_sparse(1, 31, {token - 1}, precision));
        };
        CHECK(first(1u << 18) == ""); // the least top bits
        CHECK(first((1u << 18) - 1) == no_hash);
        CHECK(first(flag - 1) == "");
        CHECK(first(flag) == no_hash);
        CHECK(first(flag | 9u << 18) == no_hash); // as good as with 27 bits
        CHECK(first(flag | 13u << 18) == "");     // the least zeros where the top is zero
        CHECK(first((flag | 13u << 18) - 1) == no_hash);
        CHECK(first(flag | 46u << 18 | 0x3ffff) == "");
        CHECK(first(flag | 47u << 18) == no_hash);
        CHECK(first(0xffffffff) == no_hash);
        CHECK(complaint(crafted_sparse(2, 30, {(1u << 18) - 1, 0xffffffff}, precision)) == no_hash); // nor modulo 2^32
        CHECK(complaint(crafted_sparse(3, 29, {(1u << 18) - 1, 0, flag - (1u << 18)}, precision)) == no_hash);
    }
    // After 31 low bits one zero is the most there can be: two would make 2^32.
    CHECK(complaint(crafted({15, 0, 0}, {1, 0, 0, 0, 0, 0, 2})) == no_hash);
}

TEST_CASE("tokens chosen to meet in one slot cost no more than others") {
    // All tokens below are neighbours, and so are any that agree in their low bits: at precision 18, 48 thousand of
    // them would take a billion steps if each search walked past all that came before.
    for (const unsigned shift : {0u, 1u, 9u, 13u}) {
        counter sketch(18);
        for (std::uint64_t i = 0; i < 49'152; ++i) {
            const std::uint64_t bits = i << shift;
            sketch.add_hash(bits >> 18 << 51 | (bits & 0x3ffff) | std::uint64_t{1} << 63);
        }
        CHECK(sketch.lower_bound(0) == 49'152);
        const auto copy = counter::deserialize(sketch.serialize());
        CHECK(copy == sketch);
        auto merged = copy;
        merged.merge(sketch);
        CHECK(merged == sketch);
        CHECK(merged.memory_bytes() <= sizeof merged + (std::size_t{1} << 18));
    }
}

TEST_CASE("whatever a forged body holds, it is refused or becomes a sketch that answers and survives a round trip") {
    support::random_bits random(2);
    int taken = 0;
    for (int trial = 0; trial < 20'000; ++trial) {
        const auto mode = static_cast<std::uint8_t>(random.below(2));
        std::vector<std::uint8_t> body(mode == 1 ? 16 : random.below(16));
        for (auto& byte : body) byte = static_cast<std::uint8_t>(random() >> random.below(9));
        if (mode == 0 && !body.empty()) body.front() = static_cast<std::uint8_t>(1 + random.below(3));
        if (mode == 1)
            for (auto& byte : body) byte = static_cast<std::uint8_t>(byte % (62 + random.below(20) / 19));
        const auto image = crafted({4, mode, 0}, body);
        if (complaint(image) != "") continue;
        ++taken;
        auto sketch = counter::deserialize(image);
        CHECK(sketch.serialize() == image);
        CHECK(sketch.lower_bound(2) <= sketch.upper_bound(2));
        const double before = sketch.estimate();
        sketch.merge(built(4, 100));
        CHECK(sketch.estimate() >= 0.99 * before);
    }
    CHECK(taken > 5000);
}

TEST_CASE("a keyed sketch comes back with its key and with no other") {
    using keyed = qsketch::hyperloglog<std::string_view, qsketch::sip_hash>;
    keyed sketch(8, qsketch::sip_hash(1, 2));
    sketch.add("a");
    const auto image = sketch.serialize();
    CHECK(keyed::deserialize(image, qsketch::sip_hash(1, 2)) == sketch);
    CHECK_THROWS_AS(keyed::deserialize(image, qsketch::sip_hash(2, 1)), format_error);
    const counter seeded(8, qsketch::hash(5));
    CHECK(counter::deserialize(seeded.serialize(), qsketch::hash(5)) == seeded);
    CHECK_THROWS_AS(counter::deserialize(seeded.serialize()), format_error);
}
