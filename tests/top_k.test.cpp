#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <qsketch/concepts.hpp>
#include <qsketch/top_k.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

using qsketch::top_k;
using std::uint64_t;

namespace {

using sketch_type = top_k<uint64_t>;

static_assert(qsketch::mergeable_sketch<sketch_type> && qsketch::mergeable_sketch<top_k<>>);
static_assert(qsketch::mergeable_sketch<top_k<double>> && qsketch::mergeable_sketch<top_k<signed char>>);
static_assert(!qsketch::top_k_key<bool> && !qsketch::top_k_key<float> && !qsketch::top_k_key<std::string>);

} // namespace

TEST_CASE("up to capacity distinct keys, every count is exact") {
    sketch_type sketch(10);
    CHECK(sketch.n() == 10);
    CHECK(sketch.capacity() == 240);
    CHECK(sketch_type(1).capacity() == 64);
    CHECK(sketch_type(100).capacity() == 2400);
    CHECK(sketch.empty());
    CHECK(sketch.items().empty());
    CHECK(sketch.upper(1) == 0);
    for (uint64_t round = 0; round < 5; ++round)
        for (uint64_t key = 0; key < 240; ++key) sketch.add(key, key);
    CHECK(sketch.error() == 0);
    CHECK(sketch.lower(0) == 0);
    for (uint64_t key = 0; key < 240; ++key) {
        CHECK(sketch.lower(key) == 5 * key);
        CHECK(sketch.upper(key) == 5 * key);
    }
    const auto items = sketch.items();
    REQUIRE(items.size() == 10);
    for (uint64_t i = 0; i < 10; ++i) CHECK(items[i] == sketch_type::item{239 - i, 5 * (239 - i), 5 * (239 - i)});
    CHECK(sketch.total() == 5 * 239 * 120);
}

TEST_CASE("one key too many takes the middle counter's value from all") {
    sketch_type sketch(1);
    for (uint64_t key = 1; key <= 64; ++key) sketch.add(key, key);
    sketch.add(65, 65);
    // 65 counters of 1 .. 65: the 33rd largest is 33, and 34 .. 65 stay with what is above it.
    CHECK(sketch.error() == 33);
    CHECK(sketch.lower(33) == 0);
    CHECK(sketch.upper(33) == 33);
    CHECK(sketch.lower(34) == 1);
    CHECK(sketch.upper(34) == 34);
    CHECK(sketch.lower(65) == 32);
    CHECK(sketch.items() == std::vector<sketch_type::item>{{65, 32, 65}});
    CHECK(sketch.total() == 65 * 33);
}

TEST_CASE("among equal counts smaller keys come first") {
    sketch_type sketch(3);
    for (const uint64_t key : std::vector<uint64_t>{9, 4, 7, 1, 8}) sketch.add(key, 2);
    sketch.add(8);
    CHECK(sketch.items() == std::vector<sketch_type::item>{{8, 3, 3}, {1, 2, 2}, {4, 2, 2}});
}

TEST_CASE("merge commutes, keeps with an empty sketch, and takes itself") {
    const auto stream = support::skewed_keys(20'000, 3000, 11);
    sketch_type a(8);
    sketch_type b(8, qsketch::hash(77));
    for (std::size_t i = 0; i < stream.size(); ++i) (i % 3 == 0 ? a : b).add(stream[i]);
    auto ab = a;
    ab.merge(b);
    auto ba = b;
    ba.merge(a);
    CHECK(ab == ba);
    CHECK(ab.serialize() == ba.serialize());
    CHECK(ab.error() >= a.error() + b.error());

    auto same = a;
    same.merge(sketch_type(8));
    CHECK(same == a);
    sketch_type copy(8);
    copy.merge(a);
    CHECK(copy == a);
    same.merge(same);
    CHECK(same.total() == 2 * a.total());
    CHECK(same.error() == 2 * a.error());
    CHECK(same.lower(0) == 2 * a.lower(0));
}

TEST_CASE("merge associates while it drops nothing") {
    std::vector<sketch_type> parts(3, sketch_type(8));
    for (uint64_t key = 0; key < 60; ++key) parts[key % 3].add(key % 25, key);
    auto left = parts[0];
    left.merge(parts[1]);
    left.merge(parts[2]);
    parts[1].merge(parts[2]);
    parts[0].merge(parts[1]);
    CHECK(left == parts[0]);
    CHECK(left.error() == 0);
}

TEST_CASE("sketches of another n do not merge") {
    sketch_type sketch(8);
    sketch.add(1);
    const auto before = sketch;
    const sketch_type other(9);
    CHECK_FALSE(sketch.compatible(other));
    CHECK_FALSE(sketch == other);
    CHECK_THROWS_AS(sketch.merge(other), qsketch::incompatible_error);
    CHECK(sketch == before);
}

TEST_CASE("the state does not depend on the hash") {
    const auto stream = support::skewed_keys(20'000, 3000, 13);
    sketch_type a(8);
    sketch_type b(8, qsketch::hash(1));
    a.add(stream);
    b.add(stream);
    CHECK(a == b);
    CHECK(a.serialize() == b.serialize());
    CHECK(a.items() == b.items());
}

TEST_CASE("clear leaves a sketch like a new one that works on") {
    const auto stream = support::skewed_keys(20'000, 3000, 17);
    sketch_type used(8);
    used.add(stream);
    CHECK_FALSE(used.empty());
    CHECK_FALSE(used == sketch_type(8));
    used.clear();
    CHECK(used == sketch_type(8));
    CHECK(used.empty());
    sketch_type fresh(8);
    used.add(stream);
    fresh.add(stream);
    CHECK(used == fresh);
}

TEST_CASE("memory grows with use and is bounded by capacity") {
    sketch_type sketch(10'000);
    CHECK(sketch.memory_bytes() <= 200);
    for (uint64_t key = 0; key < 100; ++key) sketch.add(key);
    CHECK(sketch.memory_bytes() <= 200 + 128 * 16 + 512 * 4);
    for (uint64_t key = 0; key < 500'000; ++key) sketch.add(key);
    CHECK(sketch.memory_bytes() <= 200 + 240'001 * 16 + (1u << 20) * 4);
    sketch_type hundred(100);
    for (uint64_t key = 0; key < 10'000; ++key) hundred.add(key);
    CHECK(hundred.memory_bytes() <= 84'000);
    top_k<> words(10);
    const std::size_t before = words.memory_bytes();
    words.add(std::string(1000, 'x'));
    CHECK(words.memory_bytes() >= before + 1000);
}

TEST_CASE("a compact sketch is the same, in half of the memory, and works on") {
    const auto check = [](auto sketch, const auto& key_of) {
        for (uint64_t i = 0; i < 2000; ++i) sketch.add(key_of(i * i % 701));
        const auto original = sketch;
        sketch.compact();
        CHECK(sketch.memory_bytes() < original.memory_bytes());
        CHECK(sketch == original);
        CHECK(original == sketch);
        auto other = sketch;
        CHECK(other == sketch);
        other.add(key_of(3));
        CHECK_FALSE(other == sketch);
        CHECK_FALSE(sketch == other);
        CHECK(sketch.serialize() == original.serialize());
        CHECK(sketch.items() == original.items());
        for (uint64_t i = 0; i < 800; ++i) {
            REQUIRE(sketch.lower(key_of(i)) == original.lower(key_of(i)));
            REQUIRE(sketch.upper(key_of(i)) == original.upper(key_of(i)));
        }
        auto merged = original;
        merged.merge(original);
        auto of_compact = sketch;
        of_compact.merge(sketch);
        CHECK(of_compact == merged);
        std::vector<typename decltype(sketch)::key_type> more;
        for (uint64_t i = 0; i < 1000; ++i) more.push_back(key_of(i * i * i % 997));
        auto added = original;
        added.add(more);
        sketch.add(more);
        CHECK(sketch == added);
        sketch.compact();
        sketch.clear();
        CHECK(sketch.empty());
        CHECK(sketch.lower(key_of(1)) == 0);
        sketch.add(key_of(1));
        CHECK(sketch.lower(key_of(1)) == 1);
    };
    check(sketch_type(16), [](uint64_t i) { return i; });
    sketch_type numbers(16);
    for (uint64_t i = 0; i < 10'000; ++i) numbers.add(i % 300);
    const auto before = numbers.memory_bytes();
    numbers.compact();
    CHECK(numbers.memory_bytes() <= before / 2);
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i) names.push_back("a name that is too long to be kept inside " + std::to_string(i));
    check(top_k<>(16), [&](uint64_t i) { return std::string_view(names[i]); });
    sketch_type none(16);
    none.compact();
    CHECK(none == sketch_type(16));
}

TEST_CASE("strings are copied") {
    top_k<> sketch(2);
    {
        std::string word = "a word that is too long for the small string buffer";
        sketch.add(word, 3);
        word.assign(word.size(), 'x');
    }
    sketch.add("");
    sketch.add(std::string_view("b\0c", 3), 2);
    const auto items = sketch.items();
    REQUIRE(items.size() == 2);
    CHECK(items[0].key == "a word that is too long for the small string buffer");
    CHECK(items[1].key == std::string("b\0c", 3));
    CHECK(sketch.lower("") == 1);
    CHECK(sketch.lower("b") == 0);
}

TEST_CASE("doubles are keys by value and must be numbers") {
    top_k<double> sketch(3);
    sketch.add(-0.0, 2);
    sketch.add(0.0);
    sketch.add(std::numeric_limits<double>::infinity(), 2);
    CHECK(sketch.lower(0.0) == 3);
    CHECK(sketch.lower(-0.0) == 3);
    CHECK_FALSE(std::signbit(sketch.items()[0].key));
    const auto before = sketch;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(sketch.add(nan), std::invalid_argument);
    CHECK_THROWS_AS(sketch.add(std::vector<double>{1, 2, nan}), std::invalid_argument);
    CHECK(sketch == before);
    CHECK(sketch.upper(nan) == 0);
}

TEST_CASE("doubles of any size are written in their order and read back") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    support::random_bits random(5);
    for (const std::size_t keys : {1u, 64u, 65u, 300u, 3000u}) {
        std::vector<double> values{infinity, -infinity, 0, std::numeric_limits<double>::denorm_min(), 1e308, -1e308};
        while (values.size() < keys) {
            const double x = std::ldexp(support::normal(random), static_cast<int>(random.below(2000)) - 1000);
            values.push_back(random.below(2) == 0 ? x : support::normal(random));
        }
        values.resize(keys);
        top_k<double> sketch(1000);
        sketch.add(values);
        sketch.add(values[keys / 2], 7);
        const auto image = sketch.serialize(); // which is not read if the keys do not ascend
        const auto back = top_k<double>::deserialize(image);
        CHECK(back == sketch);
        CHECK(back.serialize() == image);
        CHECK(back.lower(values[keys / 2]) == 8);
    }
}

TEST_CASE("bad arguments are refused and change nothing") {
    CHECK_THROWS_AS(sketch_type(0), std::invalid_argument);
    CHECK_THROWS_AS(sketch_type((1u << 20) + 1), std::invalid_argument);
    CHECK(sketch_type(1u << 20).capacity() == 24u << 20);
    top_k<> words(2);
    words.add(std::string(1u << 20, 'x'));
    const auto before = words;
    CHECK_THROWS_AS(words.add(std::string((1u << 20) + 1, 'x')), std::invalid_argument);
    CHECK(words == before);
}

TEST_CASE("counts near 2^64 saturate, and the bounds hold for the saturated truth") {
    const uint64_t most = (std::numeric_limits<uint64_t>::max)();
    sketch_type sketch(1);
    sketch.add(1, most);
    sketch.add(1, most);
    sketch.add(2, most - 5);
    CHECK(sketch.total() == most);
    CHECK(sketch.lower(1) == most);
    CHECK(sketch.lower(2) == most - 5);
    for (uint64_t key = 3; key <= 65; ++key) sketch.add(key, 1000);
    CHECK(sketch.error() == 1000);
    CHECK(sketch.upper(1) == most);
    CHECK(sketch.upper(2) == most - 5);
    CHECK(sketch.lower(1) == most - 1000);
    sketch.merge(sketch);
    CHECK(sketch.upper(1) == most);
    CHECK(sketch.upper(2) == most);
    CHECK(sketch_type::deserialize(sketch.serialize()) == sketch);
}
