#include <qsketch/hyperloglog.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <cstddef>
#include <utility>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;

namespace {

counter built(unsigned precision, const std::vector<std::uint64_t>& hashes) {
    counter sketch(precision);
    sketch.add_hashes(hashes);
    return sketch;
}

std::uint64_t sparse_limit(unsigned precision) { return 3 * (std::uint64_t{1} << precision) / 16; }

bool is_dense(const counter& sketch) { return std::to_integer<int>(sketch.serialize()[6]) == 1; }

void check_same(const counter& a, const counter& b) {
    CHECK(a == b);
    CHECK(a.serialize() == b.serialize());
    CHECK(a.memory_bytes() == b.memory_bytes());
}

} // namespace

TEST_CASE("a reduced sketch is the one that was built at the lower precision, sparse or dense") {
    support::random_bits random(1);
    for (const unsigned from : {4u, 5u, 6u, 7u, 8u, 10u, 12u, 14u, 15u, 16u, 18u}) {
        const std::uint64_t limit = sparse_limit(from);
        for (const std::uint64_t n :
             {std::uint64_t{0}, std::uint64_t{1}, limit / 70, limit / 5, limit / 3, limit, limit + 1, 3 * limit}) {
            std::vector<std::uint64_t> hashes;
            // Every rank there is, up to hashes whose only bits set are those of the register.
            for (std::uint64_t i = 0; i < n; ++i)
                hashes.push_back((random() >> random.below(64)) ^
                                 (random() & ((std::uint64_t{1} << random.below(19)) - 1)));
            const auto sketch = built(from, hashes);
            for (unsigned to = 4; to <= from; ++to) check_same(sketch.reduced(to), built(to, hashes));
        }
    }
}

TEST_CASE("a sparse sketch whose tokens have 31 bits becomes the one of 27 that was built, however many become one") {
    support::random_bits random(3);
    for (const auto& [from, to] : {std::pair{15u, 14u}, {16u, 14u}, {16u, 15u}, {18u, 12u}, {18u, 14u}, {18u, 4u}}) {
        const unsigned token_bits = to >= 15 ? 31 : 27;
        for (const unsigned zeros : {0u, 1u, 8u, 9u, 10u, 12u, 13u, 14u, 45u, 46u, 63u}) {
            // Pairs that differ in one bit below the top 9 and so in 31 bits, if any of the top 13 is set.
            std::vector<std::uint64_t> hashes;
            while (hashes.size() < 2 * sparse_limit(to)) {
                const std::uint64_t upper = (random() | std::uint64_t{1} << 63) >> zeros;
                const std::uint64_t lower = hashes.size() / 2; // other ones in every pair
                const auto hash = (upper & ~((std::uint64_t{1} << 18) - 1)) | lower;
                hashes.push_back(hash);
                hashes.push_back(hash ^ std::uint64_t{1} << 52);
            }
            for (const std::uint64_t n : {hashes.size() / 2, hashes.size() - 1, hashes.size()}) {
                const std::vector<std::uint64_t> some(hashes.begin(), hashes.begin() + static_cast<std::ptrdiff_t>(n));
                const auto sketch = built(from, some);
                const auto expected = built(to, some);
                REQUIRE(!is_dense(sketch));
                INFO("from " << from << " to " << to << ", " << zeros << " zeros, " << n << " hashes");
                check_same(sketch.reduced(to), expected);
                // One bit is not part of 27, unless it is the first that is set.
                if (token_bits == 27 && zeros < 9) {
                    CHECK(sketch.lower_bound(0) == static_cast<double>(n));
                    CHECK(expected.lower_bound(0) == static_cast<double>((n + 1) / 2));
                    CHECK(!is_dense(expected));
                }
            }
        }
    }
}

TEST_CASE("reducing in steps, and reducing before or after a merge, makes no difference") {
    support::random_bits random(2);
    std::vector<std::uint64_t> first(5'000);
    std::vector<std::uint64_t> second(300);
    for (auto& hash : first) hash = random();
    for (auto& hash : second) hash = random();
    const auto a = built(12, first);
    const auto b = built(14, second);
    check_same(a.reduced(9).reduced(6), a.reduced(6));
    const auto wide = built(18, first);
    check_same(wide.reduced(15).reduced(14), wide.reduced(14));
    check_same(wide.reduced(12), a);
    auto later = a;
    later.merge(b.reduced(12));
    auto sooner = a.reduced(7);
    sooner.merge(b.reduced(7));
    check_same(later.reduced(7), sooner);
    sooner.add_hash(1);
    later.add_hash(1);
    check_same(later.reduced(7), sooner);
}

TEST_CASE("a precision is never raised, and the hash stays") {
    CHECK_THROWS_AS(counter(10).reduced(11), std::invalid_argument);
    CHECK_THROWS_AS(counter(10).reduced(3), std::invalid_argument);
    CHECK_THROWS_WITH(counter(10).reduced(11), "hyperloglog: reduced precision must be in [4, 10], got 11");
    check_same(counter(10).reduced(10), counter(10));
    CHECK(counter(10, qsketch::hash(5)).reduced(8) == counter(8, qsketch::hash(5)));
}
