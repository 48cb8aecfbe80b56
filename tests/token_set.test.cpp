#include <qsketch/detail/token_set.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

namespace {

using qsketch::detail::token_set;
using tokens = std::vector<std::uint32_t>;

std::uint32_t nonzero(std::uint64_t bits, unsigned width) {
    return static_cast<std::uint32_t>(bits >> (64 - width)) | 1U << (width - 1);
}

tokens random_tokens(std::size_t n, unsigned width, std::uint64_t seed) {
    support::random_bits random(seed);
    tokens made(n);
    std::generate(made.begin(), made.end(), [&] { return nonzero(random(), width); });
    return made;
}

/// Of a few groups, however large the table: all agree in the bits that the first multiplier puts on top.
tokens neighbours(std::size_t n) {
    tokens made(n);
    for (std::size_t i = 0; i < n; ++i) made[i] = 0x4000000 + static_cast<std::uint32_t>(i);
    return made;
}

tokens elements(const token_set& set) {
    tokens all;
    CHECK(set.all_of([&all](std::uint32_t token) {
        all.push_back(token);
        return true;
    }));
    std::sort(all.begin(), all.end());
    return all;
}

/// Fed in pieces of that size; what std::set says about each token, those that were refused included.
void check_against_set(const tokens& fed, unsigned width, std::size_t limit, std::size_t piece) {
    token_set set(width);
    std::set<std::uint32_t> expected;
    std::size_t at = 0;
    while (at < fed.size()) {
        const auto some = std::span(fed).subspan(at, (std::min)(piece, fed.size() - at));
        const std::size_t inserted = set.insert(some, limit);
        REQUIRE(inserted <= some.size());
        for (const std::uint32_t token : some.first(inserted)) expected.insert(token);
        REQUIRE(expected.size() <= limit);
        REQUIRE(set.size() == expected.size());
        at += inserted;
        if (inserted == some.size()) continue;
        REQUIRE(expected.size() == limit);
        REQUIRE(expected.count(fed[at]) == 0);
        ++at;
    }
    const tokens sorted(expected.begin(), expected.end());
    REQUIRE(elements(set) == sorted);
    REQUIRE(set.sorted() == sorted);
    CHECK(set.memory_bytes() <= limit / 3 * 16);

    const token_set copied(width, sorted, limit);
    CHECK(copied == set);
    CHECK(set == copied);
    CHECK(copied.sorted() == sorted);
    if (sorted.empty()) return;
    tokens others = sorted;
    others.back() ^= 0x20000000;
    if (expected.count(others.back()) == 0) CHECK_FALSE(token_set(width, others, limit) == set);
    others.pop_back();
    CHECK_FALSE(token_set(width, others, limit) == set);
}

} // namespace

TEST_CASE("a token_set holds what std::set holds, up to its limit, whatever pieces it is fed in") {
    for (const unsigned width : {1U, 8U, 27U, 28U, 32U})
        for (const std::size_t limit : {3U, 6U, 12U, 48U, 96U, 3072U})
            for (const std::size_t piece : {1U, 5U, 64U, 10'000U})
                for (const std::size_t n : {0U, 1U, 12U, 13U, 100U, 5000U})
                    check_against_set(random_tokens(n, width, limit + n), (std::min)(width, 27U), limit, piece);
}

TEST_CASE("tokens that meet in one group are found all the same") {
    for (const std::size_t limit : {3U, 48U, 3072U})
        for (const std::size_t n : {3U, 4U, 5U, 60U, 600U, 4000U}) {
            check_against_set(neighbours(n), 27, limit, 64);
            auto twice = neighbours(n);
            twice.insert(twice.end(), twice.rbegin(), twice.rend());
            check_against_set(twice, 27, limit, 7);
        }
}

TEST_CASE("a token_set grows with its content, and holds nothing while empty") {
    token_set set(27);
    CHECK(set.memory_bytes() == 0);
    CHECK(set.sorted().empty());
    const auto fed = random_tokens(3072, 28, 1);
    for (const std::uint32_t token : fed) {
        REQUIRE(set.insert(token, 3072));
        const std::size_t slots = set.memory_bytes() / 4;
        CHECK(4 * set.size() <= 3 * slots);
        CHECK((slots == 16 || slots < 6 * set.size()));
    }
}

TEST_CASE("all_of ends at the first token that is refused") {
    for (const std::size_t n : {1U, 100U, 1000U}) {
        const token_set set(27, neighbours(n), 3072);
        std::size_t visited = 0;
        CHECK_FALSE(set.all_of([&](std::uint32_t) { return ++visited < (n + 1) / 2; }));
        CHECK(visited == (n + 1) / 2);
    }
}
