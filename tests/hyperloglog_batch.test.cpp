#include <qsketch/hyperloglog.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <bit>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;
using qsketch::detail::byte_vector;
using qsketch::detail::portable_sum_of;
using qsketch::detail::single_byte;
using qsketch::detail::sum_of;

namespace {

/// Registers by their definition, without a filter.
struct model {
    explicit model(unsigned p) : precision(p), registers(std::size_t{1} << p) {}

    void add(std::uint64_t hash) {
        auto& value = registers[hash % registers.size()];
        const int zeros = std::min(std::countl_zero(hash), static_cast<int>(64 - precision));
        value = std::max(value, static_cast<std::uint8_t>(zeros + 1));
    }

    unsigned precision;
    std::vector<std::uint8_t> registers;
};

std::vector<std::uint8_t> registers_of(const counter& dense) {
    const auto image = dense.serialize();
    REQUIRE(std::to_integer<int>(image[6]) == 1);
    std::vector<std::uint8_t> registers;
    for (std::size_t i = 16; i < image.size(); ++i) registers.push_back(std::to_integer<std::uint8_t>(image[i]));
    return registers;
}

/// Registers around `level`, as n keys would leave them, and some up to `highest`.
std::vector<std::uint8_t> some_registers(unsigned precision, unsigned level, unsigned highest,
                                         support::random_bits& random) {
    std::vector<std::uint8_t> registers(std::size_t{1} << precision);
    for (auto& value : registers) {
        const auto above = static_cast<unsigned>(std::countl_zero(random()));
        value = static_cast<std::uint8_t>(std::min(level + above, highest));
        if (random.below(500) == 0) value = static_cast<std::uint8_t>(random.below(highest + 1));
    }
    return registers;
}

} // namespace

TEST_CASE("one by one and in batches of any size, hashes that are passed over would have changed nothing") {
    for (const unsigned precision : {4u, 5u, 7u, 10u}) {
        support::random_bits random(precision);
        model expected(precision);
        counter single(precision);
        counter hashes(precision);
        counter keys(precision);
        std::uint64_t key = 0;
        for (std::uint64_t next = 1'000; key < 600'000; next *= 3) {
            while (key < next) {
                std::vector<std::uint64_t> batch(random.below(200));
                std::vector<std::uint64_t> hashed;
                for (auto& k : batch) hashed.push_back(qsketch::hash{}(k = key++));
                for (const auto hash : hashed) {
                    expected.add(hash);
                    single.add_hash(hash);
                }
                hashes.add_hashes(hashed);
                keys.add(batch);
            }
            CHECK(registers_of(single) == expected.registers);
            CHECK(hashes == single);
            CHECK(keys == single);
        }
        if (precision < 7) CHECK(*std::min_element(expected.registers.begin(), expected.registers.end()) > 9);
    }
}

TEST_CASE("adding goes on rightly after a merge, a copy and a round trip") {
    support::random_bits random(1);
    for (const bool batch : {false, true}) {
        for (const std::uint64_t n : {100u, 3'000u, 30'000u, 300'000u}) {
            model expected(6);
            counter a(6);
            counter b(6);
            std::uint64_t key = 0;
            const auto feed = [&](counter& sketch, std::uint64_t size) {
                std::vector<std::uint64_t> hashed(size);
                for (auto& hash : hashed) expected.add(hash = qsketch::hash{}(key++));
                if (batch)
                    sketch.add_hashes(hashed);
                else
                    for (const auto hash : hashed) sketch.add_hash(hash);
            };
            feed(a, n);
            feed(b, 3 * n);
            a.merge(b);
            feed(a, n);
            counter copy = a;
            feed(copy, 4 * n);
            counter read = counter::deserialize(copy.serialize());
            CHECK(read == copy);
            feed(read, 4 * n);
            CHECK(registers_of(read) == expected.registers);
            read.clear();
            expected = model(6);
            feed(read, n);
            CHECK(registers_of(read) == expected.registers);
        }
    }
}

TEST_CASE("the least hash that can change a register does, the next larger one does not") {
    for (unsigned floor = 1; floor < 60; ++floor) {
        for (const bool batch : {false, true}) {
            counter sketch(4);
            std::vector<std::uint64_t> hashes; // every register gets the rank `floor`, some a larger one
            for (std::uint64_t i = 0; i < 64; ++i) hashes.push_back((std::uint64_t{1} << (64 - floor)) | i);
            for (std::uint64_t i = 0; i < 8; ++i) hashes.push_back(i);
            sketch.add_hashes(hashes);
            sketch.merge(counter(sketch));
            sketch.add_hash(0); // looks for the floor
            REQUIRE(registers_of(sketch)[15] == floor);
            const auto before = sketch;
            const auto add = [&](std::uint64_t hash) {
                const std::vector<std::uint64_t> copies(70, hash);
                if (batch)
                    sketch.add_hashes(copies);
                else
                    sketch.add_hash(hash);
            };
            add((std::uint64_t{1} << (64 - floor)) | 15);
            CHECK(sketch == before);
            add((std::uint64_t{1} << (64 - floor)) - 1);
            CHECK(registers_of(sketch)[15] == floor + 1);
        }
    }
}

TEST_CASE("vectors of bytes compute what single bytes do") {
    support::random_bits random(2);
    for (std::size_t size = 1; size < 600; ++size) {
        const std::size_t before = random.below(64); // however it is aligned
        std::vector<std::uint8_t> to(before + size);
        std::vector<std::uint8_t> from(size);
        for (auto& value : to) value = static_cast<std::uint8_t>(random() >> random.below(8) & 0xff);
        for (auto& value : from) value = static_cast<std::uint8_t>(random());
        auto expected = to;
        for (std::size_t i = 0; i < size; ++i) expected[before + i] = std::max(to[before + i], from[i]);
        auto portable = to;
        qsketch::detail::raise_bytes<single_byte>(std::span(portable).subspan(before), from);
        CHECK(portable == expected);
        for (const auto range :
             {qsketch::detail::range_of<byte_vector>(to), qsketch::detail::range_of<single_byte>(to)}) {
            CHECK(range.least == *std::min_element(to.begin(), to.end()));
            CHECK(range.largest == *std::max_element(to.begin(), to.end()));
        }
        qsketch::detail::raise_bytes<byte_vector>(std::span(to).subspan(before), from);
        CHECK(to == expected);
    }
}

TEST_CASE("the sum of the registers is the same integer by floats and by its definition, wherever they lie") {
    support::random_bits random(3);
    for (unsigned precision = 4; precision <= 14; ++precision) {
        const unsigned full = 65 - precision;
        for (unsigned level = 0; level <= full; ++level) {
            for (const unsigned highest : {std::min(level + 20, full - 1), full}) {
                const auto registers = some_registers(precision, level, highest, random);
                std::uint64_t weight = 0;
                std::uint32_t zeros = 0;
                std::uint32_t fulls = 0;
                for (const unsigned value : registers) {
                    if (value > 0 && value < full) weight += std::uint64_t{1} << (full - 1 - value);
                    zeros += value == 0;
                    fulls += value == full;
                }
                const auto expected = qsketch::detail::register_sum{weight, zeros, fulls};
                CHECK(portable_sum_of(registers, precision) == expected);
                CHECK(sum_of(registers, precision) == expected);
            }
        }
        for (unsigned value = 0; value <= full; ++value) {
            const std::vector<std::uint8_t> same(std::size_t{1} << precision, static_cast<std::uint8_t>(value));
            CHECK(sum_of(same, precision) == portable_sum_of(same, precision));
            if (value == 1) CHECK(sum_of(same, precision).weight == std::uint64_t{1} << 63);
        }
    }
}

TEST_CASE("sums that a float would round are added the long way") {
    // 2^-r often, and one register 2^-(r + gap): from a gap of 18 on, the sum of 64 has too many bits.
    for (unsigned gap = 10; gap < 40; ++gap) {
        for (unsigned at = 0; at < 256; at += 17) {
            std::vector<std::uint8_t> registers(512, 3);
            registers[at] = static_cast<std::uint8_t>(3 + gap);
            registers[511 - at] = static_cast<std::uint8_t>(3 + gap);
            CHECK(sum_of(registers, 9) == portable_sum_of(registers, 9));
            CHECK(sum_of(registers, 9).weight == 510 * (std::uint64_t{1} << 52) + 2 * (std::uint64_t{1} << (52 - gap)));
        }
    }
}
