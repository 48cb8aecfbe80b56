#include <qsketch/interchange/clickhouse.hpp>

#include "support/catch.hpp"
#include "support/images.hpp"

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/varint.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

namespace clickhouse = qsketch::clickhouse;
using digest = qsketch::tdigest<>;
using interchange_test::bytes;
using interchange_test::numbers;
using interchange_test::told;

namespace {

struct centroid {
    float mean;
    float weight;
    friend bool operator==(const centroid&, const centroid&) = default;
};

std::vector<centroid> centroids_of(const bytes& state) {
    qsketch::detail::byte_reader in(state, "written");
    std::vector<centroid> centroids(qsketch::detail::take_varint(in));
    for (auto& c : centroids) {
        c.mean = std::bit_cast<float>(in.take<std::uint32_t>());
        c.weight = std::bit_cast<float>(in.take<std::uint32_t>());
    }
    in.expect_end();
    return centroids;
}

} // namespace

TEST_CASE("the state of a few values is the one that ClickHouse wrote") {
    CHECK(clickhouse::serialize(told({4, 2, 0, 1, 3})) == interchange_test::image("clickhouse_tdigest"));
    CHECK(clickhouse::serialize(digest()) == bytes{std::byte{0}});
}

TEST_CASE("centroids are written in single precision, and all that was counted is in them") {
    const digest from = told(numbers(100'000, 0.1));
    const auto written = centroids_of(clickhouse::serialize(from));
    double weight = 0;
    for (std::size_t i = 0; i < written.size(); ++i) {
        CHECK(written[i].weight >= 1);
        if (i > 0) CHECK(written[i].mean >= written[i - 1].mean);
        weight += static_cast<double>(written[i].weight);
    }
    CHECK(weight == 100'000);
    CHECK(written.front() == centroid{static_cast<float>(from.min()), 1});
    CHECK(written.back() == centroid{static_cast<float>(from.max()), 1});
    std::vector<centroid> expected;
    for (const auto& c : from.centroids())
        if (!c.exact) expected.push_back({static_cast<float>(c.mean), static_cast<float>(c.weight)});
    REQUIRE(expected.size() > 20);
    for (const auto& c : expected) CHECK(std::find(written.begin(), written.end(), c) != written.end());
}

TEST_CASE("equal values are three centroids, with single ones outside") {
    digest from;
    from.add(1.0);
    from.add(2.0, 2);
    from.add(3.0, 3);
    from.add(4.0, 1000);
    CHECK(centroids_of(clickhouse::serialize(from)) ==
          std::vector<centroid>{{1, 1}, {2, 1}, {2, 1}, {3, 1}, {3, 1}, {3, 1}, {4, 1}, {4, 998}, {4, 1}});
}

TEST_CASE("means beyond single precision are refused") {
    constexpr double most = std::numeric_limits<float>::max();
    CHECK_NOTHROW(clickhouse::serialize(told({-most, most})));
    CHECK_THROWS_AS(clickhouse::serialize(told({0, most * 1.1})), std::invalid_argument);
    CHECK_THROWS_AS(clickhouse::serialize(told({-1e300, 0})), std::invalid_argument);
}
