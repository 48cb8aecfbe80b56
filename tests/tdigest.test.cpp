#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

// Sentences that name a project and a number retell a fault reported there.

using qsketch::tdigest;
using limits = std::numeric_limits<double>;

namespace {

tdigest<> digest_of(std::span<const double> values, double compression = 100) {
    tdigest<> digest(compression);
    digest.add(values);
    return digest;
}

std::vector<double> lognormal(std::size_t n, std::uint64_t seed) {
    return support::values_of(support::distributions[3], n, seed);
}

} // namespace

TEST_CASE("an empty digest has no values to answer with") {
    const tdigest<> digest;
    CHECK(digest.empty());
    CHECK(digest.count() == 0);
    CHECK(digest.sum() == 0);
    for (const double x : {digest.quantile(0.5), digest.cdf(1), digest.min(), digest.max()}) CHECK(std::isnan(x));
    CHECK(digest.centroids().empty());
    std::array answers{1.0, 2.0};
    digest.quantiles(std::array{0.1, 0.9}, answers);
    CHECK((std::isnan(answers[0]) && std::isnan(answers[1])));
}

TEST_CASE("one buffered value answers every question (t-digest-c 33)") {
    tdigest<> digest;
    digest.add(42);
    for (const double q : {0.0, 0.3, 0.5, 1.0}) CHECK(digest.quantile(q) == 42);
    CHECK(digest.cdf(41.9) == 0);
    CHECK(digest.cdf(42) == 1);
    CHECK(digest.cdf(limits::infinity()) == 1);
    CHECK(digest.cdf(-limits::infinity()) == 0);
    CHECK(std::isnan(digest.cdf(limits::quiet_NaN())));
}

TEST_CASE("quantiles outside 0 .. 1 are refused, the ends are the extremes (influxdata/tdigest 7, 22, 36)") {
    const auto values = lognormal(10000, 1);
    const auto digest = digest_of(values);
    for (const double q :
         {-1.0, 2.0, limits::quiet_NaN(), limits::infinity(), std::nextafter(1.0, 2.0), -limits::denorm_min()}) {
        CHECK_THROWS_AS(digest.quantile(q), std::invalid_argument);
        std::array answers{7.0, 7.0};
        CHECK_THROWS_AS(digest.quantiles(std::array{0.5, q}, answers), std::invalid_argument);
        CHECK(answers == std::array{7.0, 7.0});
        CHECK_THROWS_AS(tdigest<>().quantile(q), std::invalid_argument);
    }
    const double least = *std::min_element(values.begin(), values.end());
    const double most = *std::max_element(values.begin(), values.end());
    for (const double q : {0.0, -0.0, limits::denorm_min()}) CHECK(digest.quantile(q) == least);
    CHECK(digest.quantile(1) == most);
    CHECK(digest.quantile(std::nextafter(1.0, 0.0)) == most);
    CHECK(digest.min() == least);
    CHECK(digest.max() == most);
    std::array<double, 3> three{};
    CHECK_THROWS_AS(digest.quantiles(std::array{0.5}, three), std::invalid_argument);
    digest.quantiles(std::array{0.9, 0.1, 0.9}, three);
    CHECK(three == std::array{digest.quantile(0.9), digest.quantile(0.1), digest.quantile(0.9)});
}

TEST_CASE("infinities, NaN and zero weights are refused with nothing added (datasketches 471, influxdata 26)") {
    auto digest = digest_of(lognormal(1000, 2));
    const auto before = digest.serialize();
    for (const double x : {limits::quiet_NaN(), -limits::quiet_NaN(), limits::infinity(), -limits::infinity()}) {
        CHECK_THROWS_AS(digest.add(x), std::invalid_argument);
        CHECK_THROWS_AS(digest.add(x, 3), std::invalid_argument);
        CHECK_THROWS_AS(digest.add(std::array{1e9, x}), std::invalid_argument);
    }
    CHECK_THROWS_AS(digest.add(1e9, 0), std::invalid_argument);
    CHECK_THROWS_AS(digest.add(1e9, tdigest<>::max_count), std::invalid_argument);
    CHECK(digest.count() == 1000);
    CHECK(digest.serialize() == before);
}

TEST_CASE("compressions outside 10 .. 10000 are refused") {
    for (const double compression : {9.99, 10000.01, 0.0, -100.0, limits::infinity(), limits::quiet_NaN()})
        CHECK_THROWS_AS(tdigest<>(compression), std::invalid_argument);
    CHECK(tdigest<>(10).compression() == 10);
    CHECK(tdigest<>(10000).compression() == 10000);
    CHECK(tdigest<>().compression() == 100);
}

TEST_CASE("a weight of w is w single adds (t-digest 215, 167)") {
    support::random_bits random(21);
    tdigest<> weighted;
    tdigest<> repeated;
    for (int i = 0; i < 400; ++i) { // few enough to stay exact: the very same state
        const auto x = static_cast<double>(random.below(90));
        const std::uint64_t w = 1 + random.below(20);
        weighted.add(x, w);
        for (std::uint64_t k = 0; k < w; ++k) repeated.add(x);
    }
    CHECK(weighted == repeated);
    CHECK(weighted.serialize() == repeated.serialize());

    std::vector<double> all;
    weighted.clear();
    repeated.clear();
    for (int i = 0; i < 20000; ++i) {
        const double x = support::normal(random);
        const std::uint64_t w = 1 + random.below(5);
        weighted.add(x, w);
        for (std::uint64_t k = 0; k < w; ++k) repeated.add(x);
        all.insert(all.end(), static_cast<std::size_t>(w), x);
    }
    CHECK(weighted.count() == repeated.count());
    std::sort(all.begin(), all.end());
    for (const auto& digest : {weighted, repeated}) {
        const auto read = tdigest<>::deserialize(digest.serialize());
        for (int i = 1; i < 100; ++i) REQUIRE(support::rank_error(all, i / 100.0, read.quantile(i / 100.0)) <= 2.5e-3);
    }
}

TEST_CASE("counts go past 2^31 and up to 2^53, and no further (t-digest 93, 81, t-digest-c 29)") {
    tdigest<> digest;
    digest.add(1, 3'000'000'000);
    digest.add(2, 1'000'000'000);
    CHECK(digest.count() == 4'000'000'000);
    CHECK(digest.cdf(1) == 0.75);
    CHECK(digest.quantile(0.75) == 1);
    CHECK(digest.quantile(0.7500001) == 2);
    digest.add(3, tdigest<>::max_count - digest.count() - 1);
    digest.add(4);
    CHECK(digest.count() == tdigest<>::max_count);
    const auto before = digest.serialize();
    CHECK_THROWS_AS(digest.add(5, 1), std::invalid_argument);
    CHECK_THROWS_AS(digest.merge(digest), qsketch::incompatible_error);
    CHECK(digest.serialize() == before);
    CHECK(tdigest<>::deserialize(before) == digest);
    CHECK(digest.quantile(0.5) == 3);
    CHECK(digest.cdf(3) == 1 - 0x1p-53);
}

TEST_CASE("a full digest refuses single values and batches too") {
    tdigest<> digest;
    digest.add(1, tdigest<>::max_count - 1);
    CHECK_THROWS_AS(digest.add(std::array{2.0, 3.0}), std::invalid_argument);
    CHECK(digest.count() == tdigest<>::max_count - 1);
    digest.add(2);
    CHECK_THROWS_AS(digest.add(3), std::invalid_argument);
    CHECK(digest.count() == tdigest<>::max_count);
    CHECK(digest.max() == 2);
}

TEST_CASE("questions change nothing and flush changes no answer") {
    // The answers are those of other centroids from 12 000 values on.
    for (const std::size_t n : {10u, 3000u, 6000u, 10000u, 14000u, 18000u, 50000u}) {
        CAPTURE(n);
        auto digest = digest_of(lognormal(n, n));
        const auto asked = digest;
        std::vector<double> answers;
        const auto ask = [&] {
            std::vector<double> result{digest.sum(), digest.min(), digest.max()};
            for (int i = 0; i <= 100; ++i) result.push_back(digest.quantile(i / 100.0));
            for (int i = 0; i <= 100; ++i) result.push_back(digest.cdf(i / 10.0));
            return result;
        };
        const auto bytes = digest.serialize();
        const auto memory = digest.memory_bytes();
        const auto before = ask();
        CHECK(digest.memory_bytes() == memory);
        CHECK(digest.serialize() == bytes);
        CHECK(digest == asked);
        digest.flush();
        CHECK(ask() == before);
        CHECK(digest.serialize() == bytes);
        CHECK(digest == asked);
    }
}

TEST_CASE("a batch is the same as single adds, to the byte") {
    const auto values = lognormal(30000, 4);
    tdigest<> single;
    for (const double x : values) single.add(x);
    CHECK(digest_of(values).serialize() == single.serialize());
    tdigest<> uneven;
    for (std::size_t from = 0, size = 1; from < values.size(); from += size, size = size * 3 % 7001)
        uneven.add(std::span(values).subspan(from, (std::min)(size, values.size() - from)));
    CHECK(uneven.serialize() == single.serialize());
    auto nothing = single;
    nothing.add(std::span<const double>{});
    CHECK(nothing.serialize() == single.serialize());
}

TEST_CASE("clear leaves a new digest of the same compression") {
    auto digest = digest_of(lognormal(30000, 5), 50);
    digest.add(7, 7);
    digest.clear();
    CHECK(digest.empty());
    CHECK(digest == tdigest<>(50));
    CHECK(digest.serialize() == tdigest<>(50).serialize());
    digest.add(lognormal(30000, 6));
    CHECK(digest.serialize() == digest_of(lognormal(30000, 6), 50).serialize());
}

TEST_CASE("flush changes no byte and no answer of a digest in which few values are heavy") {
    for (const std::uint64_t heavy :
         {std::uint64_t{1}, std::uint64_t{300}, std::uint64_t{1} << 12, std::uint64_t{1} << 20})
        for (const double compression : {20.0, 100.0})
            for (const std::size_t n : {50u, 120u, 490u, 2000u}) {
                CAPTURE(heavy, compression, n);
                tdigest<> digest(compression);
                for (std::uint64_t round = 0; round < 5; ++round) {
                    digest.add(support::values_of(support::distributions[0], n, round));
                    for (int i = 0; i < 9; ++i) digest.add(0.1 * i, heavy);
                    if (round == 2) digest.compact();
                    tdigest<> flushed = digest;
                    flushed.flush();
                    CHECK(flushed == digest);
                    CHECK(flushed.serialize() == digest.serialize());
                    const auto back = tdigest<>::deserialize(flushed.serialize());
                    for (const double q : {1e-4, 3e-4, 0.05, 0.5, 0.77, 0.9993}) {
                        CHECK(flushed.quantile(q) == digest.quantile(q));
                        if (round > 3) CHECK(flushed.quantile(q) == back.quantile(q));
                    }
                }
            }
}

TEST_CASE("memory grows with use") {
    tdigest<> digest;
    for (int i = 0; i < 10; ++i) digest.add(i);
    CHECK(digest.memory_bytes() < 1000);
    digest.flush();
    CHECK(digest.memory_bytes() < 1100);
    const auto ten = digest.memory_bytes();
    for (int i = 0; i < 1000; ++i) digest.add(i);
    CHECK(digest.memory_bytes() > ten);
    const auto thousand = digest.memory_bytes();
    for (int i = 0; i < 100000; ++i) digest.add(i * 0.37);
    CHECK(digest.memory_bytes() > thousand);
    CHECK(digest.memory_bytes() < 200000);
}

TEST_CASE("a compact digest takes the memory of its bytes and answers as one read back from them") {
    for (const std::size_t n : {0u, 1u, 10u, 125u, 501u, 3000u, 50000u}) {
        CAPTURE(n);
        auto digest = digest_of(lognormal(n, n));
        if (n == 50000) digest.flush();
        digest.add(17, 3);
        const auto bytes = digest.serialize();
        auto read = tdigest<>::deserialize(bytes);
        digest.compact();
        CHECK(digest == read);
        CHECK(digest.serialize() == bytes);
        CHECK(digest.memory_bytes() <=
              sizeof digest + bytes.size() + 8 * 125); // single values are written without weights
        CHECK(digest.memory_bytes() < 2300);
        for (int i = 0; i <= 100; ++i) REQUIRE(digest.quantile(i / 100.0) == read.quantile(i / 100.0));
        for (auto* d : {&digest, &read}) d->add(lognormal(6000, 7)); // and may be added to again
        CHECK(digest.serialize() == read.serialize());
    }
}

TEST_CASE("centroids may be walked without holding the digest (datasketches 473)") {
    std::uint64_t weight = 0;
    double before = -limits::infinity();
    for (auto&& c : digest_of(lognormal(5000, 8)).centroids()) {
        CHECK(c.mean >= before);
        before = c.mean;
        weight += c.weight;
    }
    CHECK(weight == 5000);
}
