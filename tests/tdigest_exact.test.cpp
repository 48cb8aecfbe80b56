#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

// Sentences that name a project and a number retell a fault reported there.

using qsketch::tdigest;
using limits = std::numeric_limits<double>;

namespace {

tdigest<> digest_of(std::span<const double> values) {
    tdigest<> digest;
    digest.add(values);
    return digest;
}

support::exact_quantiles exact_of(std::span<const double> values) {
    support::exact_quantiles exact;
    exact.add(values);
    return exact;
}

std::vector<double> lognormal(std::size_t n, std::uint64_t seed) {
    return support::values_of(support::distributions[3], n, seed);
}

/// The exact answers at every k / n and in between, and at every value and just below it. 0.07 * 100 is more than 7 in
/// doubles: the 7th of 100 values it must be all the same.
void check_exact(const tdigest<>& digest, std::span<const double> values) {
    const auto exact = exact_of(values);
    const double n = static_cast<double>(values.size());
    for (std::size_t k = 1; k <= values.size(); ++k) {
        const double truth = exact.values()[k - 1];
        CAPTURE(k, values.size());
        REQUIRE(digest.quantile(static_cast<double>(k) / n) == truth);
        REQUIRE(digest.quantile((static_cast<double>(k) - 0.5) / n) == truth);
        REQUIRE(digest.cdf(truth) == exact.cdf(truth));
        const double below = std::nextafter(truth, -limits::max());
        REQUIRE(digest.cdf(below) == exact.cdf(below));
    }
    REQUIRE(digest.quantile(0) == exact.values().front());
}

} // namespace

TEST_CASE("few values are answered exactly (go-tdigest 12, ClickHouse 22408)") {
    const std::vector<double> go{0, 279, 2, 281};
    check_exact(digest_of(go), go);
    CHECK(digest_of(go).quantile(0.25) == 0);
    std::vector<double> clickhouse{9000, 9000};
    clickhouse.insert(clickhouse.end(), 11, 3000.0);
    clickhouse.insert(clickhouse.end(), 26, 1000.0);
    check_exact(digest_of(clickhouse), clickhouse);
    CHECK(digest_of(clickhouse).quantile(0.9) == 3000);
    CHECK(digest_of(clickhouse).quantile(0.95) == 9000);
    std::vector<double> outlier{1e6};
    for (int i = 1; i < 20; ++i) outlier.push_back(i);
    check_exact(digest_of(outlier), outlier);
    CHECK(digest_of(outlier).quantile(0.95) == 19);
}

TEST_CASE("up to five times the compression of distinct values are answered exactly in memory") {
    for (const std::size_t n : {2u, 3u, 10u, 100u, 125u, 126u, 499u, 500u}) {
        CAPTURE(n);
        auto values = lognormal(n, n);
        auto digest = digest_of(values);
        check_exact(digest, values);
        digest.flush();
        check_exact(digest, values);
    }
}

TEST_CASE("up to 1.25 times the compression of distinct values stay exact however many values there are") {
    support::random_bits random(5);
    std::vector<double> values(20000);
    for (double& x : values) x = std::sqrt(static_cast<double>(random.below(125)));
    const auto exact = exact_of(values);
    const auto digest = tdigest<>::deserialize(digest_of(values).serialize());
    for (int i = 0; i <= 1000; ++i) REQUIRE(digest.quantile(i / 1000.0) == exact.quantile(i / 1000.0));
    for (const double x : values) REQUIRE(digest.cdf(x) == exact.cdf(x));
}

TEST_CASE("two spikes have nothing between them (phadej/tdigest 48, t-digest 89)") {
    for (const double compression : {10.0, 100.0, 1000.0}) {
        tdigest<> digest(compression);
        for (int i = 0; i < 30000; ++i) digest.add(i % 3 == 0 ? 7e8 : -0.001);
        digest = tdigest<>::deserialize(digest.serialize());
        for (int i = 1; i < 3000; ++i) REQUIRE(digest.quantile(i / 3000.0) == (i <= 2000 ? -0.001 : 7e8));
        CHECK(std::fabs(digest.cdf(0) - 2.0 / 3) < 1e-15);
    }
}

TEST_CASE("a value that holds nearly all of the data stays exact among many others") {
    support::random_bits random(11);
    std::vector<double> values(200000);
    for (double& x : values) x = random.below(1000) < 995 ? 0.0 : support::normal(random);
    const auto exact = exact_of(values);
    const double below = exact.cdf(-limits::denorm_min());
    const auto digest = tdigest<>::deserialize(digest_of(values).serialize());
    CHECK(std::fabs(digest.cdf(0) - exact.cdf(0)) < 1e-4);
    CHECK(std::fabs(digest.cdf(-limits::denorm_min()) - below) < 1e-4);
    for (int i = 10; i < 990; ++i) REQUIRE(digest.quantile(i / 1000.0) == 0);
    CHECK(digest.quantile(0.999) > 0);
    CHECK(digest.quantile(0.001) < 0);
}

TEST_CASE("values as heavy as a cell is wide stay exact, wherever they lie") {
    support::random_bits random(12);
    std::vector<double> values(200000);
    for (double& x : values) {
        const std::uint64_t atom = random.below(22); // 4.5 % each; the widest cells have 3.2 %
        x = atom < 20 ? static_cast<double>(atom + 1) : 21 * random.unit();
    }
    const auto exact = exact_of(values);
    const auto digest = tdigest<>::deserialize(digest_of(values).serialize());
    for (int atom = 1; atom <= 20; ++atom) {
        const double upper = exact.cdf(atom);
        const double lower = exact.cdf(std::nextafter(atom, 0.0));
        CAPTURE(atom);
        CHECK(digest.quantile((lower + upper) / 2) == atom);
        CHECK(std::fabs(digest.cdf(atom) - upper) < 1e-3);
        CHECK(std::fabs(digest.cdf(std::nextafter(atom, 0.0)) - lower) < 1e-3);
    }
}

TEST_CASE("equal values are one centroid") {
    tdigest<> digest;
    for (int i = 0; i < 100000; ++i) digest.add(0.1);
    CHECK(digest.centroids() == std::vector<tdigest<>::centroid>{{0.1, 100000, true}});
    for (const double q : {0.0, 1e-300, 0.5, 1.0}) CHECK(digest.quantile(q) == 0.1);
}
