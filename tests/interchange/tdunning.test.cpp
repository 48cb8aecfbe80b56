#include <qsketch/interchange/tdunning.hpp>

#include "support/catch.hpp"
#include "support/images.hpp"

#include <qsketch/detail/endian.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

using digest = qsketch::tdigest<>;
using interchange_test::bytes;
using interchange_test::image;
using interchange_test::numbers;
using interchange_test::told;

namespace {

digest read_image(std::span<const std::byte> from) { return qsketch::tdunning::deserialize(from); }

template <class T>
void put(bytes& image, std::size_t at, T value) {
    if constexpr (std::same_as<T, double>) {
        put(image, at, std::bit_cast<std::uint64_t>(value));
    } else if constexpr (std::same_as<T, float>) {
        put(image, at, std::bit_cast<std::uint32_t>(value));
    } else {
        for (std::size_t i = 0; i < sizeof value; ++i)
            image[at + i] = std::byte(static_cast<unsigned char>(value >> (8 * (sizeof value - 1 - i))));
    }
}

} // namespace

TEST_CASE("empty and single ones are read as they were told") {
    for (const std::string encoding : {"verbose", "small"}) {
        CHECK(read_image(image("tdunning_" + encoding + "_0")) == digest(30));
        const digest one = read_image(image("tdunning_" + encoding + "_1"));
        CHECK(one == told(numbers(1, 0.1), 30));
    }
}

TEST_CASE("digests of many values are read in both encodings") {
    for (const std::string encoding : {"verbose", "small"})
        for (const std::size_t count : {std::size_t{1000}, std::size_t{100'000}}) {
            CAPTURE(encoding, count);
            const digest from = read_image(image("tdunning_" + encoding + "_" + std::to_string(count)));
            const digest truth = told(numbers(count, 0.1), 30);
            CHECK(from.compression() == 30);
            CHECK(from.count() == count);
            CHECK(from.min() == truth.min());
            CHECK(from.max() == truth.max());
            CHECK(std::abs(from.sum() / truth.sum() - 1) < 1e-6);
            CHECK(interchange_test::largest_rank_error(from, numbers(count, 0.1)) < 0.02);
        }
}

TEST_CASE("published images are read") {
    std::vector<double> values(10'000);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
    for (const char* name : {"tdunning_verbose_published", "tdunning_small_published"}) {
        const digest from = read_image(image(name));
        CHECK(from.compression() == 100);
        CHECK(from.count() == 10'000);
        CHECK(from.min() == 0);
        CHECK(from.max() == 9999);
        CHECK(interchange_test::largest_rank_error(from, values) < 0.0005);
    }
}

TEST_CASE("images of AVLTreeDigest are refused") {
    CHECK_THROWS_WITH(read_image(image("tdunning_avl_verbose")), Catch::Matchers::Contains("size that it announces"));
    CHECK_THROWS_AS(read_image(image("tdunning_avl_small")), qsketch::format_error);
}

TEST_CASE("damaged images are refused, or read as what they now say") {
    for (const char* name :
         {"tdunning_verbose_1", "tdunning_small_1", "tdunning_verbose_1000", "tdunning_small_1000"}) {
        CAPTURE(name);
        interchange_test::read_damaged(image(name), read_image, support::require_rising_quantiles<digest>);
        bytes longer = image(name);
        longer.push_back(std::byte{0});
        CHECK_THROWS_AS(read_image(longer), qsketch::format_error);
    }
}

TEST_CASE("images that make no sense are refused") {
    const bytes good = image("tdunning_verbose_1000");
    const auto refused_with = [&](const char* what, std::size_t at, auto value) {
        bytes bad = good;
        put(bad, at, value);
        CHECK_THROWS_WITH(read_image(bad), Catch::Matchers::Contains(what));
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    refused_with("encoding", 0, std::uint32_t{3});
    refused_with("minimum and a maximum", 4, nan);
    refused_with("minimum and a maximum", 12, -1.0);
    refused_with("compression", 20, 0.0);
    refused_with("compression", 20, nan);
    refused_with("size that it announces", 28, std::uint32_t{0x1000'0000});
    refused_with("weight below 1", 32, 0.5);
    refused_with("weight below 1", 32, nan);
    refused_with("not whole", 32, 1.5);
    refused_with("2^53", 32, 0x1p53);
    refused_with("2^53", 32, 0x1p54);
    refused_with("below its minimum", 40, -1.0);
    refused_with("below its minimum", 40, nan);
    refused_with("do not ascend", 40, 20'000.0);
    bytes one = image("tdunning_verbose_1");
    put(one, 12, 25'000.0);
    CHECK_THROWS_WITH(read_image(one), Catch::Matchers::Contains("one value"));
    bytes many = good;
    put(many, 28, std::uint32_t{12'501});
    many.resize(32 + 12'501 * 16);
    CHECK_THROWS_WITH(read_image(many), Catch::Matchers::Contains("12500"));
}

TEST_CASE("compressions are brought into the range of ours") {
    bytes changed = image("tdunning_verbose_1000");
    for (const double compression : {0.5, 10.0, 77.7, 10'000.0, 1e300}) {
        put(changed, 20, compression);
        CHECK(read_image(changed).compression() == std::min(std::max(compression, 10.0), 10'000.0));
    }
}

TEST_CASE("a mean of single precision may lie outside of the extremes only by its rounding") {
    bytes changed = image("tdunning_small_1");
    put(changed, 4, 0.1);
    put(changed, 12, 0.1);
    put(changed, 34, 0.1f); // more than 0.1
    CHECK(read_image(changed).quantile(0.5) == 0.1);
    put(changed, 34, std::nextafter(0.1f, 1.0f));
    CHECK_THROWS_AS(read_image(changed), qsketch::format_error);
    put(changed, 30, 2.0f); // two values, which may have two extremes
    put(changed, 4, 0.3);
    put(changed, 12, 0.4);
    put(changed, 34, 0.3f);
    CHECK(read_image(changed).min() == 0.3);
    put(changed, 4, 0.7);
    put(changed, 12, 0.8);
    put(changed, 34, 0.7f); // less than 0.7
    CHECK(read_image(changed).quantile(0.5) == 0.7);
    put(changed, 4, -1e300);
    put(changed, 12, 1e300);
    CHECK(read_image(changed).max() == 1e300);
    put(changed, 34, std::numeric_limits<float>::infinity());
    CHECK_THROWS_AS(read_image(changed), qsketch::format_error);
    put(changed, 12, std::numeric_limits<double>::infinity());
    CHECK_THROWS_AS(read_image(changed), qsketch::format_error);
}
