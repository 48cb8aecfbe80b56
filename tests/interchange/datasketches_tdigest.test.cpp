#include <qsketch/interchange/datasketches_tdigest.hpp>

#include "support/catch.hpp"
#include "support/images.hpp"

#include <qsketch/detail/bytes.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace datasketches = qsketch::datasketches;
using digest = qsketch::tdigest<>;
using interchange_test::bytes;
using interchange_test::image;
using interchange_test::numbers;
using interchange_test::told;

namespace {

digest read_image(std::span<const std::byte> from) { return datasketches::deserialize_tdigest(from); }
digest read_floats(std::span<const std::byte> from) { return datasketches::deserialize_tdigest<float>(from); }

template <class T>
void put(bytes& image, std::size_t at, T value) {
    std::memcpy(image.data() + at, &value, sizeof value);
}

} // namespace

TEST_CASE("digests of few values are read as they were told") {
    CHECK(read_image(image("datasketches_tdigest_empty")) == digest(100));
    CHECK(read_image(image("datasketches_tdigest_single")) == told(numbers(1)));
    CHECK(read_floats(image("datasketches_tdigest_float_single")) == told(numbers(1)));
    CHECK(read_image(image("datasketches_tdigest_buffer")) == told(numbers(10)));
}

TEST_CASE("digests of many values are read with their centroids and their buffer") {
    struct example {
        const char* name;
        std::size_t count;
    };
    for (const auto& [name, count] : {example{"datasketches_tdigest", 1000},
                                      {"datasketches_tdigest_float", 1000},
                                      {"datasketches_tdigest_large_buffer", 100'000},
                                      {"datasketches_tdigest_float_buffer", 100'000}}) {
        CAPTURE(name);
        const bool floats = std::string(name).find("float") != std::string::npos;
        const digest from = floats ? read_floats(image(name)) : read_image(image(name));
        CHECK_THROWS_AS(floats ? read_image(image(name)) : read_floats(image(name)), qsketch::format_error);
        const digest truth = told(numbers(count));
        CHECK(from.compression() == (count == 1000 ? 50 : 100));
        CHECK(from.count() == count);
        CHECK(from.min() == truth.min());
        CHECK(from.max() == truth.max());
        CHECK(std::abs(from.sum() / truth.sum() - 1) < 1e-6);
        CHECK(interchange_test::largest_rank_error(from, numbers(count)) < 0.02);
    }
}

TEST_CASE("what is written has the layout of DataSketches and our centroids") {
    for (const std::size_t count : {0u, 1u, 2u, 100u, 100'000u}) {
        const digest from = told(numbers(count), 33.6);
        const bytes written = datasketches::serialize(from);
        qsketch::detail::byte_reader in(written, "written");
        CHECK(in.take<std::uint8_t>() == (count < 2 ? 1 : 2));
        CHECK(in.take<std::uint8_t>() == 1);
        CHECK(in.take<std::uint8_t>() == 20);
        CHECK(in.take<std::uint16_t>() == 34);
        CHECK(in.take<std::uint8_t>() == (count == 0 ? 1 : count == 1 ? 2 : 0));
        CHECK(in.take<std::uint16_t>() == 0);
        if (count == 1) CHECK(in.take_double() == from.min());
        if (count > 1) {
            CHECK(in.take<std::uint32_t>() == from.centroids().size());
            CHECK(in.take<std::uint32_t>() == 0);
            CHECK(in.take_double() == from.min());
            CHECK(in.take_double() == from.max());
            for (const auto& centroid : from.centroids()) {
                CHECK(in.take_double() == centroid.mean);
                CHECK(in.take<std::uint64_t>() == centroid.weight);
            }
        }
        CHECK(in.remaining() == 0);

        const digest back = read_image(written);
        CHECK(back.count() == from.count());
        CHECK(back.empty() == from.empty());
        if (count == 0) continue;
        CHECK(back.min() == from.min());
        CHECK(back.max() == from.max());
        for (double q = 0; q <= 1; q += 1.0 / 64)
            CHECK(std::abs(back.cdf(from.quantile(q)) - from.cdf(from.quantile(q))) < 0.03);
        CHECK(datasketches::serialize(back) == written);
    }
    bytes single = image("datasketches_tdigest_single");
    single[5] &= std::byte{3}; // less the flag that is internal to DataSketches
    CHECK(datasketches::serialize(told(numbers(1))) == single);
    CHECK(datasketches::serialize(digest()) == image("datasketches_tdigest_empty"));
}

TEST_CASE("equal values at an extreme stay equal values") {
    std::vector<double> values(1000, 0.0);
    for (int i = 1; i <= 5000; ++i) values.push_back(i);
    values.insert(values.end(), 1000, 5000.0);
    const digest back = read_image(datasketches::serialize(told(values)));
    CHECK(back.quantile(1000.0 / 7000) == 0);
    CHECK(back.cdf(0) == 1000.0 / 7000);
    CHECK(back.quantile(6001.0 / 7000) == 5000);
    CHECK(back.centroids().front() == digest::centroid{0, 1000, true});
    CHECK(back.centroids().back().exact);
    CHECK_FALSE(back.centroids()[back.centroids().size() / 2].exact);
    const digest same = read_image(datasketches::serialize(told(std::vector<double>(500, -2.5))));
    for (const double q : {0.0, 0.3, 1.0}) CHECK(same.quantile(q) == -2.5);
}

TEST_CASE("damaged images are refused, or read as what they now say") {
    const auto damage = [](const char* name, const auto& read_it) {
        CAPTURE(name);
        interchange_test::read_damaged(image(name), read_it, support::require_rising_quantiles<digest>);
        bytes longer = image(name);
        longer.push_back(std::byte{0});
        CHECK_THROWS_AS(read_it(longer), qsketch::format_error);
    };
    damage("datasketches_tdigest_empty", read_image);
    damage("datasketches_tdigest_single", read_image);
    damage("datasketches_tdigest_buffer", read_image);
    damage("datasketches_tdigest_float_single", read_floats);
    damage("datasketches_tdigest_float_buffer", read_floats);
}

TEST_CASE("images that make no sense are refused") {
    const bytes good = image("datasketches_tdigest_float_buffer");
    CHECK_NOTHROW(read_floats(good));
    const auto refused_with = [&](const char* what, std::size_t at, auto value) {
        bytes bad = good;
        put(bad, at, value);
        CHECK_THROWS_WITH(read_floats(bad), Catch::Matchers::Contains(what));
    };
    refused_with("unknown version", 1, std::uint8_t{2});
    refused_with("another sketch", 2, std::uint8_t{21});
    refused_with("k below 10", 3, std::uint16_t{9});
    refused_with("unknown flags", 5, std::uint8_t{8});
    refused_with("unknown flags", 5, std::uint8_t{3});
    refused_with("unknown flags", 6, std::uint8_t{1});
    refused_with("preamble", 0, std::uint8_t{1});
    refused_with("preamble", 5, std::uint8_t{1});
    refused_with("size that it announces", 8, std::uint32_t{0xffff'ffff});
    refused_with("size that it announces", 12, std::uint32_t{0xffff'ffff});
    refused_with("minimum and a maximum", 16, std::numeric_limits<float>::quiet_NaN());
    refused_with("minimum and a maximum", 20, -1.0f);
    refused_with("below its minimum", 24, -1.0f);
    refused_with("below its minimum", 24, std::numeric_limits<float>::quiet_NaN());
    refused_with("do not ascend", 24, 24'000.0f);
    refused_with("a weight of 0", 28, std::uint32_t{0});
    refused_with("value below its minimum", good.size() - 4, 30'000.0f);
    refused_with("value below its minimum", good.size() - 4, std::numeric_limits<float>::quiet_NaN());

    // 12 501 centroids, and none though there ought to be some.
    bytes many = datasketches::serialize(told(numbers(2)));
    put(many, 8, std::uint32_t{12'501});
    many.resize(32 + 12'501 * 16);
    CHECK_THROWS_WITH(read_image(many), Catch::Matchers::Contains("12500"));
    put(many, 8, std::uint32_t{0});
    many.resize(32);
    CHECK_THROWS_WITH(read_image(many), Catch::Matchers::Contains("no values"));

    // One value, in a centroid or in the buffer, which has an image of its own.
    bytes one = datasketches::serialize(told(numbers(2)));
    put(one, 8, std::uint32_t{1});
    one.resize(32 + 16);
    CHECK_THROWS_WITH(read_image(one), Catch::Matchers::Contains("one value"));
    put(one, 8, std::uint32_t{0});
    put(one, 12, std::uint32_t{1});
    one.resize(32 + 8);
    CHECK_THROWS_WITH(read_image(one), Catch::Matchers::Contains("one value"));

    // More than 2^53 values: in centroids, and with those of the buffer.
    bytes heavy = datasketches::serialize(told(numbers(2)));
    put(heavy, 40, std::uint64_t{1} << 53);
    CHECK_THROWS_WITH(read_image(heavy), Catch::Matchers::Contains("2^53"));
    put(heavy, 40, (std::uint64_t{1} << 53) - 1);
    CHECK(read_image(heavy).count() == digest::max_count);
    put(heavy, 12, std::uint32_t{1});
    heavy.resize(heavy.size() + 8);
    put(heavy, heavy.size() - 8, numbers(1)[0]);
    CHECK_THROWS_AS(read_image(heavy), qsketch::format_error);
}

TEST_CASE("the compression is k, as far as a digest can have it") {
    bytes written = datasketches::serialize(told(numbers(3)));
    for (const std::uint16_t k :
         {std::uint16_t{10}, std::uint16_t{777}, std::uint16_t{10'000}, std::uint16_t{65'535}}) {
        put(written, 3, k);
        CHECK(read_image(written).compression() == std::min(k, std::uint16_t{10'000}));
    }
    for (const double compression : {10.0, 10'000.0})
        CHECK(read_image(datasketches::serialize(digest(compression))).compression() == compression);
}

TEST_CASE("digests of thousands of centroids are read whole") {
    const digest from = told(numbers(100'000), 10'000);
    const auto centroids = from.centroids();
    REQUIRE(centroids.size() > 5000);
    const digest back = datasketches::deserialize_tdigest(datasketches::serialize(from));
    CHECK(back.count() == 100'000);
    CHECK(back.centroids().size() == centroids.size());
}
