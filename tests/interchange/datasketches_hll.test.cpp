#include <qsketch/interchange/datasketches_hll.hpp>
#include <qsketch/interchange/redis.hpp>

#include "support/catch.hpp"
#include "support/counted_memory.hpp"
#include "support/generators.hpp"
#include "support/images.hpp"

#include <qsketch/detail/endian.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace datasketches = qsketch::datasketches;
using interchange_test::bytes;
using interchange_test::image;
using sketch = datasketches::hyperloglog<>;
using numbers = datasketches::hyperloglog<std::uint64_t>;

namespace {

sketch read_image(std::span<const std::byte> from) { return datasketches::deserialize_hyperloglog(from); }

std::vector<std::uint8_t> registers_of(const std::string& name) { return read_image(image(name)).registers(); }

/// What the engine was told: 0 .. count - 1.
numbers counted(std::uint64_t count, unsigned precision) {
    numbers told(precision);
    for (std::uint64_t i = 0; i < count; ++i) told.add(i);
    return told;
}

/// A string of length i + 1.
std::string text(unsigned i) {
    std::string made(i + 1, ' ');
    for (unsigned j = 0; j <= i; ++j) made[j] = static_cast<char>(static_cast<unsigned char>(7 * i + 13 * j));
    return made;
}

sketch told_texts(unsigned count) {
    sketch told(11);
    for (unsigned i = 0; i < count; ++i) told.add(text(i));
    return told;
}

template <class T>
void put(bytes& image, std::size_t at, T value) {
    if constexpr (std::same_as<T, double>)
        put(image, at, std::bit_cast<std::uint64_t>(value));
    else
        qsketch::detail::store_little_endian(image.data() + at, value);
}

/// Registers of bytes, with the sums that belong to them; lg k of more than 18, too.
bytes forged_hll_8(std::uint8_t lg_k, const std::vector<std::pair<std::size_t, std::uint8_t>>& filled) {
    bytes made(40 + (std::size_t{1} << lg_k));
    for (std::size_t i = 0; const unsigned value : {10u, 1u, 7u, unsigned{lg_k}, 0u, 8u, 0u, 10u})
        made[i++] = std::byte(value);
    double low = std::ldexp(1.0, lg_k) - static_cast<double>(filled.size());
    double high = 0;
    for (const auto& [slot, rank] : filled) {
        made[40 + slot] = std::byte(rank);
        (rank < 32 ? low : high) += std::ldexp(1.0, -rank);
    }
    put(made, 16, low);
    put(made, 24, high);
    return made;
}

bytes list_of(std::uint8_t lg_k, const std::vector<std::uint32_t>& coupons) {
    bytes made(8 + 4 * coupons.size());
    for (std::size_t i = 0; const auto value : {std::size_t{2}, std::size_t{1}, std::size_t{7}, std::size_t{lg_k},
                                                std::size_t{3}, std::size_t{8}, coupons.size(), std::size_t{0}})
        made[i++] = std::byte(value);
    for (std::size_t i = 0; i < coupons.size(); ++i) put(made, 8 + 4 * i, coupons[i]);
    return made;
}

constexpr std::uint32_t coupon(std::uint32_t slot, std::uint32_t rank) { return rank << 26 | slot; }

} // namespace

TEST_CASE("keys of every type lead to the registers of DataSketches") {
    const datasketches::hash hash;
    sketch told(12);
    for (const std::uint64_t hashed :
         {hash(std::uint64_t{1}), hash(std::int64_t{-5}), hash(std::uint8_t{200}), hash(std::uint32_t{4'000'000'000}),
          hash(2.5), hash(-0.0), hash(std::string_view("DataSketches"))})
        told.add_hash(hashed);
    CHECK(registers_of("datasketches_hll_list") == told.registers());
    CHECK(registers_of("datasketches_hll_list_updatable") == told.registers());
    CHECK(hash(std::uint8_t{200}) == hash(std::int8_t{-56}));
    CHECK(hash(std::uint8_t{200}) != hash(200));
    CHECK(hash(std::numeric_limits<double>::quiet_NaN()) == hash(-std::numeric_limits<double>::quiet_NaN()));
    CHECK(hash(std::numeric_limits<double>::quiet_NaN()) == hash(std::uint64_t{0x7ff8000000000000}));

    // Strings of all lengths up to 100.
    CHECK(registers_of("datasketches_hll_set") == told_texts(100).registers());
    CHECK(registers_of("datasketches_hll_set_updatable") == told_texts(20).registers());
}

TEST_CASE("registers of every type are those of a sketch of the same keys") {
    struct example {
        const char* name;
        std::uint64_t count;
        unsigned precision;
    };
    for (const auto& [name, count, precision] : {example{"4", 17'854, 11}, // with two exceptions
                                                 {"4_updatable", 17'854, 11},
                                                 {"4_no_exceptions_updatable", 3000, 8},
                                                 {"4_union", 3000, 8},
                                                 {"6", 3000, 8},
                                                 {"8", 3000, 8},
                                                 {"8_union", 3000, 8},
                                                 {"java_4_union_updatable", 1500, 8},
                                                 {"java_8_union", 1500, 8}}) {
        CAPTURE(name);
        const sketch read = read_image(image("datasketches_hll_" + std::string(name)));
        const numbers told = counted(count, precision);
        CHECK(read.registers() == told.registers());
        CHECK(read.estimate() == told.estimate()); // told is dense, too
        CHECK(std::abs(read.estimate() / static_cast<double>(count) - 1) < 3 * read.relative_error());
        CHECK(datasketches::serialize(read) == datasketches::serialize(told));
    }
    for (const char* name : {"empty", "empty_updatable", "full_size_empty"})
        CHECK(read_image(image("datasketches_hll_" + std::string(name))).empty());
}

TEST_CASE("the bytes are those of a union of DataSketches") {
    CHECK(datasketches::serialize(counted(3000, 8)) == image("datasketches_hll_8_union"));
    CHECK(datasketches::serialize(sketch(11)) == image("datasketches_hll_empty"));
}

TEST_CASE("written and read again, registers are the same") {
    for (const unsigned precision : {4u, 7u, 14u, 18u})
        for (const std::uint64_t count : {0u, 1u, 100u, 50'000u}) {
            const numbers told = counted(count, precision);
            const bytes written = datasketches::serialize(told);
            CHECK(written.size() == (count == 0 ? 8 : 40 + (1u << precision)));
            const auto read = datasketches::deserialize_hyperloglog<std::uint64_t>(written);
            CHECK(read.registers() == told.registers());
            CHECK(read.precision() == (count == 0 ? told.precision() : precision));
            CHECK(datasketches::serialize(read) == written);
        }
    // Both sums of 2^-rank.
    std::vector<std::uint8_t> registers(16);
    registers[3] = 31;
    registers[4] = 32;
    registers[5] = 46;
    const bytes written = datasketches::serialize(sketch::from_registers(registers));
    bytes expected = forged_hll_8(4, {{3, 31}, {4, 32}, {5, 46}});
    put(expected, 5, std::uint8_t{24});
    put(expected, 32, std::uint32_t{13});
    CHECK(written == expected);
}

TEST_CASE("ranks above 46 count as 46") {
    // Keys that were made for it lead DataSketches to ranks of 45, 46, 47, 48, 62, 63 and 63.
    sketch told(12);
    for (const char* key :
         {"bf7fc7bee36ab3a380c37101ba00931a", "25de619cf6a5c9ac35ffe9cbfd1bd343", "0f7696e164f799b05e4bd5be2751df90",
          "59d4339015e5892aa1a8bf13a623ec3a", "94cddc0662cdc60a6fee2d36cbcde42e", "be3312e12084d55d6c5c4a1ef5ea9d64",
          "33eab4ef56ed04fb596aedf55b3f2b30"}) {
        const bytes raw = support::from_hex(key);
        told.add(std::string_view(reinterpret_cast<const char*>(raw.data()), raw.size()));
    }
    auto registers = registers_of("datasketches_hll_list_ranks");
    CHECK(registers == told.registers());
    std::sort(registers.begin(), registers.end());
    CHECK(std::vector<std::uint8_t>(registers.end() - 7, registers.end()) ==
          std::vector<std::uint8_t>{45, 46, 46, 46, 46, 46, 46});
    CHECK(told.reduced(4).registers() == read_image(datasketches::serialize(told)).reduced(4).registers());
    CHECK(read_image(forged_hll_8(4, {{15, 63}})).registers()[15] == 46);

    // Of 2^(precision + 38) keys, whose registers follow a known law, estimates are off by less than 0.1 % for it.
    for (const unsigned precision : {4u, 12u}) {
        support::random_bits random(precision);
        std::vector<std::uint8_t> all(std::size_t{1} << precision);
        std::vector<std::uint8_t> kept(all.size());
        for (int round = 0; round < (precision == 4 ? 100 : 10); ++round) {
            for (std::size_t i = 0; i < all.size(); ++i) {
                const double arrival = -std::log(1 - random.unit());
                const double rank = std::ceil(38 - std::log2(arrival));
                all[i] = static_cast<std::uint8_t>(std::min(std::max(rank, 1.0), 65.0 - precision));
                kept[i] = std::min<std::uint8_t>(all[i], 46);
            }
            const double difference =
                sketch::from_registers(kept).estimate() / sketch::from_registers(all).estimate() - 1;
            CHECK(std::abs(difference) < 0.001);
        }
    }
}

TEST_CASE("more registers than precision 18 has are reduced to it") {
    const auto registers = registers_of("datasketches_hll_list_21");
    const auto fewer = registers_of("datasketches_hll_list");
    CHECK(registers.size() == 1 << 18);
    CHECK(sketch::from_registers(registers).reduced(12).registers() == fewer);
    const std::size_t half = std::size_t{1} << 18;
    const auto folded = read_image(forged_hll_8(19, {{3, 7}, {half + 3, 5}, {half + 4, 9}, {2 * half - 1, 46}}));
    std::vector<std::uint8_t> expected(half);
    expected[3] = 7;
    expected[4] = 9;
    expected[half - 1] = 46;
    CHECK(folded.registers() == expected);
}

TEST_CASE("sketches of other hashes are told apart") {
    const numbers told = counted(1000, 14);
    CHECK_THROWS_AS(qsketch::hyperloglog<std::uint64_t>::deserialize(told.serialize()), qsketch::format_error);
    CHECK(numbers::deserialize(told.serialize()) == told);
    CHECK_THROWS_AS(numbers::deserialize(qsketch::hyperloglog<std::uint64_t>(14).serialize()), qsketch::format_error);
    CHECK_THROWS_AS(qsketch::redis::hyperloglog::deserialize(told.serialize()), qsketch::format_error);
    CHECK_THROWS_AS(qsketch::redis::deserialize(datasketches::serialize(told)), qsketch::format_error);
    CHECK_THROWS_AS(read_image(qsketch::redis::serialize(qsketch::redis::hyperloglog())), qsketch::format_error);
    CHECK_THROWS_AS(read_image(told.serialize()), qsketch::format_error);
}

TEST_CASE("damaged images are refused, or read as what they now say") {
    for (const char* name : {"list", "list_updatable", "set", "set_updatable", "4", "4_updatable",
                             "4_no_exceptions_updatable", "6", "8", "8_union", "empty", "full_size_empty"}) {
        CAPTURE(name);
        const bytes good = image("datasketches_hll_" + std::string(name));
        interchange_test::read_damaged(good, read_image, [](const sketch& read) {
            const auto registers = read.registers();
            support::require(*std::max_element(registers.begin(), registers.end()) <= 46, "ranks are up to 46");
            support::require(std::isfinite(read.estimate()), "estimates are finite");
        });
        bytes longer = good;
        for (int i = 0; i < 4; ++i) {
            longer.push_back(std::byte{0});
            CHECK_THROWS_AS(read_image(longer), qsketch::format_error);
        }
    }
}

TEST_CASE("damaged registers are found by their sums") {
    for (const char* name : {"4", "6", "8"}) {
        const bytes good = image("datasketches_hll_" + std::string(name));
        for (std::size_t at = 40; at + 12 < good.size(); ++at)
            for (unsigned bit = 0; bit < 8; ++bit) {
                bytes damaged = good;
                damaged[at] ^= std::byte(1u << bit);
                CHECK_THROWS_AS(read_image(damaged), qsketch::format_error);
            }
    }
}

TEST_CASE("bytes that DataSketches does not write are refused") {
    const auto refused = [](const bytes& bad, const char* what) {
        CHECK_THROWS_WITH(read_image(bad), Catch::Matchers::Contains(what));
    };
    const auto changed = [&](const char* name, std::size_t at, auto value, const char* what) {
        bytes bad = image("datasketches_hll_" + std::string(name));
        put(bad, at, value);
        refused(bad, what);
    };
    const auto byte = [](unsigned value) { return static_cast<std::uint8_t>(value); };
    for (const char* name : {"list", "set", "8"}) {
        changed(name, 0, byte(4), "preamble");
        changed(name, 1, byte(2), "version");
        changed(name, 2, byte(20), "another sketch");
        changed(name, 3, byte(3), "lg k outside");
        changed(name, 3, byte(22), "lg k outside");
        changed(name, 5, byte(9), "unknown flags");
        changed(name, 5, byte(64 + 8), "unknown flags");
        changed(name, 5, byte(128 + 8), "unknown flags");
        changed(name, 5, byte(4 + 8), "says that it is empty");
        changed(name, 7, byte(3), "unknown mode");
        changed(name, 7, byte(12), "unknown mode");
    }
    changed("list", 7, byte(1), "preamble");
    changed("set", 7, byte(2), "preamble");
    changed("8", 7, byte(8), "preamble");

    refused(list_of(12, {coupon(5, 0)}), "without a rank");
    refused(list_of(12, {0}), "without a rank");
    refused(list_of(12, {coupon(5, 1), coupon(6, 1), coupon(5, 1)}), "twice");
    CHECK(read_image(list_of(12, {coupon(5, 1), coupon(6, 1), coupon(5, 2)})).registers()[5] == 2);
    refused(list_of(12, std::vector<std::uint32_t>(8, coupon(5, 1))), "more coupons than fit");
    changed("list", 6, byte(6), "coupons that it announces");
    changed("list_updatable", 6, byte(6), "coupons that it announces");
    changed("list_updatable", 4, byte(4), "size that it announces");
    changed("list_updatable", 4, byte(255), "size that it announces");

    changed("set", 3, byte(7), "a set, which its lg k does not have");
    changed("set", 3, byte(9), "more coupons than fit");
    changed("set", 8, std::uint32_t{99}, "coupons that it announces");
    changed("set", 8, std::uint32_t{0xffffffff}, "more coupons than fit");
    changed("set_updatable", 8, std::uint32_t{19}, "coupons that it announces");
    changed("set_updatable", 4, byte(4), "size that it announces");
    for (const unsigned count : {24u, 25u}) { // a quarter less than the largest table of lg k = 8
        bytes full(12 + 4 * count);
        const bytes set = image("datasketches_hll_set");
        std::copy_n(set.begin(), 12, full.begin());
        put(full, 3, byte(8));
        put(full, 8, count);
        for (std::uint32_t i = 0; i < count; ++i) put(full, 12 + 4 * i, coupon(i, 1));
        if (count == 24) {
            const auto registers = read_image(full).registers();
            CHECK(std::count(registers.begin(), registers.end(), 1) == 24);
        } else {
            refused(full, "more coupons than fit");
        }
    }

    for (const char* name : {"4", "6", "8"}) {
        changed(name, 16, -1.0, "sums");
        changed(name, 16, std::numeric_limits<double>::quiet_NaN(), "sums");
        changed(name, 24, std::numeric_limits<double>::infinity(), "sums");
    }
    changed("6", 36, std::uint32_t{1}, "exceptions that its type does not have");
    changed("8", 36, std::uint32_t{1}, "exceptions that its type does not have");
    const std::size_t last = image("datasketches_hll_6").size() - 1;
    changed("6", last, byte(1), "register too many");
    bytes high = forged_hll_8(4, {{0, 64}});
    refused(high, "register above 63");
    put(high, 5, byte(32));
    refused(high, "register above 63");

    changed("4", 6, byte(64), "least register above 63");
    changed("4", 6, byte(63), "exception where there is none"); // ranks of 78
    changed("4_no_exceptions_updatable", 6, byte(63), "register above 63");
    const bytes four = image("datasketches_hll_4");
    const std::size_t first = four.size() - 8;
    const auto exception = qsketch::detail::load_little_endian<std::uint32_t>(four.data() + first);
    changed("4", first, exception ^ 1, "exception where there is none");
    changed("4", first, exception | 1u << 25, "exception where there is none");
    const std::uint32_t slot = exception & ((1u << 26) - 1);
    changed("4", first, coupon(slot, std::to_integer<std::uint32_t>(four[6]) + 14), "exception where there is none");
    changed("4", first, qsketch::detail::load_little_endian<std::uint32_t>(four.data() + first + 4), "twice");
    changed("4", first + 4, coupon(slot, 63), "exception where there is none"); // the same register again
    bytes one_less(four.begin(), four.end() - 4);
    refused(one_less, "coupons that it announces");
    put(one_less, 36, std::uint32_t{1});
    refused(one_less, "register above 63"); // an exception that is missing
    changed("4_updatable", 4, byte(5), "size that it announces");
}

TEST_CASE("sums that say that they are out of date are not looked at") {
    bytes changed = image("datasketches_hll_8");
    put(changed, 16, 0.0);
    CHECK_THROWS_AS(read_image(changed), qsketch::format_error);
    put(changed, 5, static_cast<std::uint8_t>(8 + 32));
    CHECK(read_image(changed).registers() == registers_of("datasketches_hll_8"));
    // Unions of DataSketches put ranks of 32 and more into the wrong sum.
    bytes shifted = forged_hll_8(4, {{0, 31}, {1, 40}});
    put(shifted, 16, 15 + 0x1p-31);
    put(shifted, 24, 0x1p-40 - 1);
    CHECK(read_image(shifted).registers() == read_image(forged_hll_8(4, {{0, 31}, {1, 40}})).registers());
}

TEST_CASE("no image takes more memory than its bytes and the registers justify") {
    constexpr std::size_t registers = 1 << 18;
    const auto within = [](const bytes& read) {
        const std::size_t used = support::memory_of([&read] {
            try {
                static_cast<void>(read_image(read));
            } catch (const qsketch::format_error&) {
            }
        });
        CHECK(used <= 4096 + 3 * read.size() + registers);
        return used;
    };
    CHECK(within(list_of(21, {coupon(1, 1)})) >= registers);
    CHECK(within(list_of(21, {coupon(1, 0)})) < 4096); // refused before there are registers
    for (const char* name : {"list", "set", "set_updatable", "4", "4_updatable", "6", "8"}) {
        bytes forged = image("datasketches_hll_" + std::string(name));
        put(forged, 3, std::uint8_t{21});
        within(forged);
        if (forged.size() > 12) put(forged, 8, ~std::uint32_t{0});
        within(forged);
        put(forged, 3, std::uint8_t{11});
        if (forged.size() > 40) put(forged, 36, ~std::uint32_t{0});
        within(forged);
    }
    bytes nibbles = forged_hll_8(20, {}); // 21 of four bits
    put(nibbles, 3, std::uint8_t{21});
    put(nibbles, 7, std::uint8_t{2});
    put(nibbles, 16, 0x1p21);
    CHECK(read_image(nibbles).empty());
    within(nibbles);
}
