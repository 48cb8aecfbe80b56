#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include "support/catch.hpp"

#include <limits>
#include <set>
#include <string>
#include <tuple>
#include <vector>

using qsketch::hyperloglog;
using counter = hyperloglog<std::uint64_t>;

static_assert(qsketch::distinct_sketch<hyperloglog<>>);
static_assert(qsketch::distinct_sketch<counter>);
static_assert(qsketch::distinct_sketch<hyperloglog<double>>);
static_assert(!std::is_default_constructible_v<hyperloglog<std::uint64_t, qsketch::sip_hash>>);
static_assert(noexcept(std::declval<const counter&>().estimate()));
static_assert(std::is_nothrow_move_constructible_v<counter> && std::is_nothrow_move_assignable_v<counter>);

namespace {

constexpr std::size_t header = 16; // of the image: frame and id of the hash

std::uint64_t mixed(std::uint64_t i) { return qsketch::hash{}(i); }

/// Uniform low bits below a run of leading zeros that is as often long as short, so that every rank comes up.
std::uint64_t steep(std::uint64_t i) { return (mixed(2 * i) >> (mixed(2 * i + 1) % 61)) ^ (mixed(3 * i) & 0xfff); }

counter built(unsigned precision, std::uint64_t from, std::uint64_t to) {
    counter sketch(precision);
    for (std::uint64_t i = from; i < to; ++i) sketch.add_hash(mixed(i));
    return sketch;
}

/// The definition, told differently: bit by bit, and the token as the triple that it stands for.
struct model {
    explicit model(unsigned p) : precision(p), registers(std::size_t{1} << p) {}

    void add_hash(std::uint64_t hash) {
        unsigned zeros = 0;
        while (zeros < 64 - precision && (hash >> (63 - zeros) & 1) == 0) ++zeros;
        const auto index = hash % registers.size();
        registers[index] = std::max(registers[index], static_cast<std::uint8_t>(zeros + 1));
        unsigned upper_zeros = 0;
        while (upper_zeros < 46 && (hash >> (63 - upper_zeros) & 1) == 0) ++upper_zeros;
        const unsigned top = precision < 15 ? 9 : 13;
        tokens.insert({hash % 0x40000, hash >> (64 - top), upper_zeros < top ? 0 : upper_zeros});
    }

    unsigned precision;
    std::vector<std::uint8_t> registers;
    std::set<std::tuple<std::uint64_t, std::uint64_t, unsigned>> tokens;
};

bool is_dense(const counter& sketch) { return std::to_integer<int>(sketch.serialize()[6]) == 1; }

std::vector<std::uint8_t> registers_of(const counter& dense) {
    std::vector<std::uint8_t> registers;
    const auto image = dense.serialize();
    for (std::size_t i = header; i < image.size(); ++i) registers.push_back(std::to_integer<std::uint8_t>(image[i]));
    return registers;
}

} // namespace

TEST_CASE("a new hyperloglog is empty, estimates 0 and allocates nothing") {
    const counter sketch;
    CHECK(sketch.empty());
    CHECK(sketch.precision() == 14);
    CHECK(sketch.estimate() == 0.0);
    CHECK(sketch.lower_bound(3) == 0.0);
    CHECK(sketch.upper_bound(3) == 0.0);
    CHECK(sketch.memory_bytes() == sizeof sketch);
}

TEST_CASE("precision is 4 to 18, and for_error picks the least that will do") {
    CHECK_THROWS_AS(counter(3), std::invalid_argument);
    CHECK_THROWS_AS(counter(19), std::invalid_argument);
    CHECK_THROWS_WITH(counter(19), "hyperloglog: precision must be in [4, 18], got 19");
    CHECK(counter(4).precision() == 4);
    CHECK(counter(18).precision() == 18);
    CHECK(std::abs(counter(14).relative_error() - 1.0389618 / 128) < 1e-9);
    for (unsigned precision = 4; precision <= 18; ++precision) {
        const double error = counter(precision).relative_error();
        CHECK(counter::for_error(error).precision() == precision);
        if (precision < 18) CHECK(counter::for_error(std::nextafter(error, 0.0)).precision() == precision + 1);
    }
    CHECK(counter::for_error(std::numeric_limits<double>::infinity()).precision() == 4);
    CHECK_THROWS_AS(counter::for_error(0.002), std::invalid_argument);
    CHECK_THROWS_AS(counter::for_error(-1.0), std::invalid_argument);
    CHECK_THROWS_AS(counter::for_error(std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
}

TEST_CASE("mode and registers follow their definition, whatever the hashes look like") {
    for (unsigned precision = 4; precision <= 18; ++precision) {
        const std::uint64_t limit = 3 * (std::uint64_t{1} << precision) / 16;
        for (const auto hash_of : {mixed, steep}) {
            model expected(precision);
            counter sketch(precision);
            counter grown_late(precision); // stays sparse, turns dense by a merge: registers out of tokens
            for (std::uint64_t i = 0; expected.tokens.size() < limit; ++i) {
                expected.add_hash(hash_of(i));
                sketch.add_hash(hash_of(i));
                sketch.add_hash(hash_of(i / 2));
            }
            REQUIRE(!is_dense(sketch));
            CHECK(sketch.lower_bound(0) == static_cast<double>(limit));
            CHECK(sketch.memory_bytes() <= sizeof sketch + (std::size_t{1} << precision));
            grown_late = sketch;
            for (std::uint64_t i = 1'000'000; expected.tokens.size() == limit; ++i) {
                expected.add_hash(hash_of(i));
                sketch.add_hash(hash_of(i));
                counter one(precision);
                one.add_hash(hash_of(i));
                grown_late.merge(one);
            }
            REQUIRE(is_dense(sketch));
            CHECK(registers_of(sketch) == expected.registers);
            CHECK(grown_late == sketch);
            for (std::uint64_t i = 2'000'000; i < 2'002'000; ++i) {
                expected.add_hash(hash_of(i));
                sketch.add_hash(hash_of(i));
            }
            CHECK(registers_of(sketch) == expected.registers);
            CHECK(sketch.memory_bytes() == sizeof sketch + (std::size_t{1} << precision));
        }
    }
}

TEST_CASE("the extreme hashes count like any other") {
    for (const unsigned precision : {4u, 11u, 18u}) {
        counter sketch(precision);
        for (const std::uint64_t hash : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{1} << 63})
            for (int repeat = 0; repeat < 3; ++repeat) sketch.add_hash(hash);
        CHECK(sketch.lower_bound(1) == 3.0);
        sketch.merge(built(precision, 0, std::uint64_t{1} << precision));
        CHECK(registers_of(sketch).front() == 65 - precision);
        CHECK(std::isfinite(sketch.estimate()));
    }
}

TEST_CASE("a sparse count is exact but for one pair in 2^27, and memory grows with it") {
    counter sketch(14);
    std::size_t memory = 0;
    for (std::uint64_t n = 1; n <= 3000; ++n) {
        sketch.add(n);
        const auto truth = static_cast<double>(n);
        if (!(sketch.lower_bound(3) == truth && sketch.estimate() >= truth && sketch.estimate() < truth + 0.034))
            FAIL("at " << n << ": " << sketch.estimate());
        CHECK(sketch.memory_bytes() >= memory);
        memory = sketch.memory_bytes();
        if (n == 12) CHECK(memory <= sizeof sketch + 64);
        if (n == 100) CHECK(memory <= sizeof sketch + 1024);
    }
}

TEST_CASE("a sparse sketch takes hashes that agree in 27 bits as one, and its upper bound knows") {
    counter sketch(14);
    sketch.add_hash(0x8000000000000001);
    sketch.add_hash(0x8000000000040001); // bits 18 to 54 are not part of the token
    CHECK(sketch.lower_bound(1) == 1.0);
    CHECK(sketch.upper_bound(7) >= 2.0);
    CHECK(sketch.upper_bound(3) < 1.0001);
}

TEST_CASE("from precision 15 on, hashes that agree in 31 bits are one, and those that agree in 27 are not") {
    for (unsigned precision = 4; precision <= 18; ++precision) {
        const bool wide = precision >= 15;
        counter sketch(precision);
        for (std::uint64_t bits_below = 0; bits_below < 3; ++bits_below) // the top 9 and the low 18 bits are the same
            sketch.add_hash(0x8000000000000001 | bits_below << 51);
        CHECK(sketch.lower_bound(0) == (wide ? 3.0 : 1.0));
        sketch.clear();
        for (std::uint64_t bits_below = 0; bits_below < 3; ++bits_below) // as the top 13 and the low 18
            sketch.add_hash(0x8000000000000001 | bits_below << 49);
        CHECK(sketch.lower_bound(0) == 1.0);
        sketch.clear();
        for (std::uint64_t bits_below = 1; bits_below < 4; ++bits_below) // with 10 or 11 leading zeros, of 13
            sketch.add_hash(bits_below << 52 | 1);
        CHECK(sketch.lower_bound(0) == (wide ? 3.0 : 2.0));
    }
}

TEST_CASE("ten thousand keys at precision 16 are counted, but for one pair in 2^31") {
    int off = 0;
    for (std::uint64_t trial = 0; trial < 40; ++trial) {
        auto sketch = built(16, trial << 32, (trial << 32) + 10'000);
        REQUIRE(!is_dense(sketch));
        const double lost = 10'000 - sketch.lower_bound(0);
        off += lost > 0 ? 1 : 0;
        CHECK(lost <= 2);
        CHECK(std::abs(10'000 - sketch.estimate() - lost + 0.0233) < 1e-3);
    }
    CHECK(off <= 5); // 1 is expected
}

TEST_CASE("keys are mixed before use: regular integers count as well as random ones") {
    for (const unsigned shift : {0u, 8u, 32u, 47u}) {
        counter sketch(12);
        for (std::uint64_t i = 0; i < 50'000; ++i) sketch.add(i << shift);
        const double error = sketch.estimate() / 50'000 - 1;
        CHECK(std::abs(error) < 4 * sketch.relative_error());
    }
}

TEST_CASE("strings, batches and hashes are ways to the same state") {
    hyperloglog<> one_by_one(10);
    hyperloglog<> batch(10);
    hyperloglog<> by_hash(10);
    hyperloglog<> by_hashes(10);
    std::vector<std::string> names;
    for (int i = 0; i < 5000; ++i) names.push_back("user " + std::to_string(i));
    const std::vector<std::string_view> keys(names.begin(), names.end());
    std::vector<std::uint64_t> hashes;
    for (const auto key : keys) {
        one_by_one.add(key);
        hashes.push_back(qsketch::hash{}(key));
        by_hash.add_hash(hashes.back());
    }
    batch.add(keys);
    by_hashes.add_hashes(hashes);
    CHECK(one_by_one == batch);
    CHECK(one_by_one == by_hash);
    CHECK(one_by_one == by_hashes);
    batch.add(std::span<const std::string_view>{});
    CHECK(one_by_one == batch);
    CHECK(std::abs(batch.estimate() / 5000 - 1) < 4 * batch.relative_error());
}

TEST_CASE("clear gives a new sketch, copies are independent") {
    for (const std::uint64_t n : {10u, 5000u}) {
        auto sketch = built(10, 0, n);
        const auto copy = sketch;
        sketch.clear();
        CHECK(sketch == counter(10));
        CHECK(sketch.empty());
        CHECK(sketch.serialize() == counter(10).serialize());
        CHECK(sketch.memory_bytes() == counter(10).memory_bytes());
        CHECK(!copy.empty());
        sketch.add_hash(mixed(0));
        CHECK(sketch == built(10, 0, 1));
        CHECK(copy == built(10, 0, n));
    }
}

TEST_CASE("equality is about the state: precision, hash and what was added, not how") {
    CHECK(counter(10) != counter(11));
    CHECK(counter(10) != counter(10, qsketch::hash(1)));
    CHECK(built(10, 0, 100) != built(10, 1, 101));
    CHECK(built(10, 0, 100) != built(10, 0, 101));
    counter backwards(10);
    for (std::uint64_t i = 100; i-- > 0;) backwards.add_hash(mixed(i));
    CHECK(backwards == built(10, 0, 100));
    CHECK(backwards.serialize() == built(10, 0, 100).serialize());
}

TEST_CASE("bounds enclose the estimate for any number of sigmas") {
    constexpr double inf = std::numeric_limits<double>::infinity();
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    for (const unsigned precision : {4u, 14u}) {
        for (const std::uint64_t n : {0u, 1u, 3u, 4u, 100u, 3072u, 3073u, 20'000u}) {
            const auto sketch = built(precision, 0, n);
            double lower = sketch.estimate();
            double upper = sketch.estimate();
            for (const double sigmas : {0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 100.0, inf}) {
                CHECK(sketch.lower_bound(sigmas) <= lower);
                CHECK(sketch.upper_bound(sigmas) >= upper);
                lower = sketch.lower_bound(sigmas);
                upper = sketch.upper_bound(sigmas);
            }
            CHECK(lower >= static_cast<double>(n > 0));
            for (const double sigmas : {-1.0, -inf, nan}) {
                CHECK(sketch.lower_bound(sigmas) == sketch.lower_bound(0));
                CHECK(sketch.upper_bound(sigmas) == sketch.upper_bound(0));
            }
        }
    }
}
