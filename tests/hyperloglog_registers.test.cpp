#include <qsketch/hyperloglog.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;

namespace {

std::vector<std::uint64_t> hashes(std::size_t count) {
    std::vector<std::uint64_t> result(count);
    for (std::size_t i = 0; i < count; ++i) result[i] = qsketch::hash{}(i);
    return result;
}

} // namespace

TEST_CASE("registers hold the most leading zeros plus one of their hashes, sparse or dense") {
    for (const unsigned precision : {4u, 10u, 14u, 18u})
        for (const std::size_t count : {0u, 1u, 100u, 10'000u}) {
            counter sketch(precision);
            std::vector<std::uint8_t> truth(std::size_t{1} << precision);
            for (const auto hash : hashes(count)) {
                sketch.add_hash(hash);
                std::uint8_t& value = truth[static_cast<std::size_t>(hash % truth.size())];
                const int zeros = std::min(std::countl_zero(hash), 64 - static_cast<int>(precision));
                value = std::max(value, static_cast<std::uint8_t>(zeros + 1));
            }
            CHECK(sketch.registers() == truth);
        }
}

TEST_CASE("a sketch of the registers of a dense one is that sketch, and goes on like it") {
    for (const unsigned precision : {4u, 12u}) {
        counter dense(precision);
        for (const auto hash : hashes(std::size_t{5} << precision)) dense.add_hash(hash);
        counter read = counter::from_registers(dense.registers());
        CHECK(read == dense);
        CHECK(read.estimate() == dense.estimate());
        for (const auto hash : hashes(std::size_t{100} << precision)) {
            dense.add_hash(hash);
            read.add_hash(hash);
        }
        CHECK(read == dense);
    }
}

TEST_CASE("a sketch of few registers is dense, knows what they know, and merges") {
    counter sparse(12);
    for (const auto hash : hashes(100)) sparse.add_hash(hash);
    const counter dense = counter::from_registers(sparse.registers());
    CHECK_FALSE(dense == sparse);
    CHECK(dense.registers() == sparse.registers());
    CHECK(std::abs(dense.estimate() - 100) < 5);
    CHECK(counter::deserialize(dense.serialize()) == dense);
    counter merged = sparse;
    merged.merge(dense);
    CHECK(merged == dense);

    CHECK(counter::from_registers(std::vector<std::uint8_t>(4096)) == counter(12));
    const qsketch::hash seeded(7);
    CHECK(counter::from_registers(sparse.registers(), seeded).compatible(counter(12, seeded)));
}

TEST_CASE("registers that cannot be are refused") {
    for (const std::size_t size : {0u, 1u, 8u, 17u, 4095u, 524'288u})
        CHECK_THROWS_AS(counter::from_registers(std::vector<std::uint8_t>(size)), std::invalid_argument);
    std::vector<std::uint8_t> registers(4096);
    registers[4095] = 53;
    CHECK_NOTHROW(counter::from_registers(registers));
    registers[4095] = 54;
    CHECK_THROWS_AS(counter::from_registers(registers), std::invalid_argument);
}
