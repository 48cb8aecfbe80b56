#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <qsketch/log_histogram.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

using qsketch::log_histogram;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

log_histogram<> of(const std::vector<double>& values, std::size_t max_buckets = 4096) {
    log_histogram<> h(0.01, max_buckets);
    h.add(values);
    return h;
}

} // namespace

TEST_CASE("parameters choose the scale") {
    CHECK(log_histogram<>().scale() == 6);
    CHECK(log_histogram<>().max_buckets() == 4096);
    CHECK(log_histogram<>(0.5).scale() == 0);
    CHECK(log_histogram<>(0.33).scale() == 1);
    CHECK(log_histogram<>(0.0005).scale() == 10);
    for (const double e : {0.0005, 0.003, 0.01, 0.05, 0.5}) {
        CHECK(log_histogram<>(e).relative_error() <= e + 0x1p-50);
        if (e > 0.001)
            CHECK(log_histogram<>(log_histogram<>(e).relative_error()).scale() == log_histogram<>(e).scale());
    }
    for (const double e : {0.0, 0.00049, 0.51, -1.0, infinity, not_a_number})
        CHECK_THROWS_AS(log_histogram<>(e), std::invalid_argument);
    for (const std::size_t n : {0u, 63u, 65537u}) CHECK_THROWS_AS(log_histogram<>(0.01, n), std::invalid_argument);
    CHECK(log_histogram<>(0.01, 64).compatible(log_histogram<>(0.008, 64)));
    CHECK_FALSE(log_histogram<>(0.01, 64).compatible(log_histogram<>(0.005, 64)));
}

TEST_CASE("an empty histogram has no answers") {
    log_histogram<> h;
    CHECK(h.empty());
    CHECK(std::isnan(h.quantile(0.5)));
    CHECK(std::isnan(h.cdf(0)));
    CHECK(std::isnan(h.min()));
    CHECK(std::isnan(h.max()));
    CHECK(h.sum_estimate() == 0);
    CHECK(h.buckets().empty());
    CHECK(h.memory_bytes() == sizeof h);
    h.add(std::span<const double>{});
    CHECK(h == log_histogram<>());
}

TEST_CASE("single values, zeros and the ends are exact") {
    const auto one = of({42.5});
    CHECK(one.quantile(0.3) == 42.5);
    CHECK(one.cdf(42.5) == 1);
    CHECK(one.cdf(42.4) == 0);
    CHECK(one.sum_estimate() == 42.5);
    const auto signs = of({-5, -0.0, 0, 0, 7});
    CHECK(signs.quantile(0) == -5);
    CHECK(std::abs(signs.quantile(0.2) + 5) <= 5 * signs.relative_error());
    CHECK(signs.quantile(0.4) == 0);
    CHECK_FALSE(std::signbit(signs.quantile(0.4)));
    CHECK(signs.quantile(0.8) == 0);
    CHECK(signs.quantile(1) == 7);
    CHECK(std::abs(signs.quantile(0.81) - 7) <= 7 * signs.relative_error());
    CHECK(signs.cdf(-1) == 0.2);
    CHECK(signs.cdf(0) == 0.8);
    CHECK(signs.cdf(-1e-300) == 0.2);
    CHECK(signs.cdf(infinity) == 1);
    CHECK(signs.cdf(-infinity) == 0);
    CHECK(std::isnan(signs.cdf(not_a_number)));
    CHECK_FALSE(std::signbit(of({-0.0}).min()));
    CHECK(of({-0.0}) == of({0.0}));
}

TEST_CASE("quantile and cdf undo each other") {
    for (const auto& d : support::distributions) {
        auto values = support::values_of(d, 3000, 2);
        for (std::size_t i = 0; i < 200; ++i) values[i] = i % 3 == 0 ? 0.0 : -values[i];
        const auto h = of(values);
        CAPTURE(d.name);
        double before = h.min();
        for (int i = 1; i < 1000; ++i) {
            const double q = i / 1000.0;
            const double x = h.quantile(q);
            CHECK(before <= x);
            CHECK(h.cdf(x) >= q);
            if (x > h.min()) CHECK(h.cdf(std::nextafter(x, -infinity)) < q);
            before = x;
        }
    }
}

TEST_CASE("quantiles answers all or none") {
    const auto h = of({1, 2, 3, 4});
    const std::array qs{0.0, 0.5, 1.0};
    std::array<double, 3> answers{};
    h.quantiles(qs, answers);
    for (std::size_t i = 0; i < 3; ++i) CHECK(answers[i] == h.quantile(qs[i]));
    const auto before = answers;
    CHECK_THROWS_AS(h.quantiles(std::array{0.5, 0.5, 1.1}, answers), std::invalid_argument);
    CHECK_THROWS_AS(h.quantiles(std::array{0.5}, answers), std::invalid_argument);
    CHECK(answers == before);
    log_histogram<>().quantiles(qs, answers);
    for (const double x : answers) CHECK(std::isnan(x));
    for (const double q : {-0.1, 1.1, not_a_number}) CHECK_THROWS_AS(h.quantile(q), std::invalid_argument);
}

TEST_CASE("values that are not finite are refused, batches as a whole") {
    auto h = of({1, -2, 3});
    const auto before = h;
    for (const double bad : {infinity, -infinity, not_a_number, -not_a_number}) {
        CHECK_THROWS_AS(h.add(bad), std::invalid_argument);
        CHECK_THROWS_AS(h.add(bad, 2), std::invalid_argument);
        for (std::size_t at = 0; at < 5; ++at) {
            std::vector<double> batch = {1e-9, 2, -3e9, 0, 5};
            batch[at] = bad;
            CHECK_THROWS_AS(h.add(batch), std::invalid_argument);
        }
        CHECK(h == before);
    }
    CHECK_THROWS_AS(h.add(1, 0), std::invalid_argument);
    CHECK(h == before);
}

TEST_CASE("a weight is as many adds") {
    log_histogram<> weighted;
    log_histogram<> single;
    for (const double x : {-3.5, 0.0, 1e-320, 7.0, 1e5}) {
        weighted.add(x, 5);
        for (int i = 0; i < 5; ++i) single.add(x);
    }
    CHECK(weighted == single);
}

TEST_CASE("counts end at max_count, and what would pass it changes nothing") {
    CHECK(log_histogram<>::max_count == std::uint64_t{1} << 53);
    CHECK(log_histogram<std::uint16_t>::max_count == 65535);
    log_histogram<> full;
    full.add(3, full.max_count - 1);
    full.add(4);
    const auto before = full;
    CHECK_THROWS_AS(full.add(0.0), std::invalid_argument);
    CHECK_THROWS_AS(full.add(std::vector{3.0}), std::invalid_argument);
    CHECK_THROWS_AS(full.add(1, ~std::uint64_t{0}), std::invalid_argument);
    CHECK_THROWS_AS(full.merge(of({1})), qsketch::incompatible_error);
    CHECK_THROWS_AS(full.merge(full), qsketch::incompatible_error);
    CHECK(full == before);
    CHECK(log_histogram<>::deserialize(full.serialize()) == full);
    log_histogram<std::uint16_t> small;
    small.add(-2, 65535);
    CHECK_THROWS_AS(small.add(1.0), std::invalid_argument);
    CHECK(small.count() == 65535);
}

TEST_CASE("what was merged can be subtracted") {
    const auto a = support::values_of(support::distributions[3], 3000, 1);
    auto b = support::values_of(support::distributions[1], 2000, 2);
    b.push_back(0);
    const auto first = of(a);
    const auto second = of(b);
    auto both = first;
    both.merge(second);
    both.subtract(second);
    CHECK(both.buckets() == first.buckets());
    CHECK(both.count() == first.count());
    CHECK(both.scale() == first.scale());
    CHECK(both.min() <= first.min());
    CHECK(both.min() > first.min() * (1 - 2.1 * first.relative_error()));
    CHECK(both.max() == first.max());
    for (double q = 0.01; q < 1; q += 0.01) CHECK(both.quantile(q) == first.quantile(q));
    CHECK(log_histogram<>::deserialize(both.serialize()) == both);
    both.subtract(first);
    CHECK(both == log_histogram<>());
    auto self = second;
    self.subtract(self);
    CHECK(self == log_histogram<>());
}

TEST_CASE("what is left after subtracting keeps within its bounds") {
    auto h = of({-8, -3, 0, 2, 9});
    h.subtract(of({-8, 9}));
    CHECK(h.min() >= -3 * 1.011);
    CHECK(h.min() <= -3);
    CHECK(h.max() >= 2);
    CHECK(h.max() <= 2 * 1.011);
    h.subtract(of({-3}));
    CHECK(h.min() == 0);
    h.subtract(of({2}));
    CHECK(h.max() == 0);
    auto negative = of({-8, -3, 5});
    negative.subtract(of({5}));
    CHECK(negative.max() >= -3);
    CHECK(negative.max() < -3 * 0.98);
    CHECK(negative.min() == -8);
    CHECK(log_histogram<>::deserialize(negative.serialize()) == negative);
}

TEST_CASE("subtracting what is not there throws and changes nothing") {
    auto h = of({-8, -3, 0, 2, 9});
    const auto before = h;
    for (const auto& values : {std::vector<double>{2, 2}, {0, 0}, {3}, {8}, {-9, -8}, {1e300}, {-2}})
        CHECK_THROWS_AS(h.subtract(of(values)), qsketch::incompatible_error);
    CHECK_THROWS_AS(h.subtract(of({2}, 64)), qsketch::incompatible_error);
    CHECK(h == before);
}

TEST_CASE("joined buckets stay joined after subtracting, until nothing is left") {
    const auto narrow = of({1, 1.5, 1000}, 64);
    CHECK(narrow.scale() < 6);
    auto h = narrow;
    h.subtract(of({1000}, 64));
    CHECK(h.scale() == narrow.scale());
    auto finer = of({1, 1.5}, 64);
    CHECK(finer.scale() > h.scale());
    finer.subtract(h); // of another scale
    CHECK(finer == log_histogram<>(0.01, 64));
    h.subtract(of({1, 1.5}, 64));
    CHECK(h == log_histogram<>(0.01, 64));
}

TEST_CASE("buckets are listed in ascending order with their edges") {
    const auto h = of({-4, 0, 1, 1, 4.001}, 4096);
    const auto list = h.buckets();
    REQUIRE(list.size() == 4);
    CHECK(list[0].lower == -4);
    CHECK(list[0].upper > -4);
    CHECK(list[1] == log_histogram<>::bucket{0, 0, 1});
    CHECK(list[2].upper == 1);
    CHECK(list[2].count == 2);
    CHECK(list[3].lower == 4);
    CHECK(list[3].upper > 4.04);
}
