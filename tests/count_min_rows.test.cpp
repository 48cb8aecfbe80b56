#include "support/catch.hpp"
#include "support/generators.hpp"

#include <qsketch/count_min.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

using qsketch::detail::count_min_column;
using std::uint64_t;

TEST_CASE("columns are pinned, because images depend on them") {
    CHECK(count_min_column(0x00000000'00000000, 0, 1000) == 0);
    CHECK(count_min_column(0x00000000'80000000, 0, 1000) == 736);
    CHECK(count_min_column(0x40000000'80000000, 1, 1000) == 776);
    CHECK(count_min_column(0x40000000'80000000, 2, 1000) == 344);
    CHECK(count_min_column(0xffffffff'ffffffff, 0, 1u << 31) == 1'133'707'264);
    CHECK(count_min_column(0xffffffff'ffffffff, 1, 1u << 31) == 1'503'698'486);
    CHECK(count_min_column(0x01234567'89abcdef, 3, 4096) == 1572);
    CHECK(count_min_column(0x00000000'00000000, 3, 1u << 31) == 1'109'973'667);
    CHECK(count_min_column(0x01234567'89abcdef, 63, 1) == 0);
    const auto columns = [](uint64_t hash) {
        std::vector<std::uint32_t> all;
        for (std::uint32_t row = 0; row < 5; ++row) all.push_back(count_min_column(hash, row, 1000));
        return all;
    };
    CHECK(columns(qsketch::hash()(uint64_t{42})) == std::vector<std::uint32_t>{410, 538, 779, 923, 717});
    CHECK(columns(qsketch::hash()(std::string_view("qsketch"))) == std::vector<std::uint32_t>{121, 645, 500, 112, 18});
}

TEST_CASE("every column of a row is as likely as any other") {
    for (const std::uint32_t width : {7u, 64u, 1000u})
        for (const std::uint32_t row : {0u, 1u, 5u, 63u}) {
            std::vector<double> seen(width);
            support::random_bits random(row + 1);
            const double expected = 500;
            for (std::uint32_t i = 0; i < 500 * width; ++i) ++seen[count_min_column(random(), row, width)];
            double chi_squared = 0;
            for (const double n : seen) chi_squared += (n - expected) * (n - expected) / expected;
            CAPTURE(width, row, chi_squared);
            CHECK(std::abs(chi_squared - width) < 5 * std::sqrt(2.0 * width));
        }
}

TEST_CASE("two keys meet in several rows as seldom as in independent ones") {
    for (const std::uint32_t width : {8u, 64u, 272u}) {
        constexpr uint64_t pairs = 5'000'000;
        std::array<uint64_t, 9> met{}; // by how many rows they met in, from the first row on
        support::random_bits random(width);
        for (uint64_t i = 0; i < pairs; ++i) {
            const uint64_t a = random();
            const uint64_t b = random();
            std::uint32_t rows = 0;
            while (rows < 8 && count_min_column(a, rows, width) == count_min_column(b, rows, width)) ++rows;
            ++met[rows];
        }
        uint64_t at_least = 0;
        for (std::size_t rows = 8; rows >= 1; --rows) {
            at_least += met[rows];
            const double expected = static_cast<double>(pairs) * std::pow(width, -static_cast<double>(rows));
            CAPTURE(width, rows, at_least, expected);
            // Five standard deviations, and one more pair where less than one is expected.
            CHECK(std::abs(static_cast<double>(at_least) - expected) <= 5 * std::sqrt(expected) + 1);
        }
    }
}
