#include <qsketch/concurrent_hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/threads.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using concurrent = qsketch::concurrent_hyperloglog<std::uint64_t>;
using serial = qsketch::hyperloglog<std::uint64_t>;

namespace {

std::vector<std::uint64_t> random_hashes(std::size_t count, std::uint64_t seed) {
    support::random_bits bits(seed);
    std::vector<std::uint64_t> hashes(count);
    for (auto& hash : hashes) hash = bits();
    return hashes;
}

/// With leading zeros as only many more hashes have them: registers near the full, and hashes that nobody needs.
std::vector<std::uint64_t> as_of_many(std::size_t count, unsigned zeros, std::uint64_t seed) {
    auto hashes = random_hashes(count, seed);
    for (std::size_t i = 0; i < count; i += 2) hashes[i] &= ~std::uint64_t{0} >> zeros;
    return hashes;
}

} // namespace

TEST_CASE("a snapshot equals the hyperloglog of one thread, sparse and dense", "") {
    for (const unsigned precision : {4u, 5u, 6u, 8u, 10u, 12u, 14u, 15u, 18u}) {
        concurrent shared(precision);
        serial alone(precision);
        CHECK(shared.precision() == precision);
        CHECK(shared.snapshot() == alone);
        const std::size_t registers = std::size_t{1} << precision;
        const auto hashes = random_hashes(precision < 13 ? 4 * registers : registers / 4, precision);
        // Every single number of tokens around the end of the sparse form, then fewer snapshots.
        for (std::size_t i = 0; i < hashes.size(); ++i) {
            shared.add_hash(hashes[i]);
            alone.add_hash(hashes[i]);
            const std::size_t limit = 3 * registers / 16;
            if ((i + 3 > limit && i < limit + 3) || i % (registers / 3) == 0) REQUIRE(shared.snapshot() == alone);
        }
        CHECK(shared.snapshot() == alone);
        CHECK(shared.snapshot().serialize() == alone.serialize());
    }
}

TEST_CASE("hashes at the ends of their range count as in one thread", "") {
    for (const unsigned precision : {4u, 14u, 15u, 18u}) {
        concurrent shared(precision);
        serial alone(precision);
        for (unsigned shift = 0; shift < 64; ++shift)
            for (const std::uint64_t hash : {~std::uint64_t{0} >> shift, std::uint64_t{1} << shift, std::uint64_t{0}}) {
                shared.add_hash(hash);
                alone.add_hash(hash);
                REQUIRE(shared.snapshot() == alone);
            }
    }
}

TEST_CASE("repeated keys neither fill the tokens nor change the state", "") {
    concurrent shared(10);
    serial alone(10);
    for (int round = 0; round < 100; ++round)
        for (const std::uint64_t key : {3u, 1u, 4u, 1u, 5u, 9u, 2u, 6u}) {
            shared.add(key);
            alone.add(key);
        }
    CHECK(shared.snapshot() == alone);
    CHECK(shared.snapshot().estimate() < 8);
}

TEST_CASE("hashes that change nothing are turned away, those that do are not", "") {
    for (const unsigned precision : {4u, 7u, 9u}) {
        concurrent shared(precision);
        serial alone(precision);
        for (unsigned zeros = 0; zeros < 40; zeros += 4) {
            for (const auto hash : as_of_many(std::size_t{10} << precision, zeros, zeros)) {
                shared.add_hash(hash);
                alone.add_hash(hash);
            }
            REQUIRE(shared.snapshot() == alone);
        }
    }
}

TEST_CASE("what many threads add is what one would have", "") {
    constexpr std::size_t threads = 4;
    // So few that all fit into the tokens, about as many as fit, and many.
    for (const std::size_t count : {100u, 3072u, 3200u, 200'000u}) {
        const auto hashes = random_hashes(count, count);
        concurrent shared(14);
        serial alone(14);
        for (const auto hash : hashes) alone.add_hash(hash);
        support::run_threads(threads, [&](std::size_t thread) {
            // All threads add half of the hashes, in orders of their own, and a part that no one else has.
            for (std::size_t i = 0; i < count / 2; ++i) shared.add_hash(hashes[(i + thread * count / 8) % (count / 2)]);
            for (std::size_t i = count / 2 + thread; i < count; i += threads) shared.add_hash(hashes[i]);
        });
        CHECK(shared.snapshot() == alone);
    }
}

TEST_CASE("threads that raise the same registers lose nothing", "") {
    for (std::uint64_t round = 0; round < 300; ++round) {
        const auto hashes = random_hashes(2000, round);
        concurrent shared(4);
        serial alone(4);
        for (const auto hash : hashes) alone.add_hash(hash);
        support::run_threads(2, [&](std::size_t thread) {
            for (std::size_t i = thread; i < hashes.size(); i += 2) shared.add_hash(hashes[i]);
        });
        REQUIRE(shared.snapshot() == alone);
    }
}

TEST_CASE("snapshots taken while threads add never lose anything", "") {
    for (const std::size_t count : {3500u, 100'000u}) {
        const auto hashes = random_hashes(count, 7);
        concurrent shared(14);
        support::run_threads(3, [&](std::size_t thread) {
            if (thread < 2) {
                for (std::size_t i = thread; i < count; i += 2) shared.add_hash(hashes[i]);
                return;
            }
            serial before(14);
            for (int i = 0; i < 50; ++i) {
                serial now = shared.snapshot();
                const auto raised = now.registers();
                const auto earlier = before.registers();
                for (std::size_t r = 0; r < raised.size(); ++r)
                    if (raised[r] < earlier[r]) throw std::logic_error("a register fell");
                before = now;
            }
        });
        serial alone(14);
        for (const auto hash : hashes) alone.add_hash(hash);
        CHECK(shared.snapshot() == alone);
    }
}

TEST_CASE("a hyperloglog can be merged in, and nothing that is not compatible", "") {
    const auto hashes = random_hashes(20'000, 3);
    for (const std::size_t own : {std::size_t{0}, std::size_t{50}, std::size_t{10'000}})
        for (const std::size_t others : {std::size_t{0}, std::size_t{50}, std::size_t{10'000}}) {
            concurrent shared(12);
            serial other(12);
            serial alone(12);
            for (std::size_t i = 0; i < own; ++i) shared.add_hash(hashes[i]);
            for (std::size_t i = 0; i < own; ++i) alone.add_hash(hashes[i]);
            for (std::size_t i = 0; i < others; ++i) other.add_hash(hashes[10'000 + i]);
            shared.merge(other);
            alone.merge(other);
            CHECK(shared.snapshot() == alone);
            // What is turned away after a merge must be what no longer counts.
            for (const auto hash : as_of_many(1000, 30, 5)) {
                shared.add_hash(hash);
                alone.add_hash(hash);
            }
            CHECK(shared.snapshot() == alone);
        }
    concurrent shared(12);
    shared.add(1);
    const serial before = shared.snapshot();
    CHECK_THROWS_AS(shared.merge(serial(11)), qsketch::incompatible_error);
    CHECK_THROWS_AS(shared.merge(serial(12, qsketch::hash(1))), qsketch::incompatible_error);
    CHECK(shared.snapshot() == before);
}

TEST_CASE("tokens chosen to meet make the sketch dense and nothing slow or wrong", "") {
    // All start their walk in one slot of 2^10: found by trial of the multiplier, which is part of this test.
    constexpr unsigned precision = 18;
    concurrent shared(precision);
    serial alone(precision);
    std::size_t found = 0;
    for (std::uint32_t token = 1; found < 3000; ++token)
        if ((token * std::uint32_t{0x9e3779b1}) >> 16 == 77 && (token >> 18) != 0) {
            const std::uint64_t hash = (std::uint64_t{token >> 18} << 51) | (token & 0x3ffff);
            shared.add_hash(hash);
            alone.add_hash(hash);
            ++found;
        }
    CHECK(shared.snapshot().registers() == alone.registers());
    CHECK_FALSE(shared.snapshot() == alone); // which is sparse yet
}

TEST_CASE("keys go through the hash that was given", "") {
    const qsketch::sip_hash keyed(1, 2);
    qsketch::concurrent_hyperloglog<std::string_view, qsketch::sip_hash> shared(12, keyed);
    qsketch::hyperloglog<std::string_view, qsketch::sip_hash> alone(12, keyed);
    for (int i = 0; i < 5000; ++i) {
        const std::string key = std::to_string(i);
        shared.add(key);
        alone.add(key);
    }
    CHECK(shared.snapshot() == alone);
}

TEST_CASE("precisions outside [4, 18] are refused, and memory does not grow", "") {
    CHECK_THROWS_AS(concurrent(3), std::invalid_argument);
    CHECK_THROWS_AS(concurrent(19), std::invalid_argument);
    for (const unsigned precision : {4u, 14u, 18u}) {
        concurrent shared(precision);
        const std::size_t bytes = shared.memory_bytes();
        CHECK(bytes == sizeof shared + (std::size_t{2} << precision));
        for (const auto hash : random_hashes(std::size_t{2} << precision, 1)) shared.add_hash(hash);
        CHECK(shared.memory_bytes() == bytes);
    }
}
