#include <qsketch/hyperloglog.hpp>
#include <qsketch/ultraloglog.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

using counter = qsketch::ultraloglog<std::uint64_t>;
using qsketch::detail::recent_ranks;

static_assert(qsketch::distinct_sketch<qsketch::ultraloglog<>>);
static_assert(qsketch::distinct_sketch<counter>);

namespace {

/// Hashes with every number of leading zeros, far more often than chance would have it.
std::vector<std::uint64_t> steep_hashes(std::size_t n, std::uint64_t seed) {
    support::random_bits random(seed);
    std::vector<std::uint64_t> hashes(n);
    for (auto& hash : hashes)
        hash = (random() >> random.below(64)) ^ random.below(std::uint64_t{1} << random.below(19));
    return hashes;
}

/// The definition: the set of ranks that came to a register, of which the three highest places count.
std::uint8_t register_of(const std::set<unsigned>& ranks) {
    if (ranks.empty()) return 0;
    const unsigned largest = *ranks.rbegin();
    const auto came = [&](unsigned rank) { return rank == 0 || ranks.count(rank) > 0; };
    unsigned value = 4 * largest;
    if (came(largest - 1)) value += 2;
    if (largest > 1 && came(largest - 2)) value += 1;
    return static_cast<std::uint8_t>(value);
}

std::vector<std::uint8_t> registers_of(const counter& dense) {
    constexpr std::size_t header = 16;
    std::vector<std::uint8_t> registers;
    const auto image = dense.serialize();
    REQUIRE(std::to_integer<int>(image[6]) == 1);
    for (std::size_t i = header; i < image.size(); ++i) registers.push_back(std::to_integer<std::uint8_t>(image[i]));
    return registers;
}

counter built(unsigned precision, const std::vector<std::uint64_t>& hashes) {
    counter sketch(precision);
    sketch.add_hashes(hashes);
    return sketch;
}

/// Every register that some ranks lead to.
std::vector<std::uint8_t> all_registers() {
    std::vector<std::uint8_t> values{0};
    for (unsigned largest = 1; largest <= 61; ++largest)
        for (unsigned below = 0; below < 4; ++below) {
            std::set<unsigned> ranks{largest};
            if ((below & 1) != 0 && largest > 1) ranks.insert(largest - 1);
            if ((below & 2) != 0 && largest > 2) ranks.insert(largest - 2);
            values.push_back(register_of(ranks));
        }
    return values;
}

} // namespace

TEST_CASE("registers follow their definition, one by one and in batches") {
    for (const unsigned precision : {4u, 5u, 8u, 12u, 15u}) {
        const std::size_t m = std::size_t{1} << precision;
        const auto hashes = steep_hashes(4 * m, precision);
        std::vector<std::set<unsigned>> ranks(m);
        counter one_by_one(precision);
        for (const auto hash : hashes) {
            unsigned zeros = 0;
            while (zeros < 64 - precision && (hash >> (63 - zeros) & 1) == 0) ++zeros;
            ranks[hash % m].insert(zeros + 1);
            one_by_one.add_hash(hash);
        }
        std::vector<std::uint8_t> expected;
        for (const auto& each : ranks) expected.push_back(register_of(each));
        CHECK(registers_of(one_by_one) == expected);
        CHECK(built(precision, hashes) == one_by_one);
    }
}

TEST_CASE("the register of two is that of the ranks of both, in every width of vector") {
    const auto values = all_registers();
    const auto ranks_of = [](std::uint8_t value) {
        std::set<unsigned> ranks;
        recent_ranks::for_each_rank(value, [&](unsigned rank) { ranks.insert(rank); });
        return ranks;
    };
    std::vector<std::uint8_t> left;
    std::vector<std::uint8_t> right;
    std::vector<std::uint8_t> expected;
    for (const auto a : values)
        for (const auto b : values) {
            left.push_back(a);
            right.push_back(b);
            auto both = ranks_of(a);
            both.merge(ranks_of(b));
            // What the register of the smaller rank has forgotten lies too far below the larger one to count.
            expected.push_back(register_of(both));
        }
    auto vectors = left;
    recent_ranks::merge(vectors, right);
    CHECK(vectors == expected);
    auto bytes = left;
    recent_ranks::merge<qsketch::detail::single_byte>(bytes, right);
    CHECK(bytes == expected);
}

TEST_CASE("merging in any order gives the state of one sketch that saw everything") {
    for (const unsigned precision : {4u, 9u, 13u}) {
        const std::size_t m = std::size_t{1} << precision;
        for (const std::size_t n : {m / 20, m / 4, 3 * m}) {
            const auto first = steep_hashes(n, 1);
            const auto second = steep_hashes(2 * n, 2);
            auto all = first;
            all.insert(all.end(), second.begin(), second.end());
            auto a = built(precision, first);
            auto b = built(precision, second);
            const auto before = b;
            b.merge(a);
            a.merge(before);
            CHECK(a == built(precision, all));
            CHECK(b == a);
            b.merge(a);
            CHECK(b == a);
        }
    }
}

TEST_CASE("a reduced ultraloglog is the one that was built at the lower precision") {
    for (const unsigned from : {5u, 9u, 14u, 16u}) {
        const std::size_t m = std::size_t{1} << from;
        for (const std::size_t n : {std::size_t{1}, m / 6, m / 5, 4 * m}) {
            support::random_bits random(n);
            std::vector<std::uint64_t> hashes(n);
            for (auto& hash : hashes) hash = random() >> random.below(8);
            for (unsigned to = 4; to <= from; ++to) CHECK(built(from, hashes).reduced(to) == built(to, hashes));
        }
    }
}

TEST_CASE("the hyperloglog made of an ultraloglog is the one that was built from the keys") {
    for (const unsigned precision : {4u, 11u, 16u})
        for (const std::size_t n : {std::size_t{0}, std::size_t{3}, std::size_t{5} << precision}) {
            const auto hashes = steep_hashes(n, 7);
            qsketch::hyperloglog<std::uint64_t> expected(precision);
            expected.add_hashes(hashes);
            const qsketch::hyperloglog<std::uint64_t> converted(built(precision, hashes));
            CHECK(converted == expected);
        }
}

TEST_CASE("registers that no ranks lead to are refused, all others are read") {
    const auto sane = all_registers();
    const std::set<std::uint8_t> known(sane.begin(), sane.end());
    for (unsigned value = 0; value < 256; ++value) {
        qsketch::detail::image_writer out(qsketch::detail::image_kind::ultraloglog, {4, 1, 0}, 20);
        out.put(qsketch::hash{}.id());
        out.put(static_cast<std::uint8_t>(value));
        for (int i = 1; i < 16; ++i) out.put(std::uint8_t{6});
        const auto image = std::move(out).finish();
        if (known.count(static_cast<std::uint8_t>(value)) > 0)
            CHECK(counter::deserialize(image).serialize() == image);
        else
            CHECK_THROWS_AS(counter::deserialize(image), qsketch::format_error);
    }
}
