#include <qsketch/hyperloglog.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;

namespace {

counter built(unsigned precision, const std::vector<std::uint64_t>& hashes) {
    counter sketch(precision);
    sketch.add_hashes(hashes);
    return sketch;
}

void check_same(const counter& a, const counter& b) {
    CHECK(a == b);
    CHECK(a.serialize() == b.serialize());
    CHECK(a.memory_bytes() == b.memory_bytes());
}

} // namespace

TEST_CASE("a reduced sketch is the one that was built at the lower precision, sparse or dense") {
    support::random_bits random(1);
    for (unsigned from = 4; from <= 18; from += from < 8 ? 1 : 2) {
        const std::uint64_t limit = 3 * (std::uint64_t{1} << from) / 16;
        for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, limit / 3, limit, limit + 1, 8 * limit}) {
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

TEST_CASE("reducing in steps, and reducing before or after a merge, makes no difference") {
    support::random_bits random(2);
    std::vector<std::uint64_t> first(5'000);
    std::vector<std::uint64_t> second(300);
    for (auto& hash : first) hash = random();
    for (auto& hash : second) hash = random();
    const auto a = built(12, first);
    const auto b = built(14, second);
    check_same(a.reduced(9).reduced(6), a.reduced(6));
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
