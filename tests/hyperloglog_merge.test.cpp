#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;

namespace {

counter built(unsigned precision, std::uint64_t from, std::uint64_t to) {
    counter sketch(precision);
    for (std::uint64_t i = from; i < to; ++i) sketch.add(i);
    return sketch;
}

counter merged(counter a, const counter& b) {
    a.merge(b);
    return a;
}

/// States and bytes agree; bytes carry the mode.
void check_same(const counter& a, const counter& b) {
    CHECK(a == b);
    CHECK(a.serialize() == b.serialize());
}

} // namespace

TEST_CASE("a merge is the sketch of the union, at every overlap and size around the switch to dense") {
    for (const unsigned precision : {4u, 5u, 8u, 12u}) {
        const std::uint64_t limit = 3 * (std::uint64_t{1} << precision) / 16;
        std::vector<std::uint64_t> sizes{0, 1, limit / 2, limit - 1, limit, limit + 1, 2 * limit, 40 * limit};
        for (const auto size_a : sizes) {
            for (const auto size_b : sizes) {
                for (const std::uint64_t gap : {size_a / 3, size_a - (size_a > 0), size_a}) {
                    const auto a = built(precision, 0, size_a);
                    const auto b = built(precision, gap, gap + size_b);
                    const auto both = built(precision, 0, std::max(size_a, gap + size_b));
                    check_same(merged(a, b), both);
                    check_same(merged(b, a), both);
                }
            }
        }
    }
}

TEST_CASE("overlapping sparse sketches stay sparse until the union has one key too many") {
    constexpr std::uint64_t limit = 3072;
    auto a = built(14, 0, limit - 500);
    a.merge(built(14, 300, limit));
    CHECK(a.lower_bound(1) == static_cast<double>(limit));
    CHECK(a.upper_bound(1) < static_cast<double>(limit) + 1); // sparse: otherwise the interval would be wide
    a.merge(built(14, limit, limit + 1));
    CHECK(a.upper_bound(1) > static_cast<double>(limit) + 10);
    CHECK(std::abs(a.estimate() / static_cast<double>(limit + 1) - 1) < 4 * a.relative_error());
}

TEST_CASE("registers merge by maximum: half common halves estimate the union, not its bits or-ed") {
    auto a = built(12, 0, 60'000);
    a.merge(built(12, 40'000, 100'000));
    CHECK(std::abs(a.estimate() / 100'000 - 1) < 4 * a.relative_error());
}

TEST_CASE("merging associates and is idempotent, in every bit") {
    for (const std::uint64_t step : {20u, 50u, 80u, 2000u}) { // the limit at precision 10 is 192
        const auto a = built(10, 0, 2 * step);
        const auto b = built(10, step, 3 * step);
        const auto c = built(10, 5 * step / 2, 4 * step);
        check_same(merged(merged(a, b), c), merged(a, merged(b, c)));
        check_same(merged(merged(c, a), b), built(10, 0, 4 * step));
        check_same(merged(a, a), a);
        check_same(merged(merged(a, b), b), merged(a, b));
        auto self = a;
        self.merge(self);
        check_same(self, a);
    }
}

TEST_CASE("an empty sketch is neutral on either side") {
    for (const std::uint64_t n : {0u, 1u, 192u, 193u, 5000u}) {
        const auto sketch = built(10, 0, n);
        check_same(merged(sketch, counter(10)), sketch);
        check_same(merged(counter(10), sketch), sketch);
    }
}

TEST_CASE("many shards merged in a chain or a tree equal one sketch of everything") {
    std::vector<counter> shards;
    for (std::uint64_t i = 0; i < 64; ++i) shards.push_back(built(11, i * 37, i * 37 + 50));
    const auto whole = built(11, 0, 63 * 37 + 50);
    counter chain(11);
    for (const auto& shard : shards) chain.merge(shard);
    check_same(chain, whole);
    for (std::size_t width = 1; width < shards.size(); width *= 2)
        for (std::size_t i = 0; i < shards.size(); i += 2 * width) shards[i].merge(shards[i + width]);
    check_same(shards.front(), whole);
}

TEST_CASE("sketches of another precision or hash are refused, and the receiver stays as it was") {
    for (const std::uint64_t n : {10u, 5000u}) {
        auto sketch = built(10, 0, n);
        counter other_precision(11);
        counter other_seed(10, qsketch::hash(7));
        other_precision.add(std::uint64_t{1} << 40);
        other_seed.add(std::uint64_t{1} << 40);
        CHECK(!sketch.compatible(other_precision));
        CHECK(!sketch.compatible(other_seed));
        CHECK(sketch.compatible(counter(10)));
        CHECK_THROWS_AS(sketch.merge(other_precision), qsketch::incompatible_error);
        CHECK_THROWS_WITH(sketch.merge(other_precision), "hyperloglog: cannot merge precision 11 into precision 10");
        CHECK_THROWS_AS(sketch.merge(other_seed), qsketch::incompatible_error);
        CHECK(sketch == built(10, 0, n));
    }
}

TEST_CASE("keyed sketches merge under one key only") {
    using keyed = qsketch::hyperloglog<std::uint64_t, qsketch::sip_hash>;
    keyed a(10, qsketch::sip_hash(1, 2));
    keyed b(10, qsketch::sip_hash(1, 2));
    a.add(1);
    b.add(2);
    a.merge(b);
    CHECK(a.lower_bound(1) == 2.0);
    CHECK_THROWS_AS(a.merge(keyed(10, qsketch::sip_hash(1, 3))), qsketch::incompatible_error);
}
