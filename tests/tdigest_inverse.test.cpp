#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

using qsketch::tdigest;
using limits = std::numeric_limits<double>;

namespace {

tdigest<> digest_of(std::span<const double> values) {
    tdigest<> digest;
    digest.add(values);
    digest.flush();
    return digest;
}

tdigest<> reread(const tdigest<>& digest) { return tdigest<>::deserialize(digest.serialize()); }

/// Digests of each distribution, at the size kept in memory and at the size of the bytes.
template <class Check>
void for_each_shape(const Check& check) {
    for (const auto& d : support::distributions) {
        CAPTURE(d.name);
        const auto digest = digest_of(support::values_of(d, 30000, 3));
        // A spike a millionth wide at 1: its values are doubles that leave gaps of 1e-10 in rank between them.
        const double tolerance = std::string_view(d.name) == "spike and hump" ? 1e-8 : 1e-12;
        check(digest, tolerance);
        check(reread(digest), tolerance);
    }
}

/// Where single steps of q could go down: everywhere, and hair by hair around the ends of the centroids.
void check_monotone(const tdigest<>& digest) {
    double before = digest.min();
    for (int i = 0; i <= 20000; ++i) {
        const double x = digest.quantile(i / 20000.0);
        REQUIRE(x >= before);
        before = x;
    }
    CHECK(before == digest.max());
    std::uint64_t rank = 0;
    for (const auto& c : digest.centroids()) {
        rank += c.weight;
        double q = static_cast<double>(rank) / static_cast<double>(digest.count()) * (1 - 20 * limits::epsilon());
        before = digest.min();
        for (int i = 0; i < 40 && q <= 1; ++i, q = std::nextafter(q, 2)) {
            const double x = digest.quantile(q);
            REQUIRE(x >= before);
            before = x;
        }
    }
    double share = 0;
    for (int i = -10; i <= 20010; ++i) {
        const double next = digest.cdf(digest.min() + (digest.max() / 20000 - digest.min() / 20000) * i);
        REQUIRE(next >= share);
        REQUIRE(next <= 1);
        share = next;
    }
    CHECK(share == 1);
}

} // namespace

TEST_CASE("the order of arrival hardly matters, however regular (RedisBloom/t-digest-c 45)") {
    const std::size_t n = 100000;
    const auto by = [&](auto&& position) {
        std::vector<double> values(n);
        for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<double>(position(i)) + 0.5;
        return values;
    };
    const std::vector<std::vector<double>> orders{
        by([](std::size_t i) { return i; }),                                              // sorted
        by([](std::size_t i) { return n - 1 - i; }),                                      // reversed
        by([](std::size_t i) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }),             // outside in
        by([](std::size_t i) { return i % 2 == 0 ? n / 2 + i / 2 : n / 2 - 1 - i / 2; }), // inside out
        by([](std::size_t i) { return i < n / 2 ? 2 * i : 2 * (n - 1 - i) + 1; }),        // organ pipe
        by([](std::size_t i) { return i % 100 * (n / 100) + i / 100; }),                  // sawtooth
    };
    for (std::size_t o = 0; o < orders.size(); ++o) {
        CAPTURE(o);
        const auto digest = reread(digest_of(orders[o]));
        for (int i = 0; i <= 1000; ++i) {
            const double q = i / 1000.0;
            const double tolerance = 1e-5 + (o < 5 ? 2e-3 : 2e-2) * (std::min)(q, 1 - q);
            CAPTURE(q);
            REQUIRE(std::fabs(digest.quantile(q) / static_cast<double>(n) - q) <= tolerance);
        }
    }
}

TEST_CASE("quantile and cdf never go down (t-digest 113)") {
    for_each_shape([](const tdigest<>& digest, double) { check_monotone(digest); });
}

TEST_CASE("quantile is the smallest value whose cdf reaches q") {
    for_each_shape([](const tdigest<>& digest, double tolerance) {
        for (int i = 1; i < 5000; ++i) {
            const double q = i / 5000.0;
            const double x = digest.quantile(q);
            CAPTURE(q, x);
            REQUIRE(digest.cdf(x) >= q - tolerance);
            if (x > digest.min()) REQUIRE(digest.cdf(std::nextafter(x, digest.min())) <= q + tolerance);
        }
    });
}

TEST_CASE("quantile undoes cdf, up to values that share a rank") {
    for_each_shape([](const tdigest<>& digest, double tolerance) {
        for (int i = 1; i < 5000; ++i) {
            const double x = digest.min() + (digest.max() - digest.min()) * std::pow(i / 5000.0, 6);
            const double q = digest.cdf(x);
            CAPTURE(q, x);
            REQUIRE(digest.quantile(q) <= x + 1e-12 * std::fabs(x));
            REQUIRE(std::fabs(digest.cdf(digest.quantile(q)) - q) <= tolerance);
        }
    });
}

TEST_CASE("answers scale with the values, up to the ends of the double range") {
    const auto values = support::values_of(support::distributions[0], 20000, 1);
    const auto plain = digest_of(values);
    for (const int exponent : {-900, -600, -500, 500, 600, 950, 1010, 1023}) {
        CAPTURE(exponent);
        auto scaled = values;
        for (double& x : scaled) x = std::ldexp(x, exponent);
        const auto digest = digest_of(scaled);
        for (int i = 1; i < 100; ++i) {
            const double x = std::ldexp(plain.quantile(i / 100.0), exponent);
            CAPTURE(i);
            REQUIRE(std::fabs(digest.quantile(i / 100.0) - x) <= 1e-12 * x);
            REQUIRE(std::fabs(digest.cdf(x) - plain.cdf(plain.quantile(i / 100.0))) <= 1e-9);
        }
    }
}

TEST_CASE("the largest and the smallest doubles neither overflow nor vanish (datasketches-java 702, 742)") {
    for (const double size : {limits::max(), limits::denorm_min(), limits::min()}) {
        CAPTURE(size);
        tdigest<> digest;
        for (int i = 0; i < 30000; ++i) digest.add(i % 2 == 0 ? size : -size);
        digest = reread(digest);
        CHECK(digest.min() == -size);
        CHECK(digest.max() == size);
        CHECK(digest.quantile(0.5) == -size);
        CHECK(digest.quantile(0.50001) == size);
        CHECK(digest.cdf(0) == 0.5);
    }
    support::random_bits random(17);
    std::vector<double> values(30000);
    for (double& x : values) x = limits::max() * (2 * random.unit() - 1); // sums of them overflow
    const auto digest = digest_of(values);
    std::sort(values.begin(), values.end());
    for (const auto& d : {digest, reread(digest)})
        for (int i = 1; i < 100; ++i) {
            const double x = d.quantile(i / 100.0);
            CAPTURE(i, x);
            REQUIRE(support::rank_error(values, i / 100.0, x) <= 2e-3);
            REQUIRE(d.cdf(x) >= i / 100.0 - 1e-12);
            REQUIRE(d.cdf(std::nextafter(x, -limits::max())) <= i / 100.0 + 1e-12);
        }
    for (double& x : values) x = std::floor((random.unit() - 0.5) * 10000) * limits::denorm_min();
    const auto tiny = reread(digest_of(values));
    std::sort(values.begin(), values.end());
    for (int i = 1; i < 100; ++i) REQUIRE(support::rank_error(values, i / 100.0, tiny.quantile(i / 100.0)) <= 2e-3);
}

TEST_CASE("sums beyond the double range stay at its end") {
    tdigest<> digest;
    for (int i = 0; i < 64; ++i) digest.add(limits::max());
    CHECK(digest.sum() == limits::max());
    CHECK(reread(digest) == digest);
    digest.clear();
    for (int i = 0; i < 64; ++i) digest.add(i % 2 == 0 ? limits::max() : -limits::max());
    CHECK(digest.sum() == 0);
    CHECK(reread(digest) == digest);
    digest.clear();
    digest.add(-limits::max(), 5);
    digest.merge(digest);
    CHECK(digest.sum() == -limits::max());
    CHECK(reread(digest) == digest);
}

TEST_CASE("negative zero is zero") {
    tdigest<> digest;
    for (const double x : {-0.0, 0.0, -0.0}) digest.add(x);
    digest.add(-0.0, 2);
    CHECK(digest.centroids() == std::vector<tdigest<>::centroid>{{0.0, 5, true}});
    CHECK_FALSE(std::signbit(digest.min()));
    CHECK_FALSE(std::signbit(digest.max()));
    CHECK_FALSE(std::signbit(digest.quantile(0.5)));
    tdigest<> positive;
    positive.add(0.0, 5);
    CHECK(digest.serialize() == positive.serialize());
}
