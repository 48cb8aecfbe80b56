#include "support/catch.hpp"

#include <qsketch/concepts.hpp>
#include <qsketch/count_min.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using qsketch::conservative;
using qsketch::count_min;
using qsketch::plain;
using std::uint64_t;

namespace {

using plain_sketch = count_min<uint64_t>;
using tight_sketch = count_min<uint64_t, conservative>;
using small_sketch = count_min<uint64_t, plain, std::uint8_t>;

template <class Sketch>
concept subtractable = requires(Sketch s) {
    s.subtract(s);
};

static_assert(qsketch::mergeable_sketch<plain_sketch> && qsketch::mergeable_sketch<tight_sketch>);
static_assert(qsketch::mergeable_sketch<count_min<>>);
static_assert(subtractable<plain_sketch> && !subtractable<tight_sketch>);
static_assert(noexcept(std::declval<plain_sketch&>().add(1)) && noexcept(std::declval<tight_sketch&>().add_hash(1, 2)));
static_assert(noexcept(std::declval<const plain_sketch&>().estimate(1)));

/// Finds a key whose column differs from that of `key` in every row.
template <class Sketch>
uint64_t stranger_to(const Sketch& sketch, uint64_t key) {
    for (uint64_t other = key + 1;; ++other) {
        bool shares = false;
        for (std::uint32_t row = 0; row < sketch.depth(); ++row)
            shares = shares || qsketch::detail::count_min_column(qsketch::hash()(key), row, sketch.width()) ==
                                   qsketch::detail::count_min_column(qsketch::hash()(other), row, sketch.width());
        if (!shares) return other;
    }
}

template <class Sketch>
Sketch filled(std::uint32_t width, std::uint32_t depth, uint64_t first, uint64_t last) {
    Sketch sketch({.width = width, .depth = depth});
    for (uint64_t key = first; key < last; ++key) sketch.add(key % 50, key % 7 + 1);
    return sketch;
}

} // namespace

TEST_CASE("dimensions are the smallest that keep the promised error") {
    const auto size = plain_sketch::dimensions_for(0.001, 0.01);
    CHECK(size == plain_sketch::dimensions{2719, 5});
    CHECK(tight_sketch::dimensions_for(0.01, 0.001) == tight_sketch::dimensions{272, 7});
    CHECK(plain_sketch::for_error(0.001, 0.01).width() == 2719);
    CHECK(tight_sketch::for_error(0.001, 0.01).depth() == 5);
    for (std::uint32_t width = 3; width < 40'000; width = width * 9 / 8 + 1)
        for (std::uint32_t depth = 1; depth <= 64; depth += 7) {
            const plain_sketch sketch({.width = width, .depth = depth});
            REQUIRE(plain_sketch::dimensions_for(sketch.epsilon(), sketch.delta()) ==
                    plain_sketch::dimensions{width, depth});
            REQUIRE(std::abs(sketch.delta() * std::exp(depth) - 1) < 1e-12);
            REQUIRE(std::abs(sketch.epsilon() * width - std::exp(1.0)) < 1e-12);
        }
    CHECK(plain_sketch::dimensions_for(1.3e-9, 0.5).width > 2'000'000'000);
}

TEST_CASE("parameters outside of their ranges are refused") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double bad : {0.0, 1.0, -0.1, 1.5, nan, std::numeric_limits<double>::infinity()}) {
        CHECK_THROWS_AS(plain_sketch::dimensions_for(bad, 0.01), std::invalid_argument);
        CHECK_THROWS_AS(plain_sketch::dimensions_for(0.01, bad), std::invalid_argument);
    }
    CHECK_THROWS_AS(plain_sketch::dimensions_for(1e-9, 0.01), std::invalid_argument);
    CHECK_THROWS_AS(plain_sketch::dimensions_for(0.01, 1e-28), std::invalid_argument);
    CHECK_THROWS_WITH(plain_sketch::dimensions_for(2, 0.01), Catch::Matchers::Contains("epsilon must be above 0"));
    CHECK_THROWS_AS(plain_sketch({.width = 0, .depth = 4}), std::invalid_argument);
    CHECK_THROWS_AS(plain_sketch({.width = 4, .depth = 0}), std::invalid_argument);
    CHECK_THROWS_AS(plain_sketch({.width = 4, .depth = 65}), std::invalid_argument);
    CHECK_THROWS_AS(plain_sketch({.width = (1u << 31) + 1, .depth = 1}), std::invalid_argument);
    // 2^31 * 64 and 2^30 * 64 are 0 in 32 bits.
    CHECK_THROWS_AS(plain_sketch({.width = 1u << 31, .depth = 64}), std::invalid_argument);
    CHECK_THROWS_AS(plain_sketch({.width = 1u << 30, .depth = 64}), std::invalid_argument);
}

TEST_CASE("a lone key is counted exactly, by key, by hash and in batches") {
    plain_sketch sketch({.width = 1024, .depth = 4});
    CHECK(sketch.empty());
    CHECK(sketch.estimate(7) == 0);
    sketch.add(7);
    sketch.add(7, 41);
    sketch.add_hash(qsketch::hash()(uint64_t{7}), 8);
    sketch.add(7, 0);
    sketch.add(std::vector<uint64_t>(100, 7));
    CHECK(sketch.estimate(7) == 150);
    CHECK(sketch.estimate_hash(qsketch::hash()(uint64_t{7})) == 150);
    CHECK(sketch.total() == 150);
    CHECK_FALSE(sketch.empty());
    CHECK(sketch.memory_bytes() >= 4096 * sizeof(std::uint32_t));
    CHECK(sketch.memory_bytes() <= 4096 * sizeof(std::uint32_t) + 100);
}

TEST_CASE("strings are keys by content") {
    count_min<> sketch({.width = 64, .depth = 3});
    sketch.add("apple", 3);
    sketch.add(std::string("apple"));
    CHECK(sketch.estimate(std::string_view("apples").substr(0, 5)) == 4);
}

TEMPLATE_TEST_CASE("merge adds, commutes, associates and has a neutral element", "", plain_sketch, tight_sketch,
                   small_sketch) {
    const auto a = filled<TestType>(31, 3, 0, 40);
    const auto b = filled<TestType>(31, 3, 20, 90);
    const auto c = filled<TestType>(31, 3, 5, 300);
    auto ab = a;
    ab.merge(b);
    auto ba = b;
    ba.merge(a);
    CHECK(ab == ba);
    auto left = ab;
    left.merge(c);
    auto bc = b;
    bc.merge(c);
    auto right = a;
    right.merge(bc);
    CHECK(left == right);
    CHECK(left.total() == a.total() + b.total() + c.total());
    const TestType none({.width = 31, .depth = 3});
    auto same = a;
    same.merge(none);
    CHECK(same == a);
    same = none;
    same.merge(a);
    CHECK(same == a);
    same.merge(same);
    CHECK(same.total() == 2 * a.total());
    CHECK(same.estimate(3) == (std::min)(2 * a.estimate(3), same.total()));
    same.clear();
    CHECK(same == none);
    CHECK(same.empty());
}

TEST_CASE("a merge of plain sketches is the sketch of everything, and subtract undoes it") {
    auto merged = filled<plain_sketch>(61, 4, 0, 500);
    const auto first = merged;
    const auto second = filled<plain_sketch>(61, 4, 500, 900);
    merged.merge(second);
    CHECK(merged == filled<plain_sketch>(61, 4, 0, 900));
    merged.subtract(second);
    CHECK(merged == first);
    merged.subtract(merged);
    CHECK(merged == plain_sketch({.width = 61, .depth = 4}));
}

TEMPLATE_TEST_CASE("sketches of other shapes or hashes do not merge", "", plain_sketch, tight_sketch) {
    auto sketch = filled<TestType>(64, 4, 0, 100);
    const auto before = sketch;
    const TestType others[] = {filled<TestType>(65, 4, 0, 9), filled<TestType>(64, 3, 0, 9),
                               TestType({.width = 64, .depth = 4}, qsketch::hash(1))};
    for (const auto& other : others) {
        CHECK_FALSE(sketch.compatible(other));
        CHECK_THROWS_AS(sketch.merge(other), qsketch::incompatible_error);
        if constexpr (subtractable<TestType>) CHECK_THROWS_AS(sketch.subtract(other), qsketch::incompatible_error);
        CHECK(sketch == before);
        CHECK_FALSE(sketch == other);
    }
}

TEST_CASE("subtract refuses what was never counted and leaves the sketch as it was") {
    plain_sketch sketch({.width = 64, .depth = 3});
    sketch.add(1, 10);
    const auto before = sketch;
    plain_sketch more({.width = 64, .depth = 3});
    more.add(1, 11);
    CHECK_THROWS_AS(sketch.subtract(more), qsketch::incompatible_error);
    plain_sketch other({.width = 64, .depth = 3});
    other.add(1, 2);
    other.add(stranger_to(other, 1));
    CHECK_THROWS_AS(sketch.subtract(other), qsketch::incompatible_error);
    CHECK(sketch == before);
}

TEST_CASE("subtract refuses to lower a full counter, whose value is unknown") {
    small_sketch sketch({.width = 64, .depth = 3});
    const auto other_key = stranger_to(sketch, 1);
    sketch.add(1, 300);
    sketch.add(other_key, 9);
    small_sketch taken({.width = 64, .depth = 3});
    taken.add(other_key, 4);
    sketch.subtract(taken);
    CHECK(sketch.estimate(other_key) == 5);
    CHECK(sketch.estimate(1) == 305);
    CHECK(small_sketch::deserialize(sketch.serialize()) == sketch);
    taken.add(1);
    const auto before = sketch;
    CHECK_THROWS_AS(sketch.subtract(taken), qsketch::incompatible_error);
    CHECK(sketch == before);
}

TEMPLATE_TEST_CASE("counters saturate instead of wrapping, and the estimate stays an upper bound", "", plain,
                   conservative) {
    count_min<uint64_t, TestType, std::uint8_t> small({.width = 64, .depth = 3});
    for (int i = 0; i < 255; ++i) small.add(1);
    CHECK(small.estimate(1) == 255);
    small.add(std::vector<uint64_t>(10, 1));
    small.add(1, 500);
    small.add(stranger_to(small, 1), 3);
    CHECK(small.estimate(1) == small.total());
    CHECK(small.total() == 768);
    CHECK(small.estimate(stranger_to(small, 1)) == 3);

    // 4.4e9 in 32 bits reads back as 105 032 704.
    count_min<uint64_t, TestType> wide({.width = 64, .depth = 3});
    wide.add(1, 4'400'000'000);
    CHECK(wide.estimate(1) == 4'400'000'000);
    auto twice = wide;
    twice.merge(wide);
    CHECK(twice.estimate(1) == 8'800'000'000);

    count_min<uint64_t, TestType, uint64_t> full({.width = 64, .depth = 3});
    const uint64_t most = (std::numeric_limits<uint64_t>::max)();
    full.add(1, most - 1);
    CHECK(full.estimate(1) == most - 1);
    full.add(1, 7);
    full.add(2, most);
    CHECK(full.total() == most);
    CHECK(full.estimate(1) == most);
    full.merge(full);
    CHECK(full.estimate(2) == most);
    CHECK(decltype(full)::deserialize(full.serialize()) == full);
}

TEST_CASE("a conservative add raises no counter above the new estimate") {
    tight_sketch tight({.width = 2, .depth = 2});
    plain_sketch loose({.width = 2, .depth = 2});
    for (uint64_t key = 0; key < 100; ++key) {
        tight.add(key, key + 1);
        loose.add(key, key + 1);
    }
    uint64_t gain = 0;
    for (uint64_t key = 0; key < 100; ++key) {
        REQUIRE(tight.estimate(key) >= key + 1);
        REQUIRE(tight.estimate(key) <= loose.estimate(key));
        gain += loose.estimate(key) - tight.estimate(key);
    }
    CHECK(gain > 0);
}
