#include <qsketch/hyperloglog.hpp>

#include "support/catch.hpp"
#include "support/distinct_accuracy.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

using counter = qsketch::hyperloglog<std::uint64_t>;

namespace {

using errors = support::estimate_errors;

void check(const support::promise& p) { support::check_promise<counter>(p); }

constexpr std::array<double, 3> small_coverage{0.68, 0.945, 0.985};
constexpr std::array<double, 3> middle_coverage{0.68, 0.95, 0.99};
constexpr std::array<double, 3> large_coverage{0.68, 0.95, 0.995};

} // namespace

TEST_CASE("bias, error and coverage of the bounds are as promised: 16 registers") {
    check({4, 8'000, 0.005, 1.06, small_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 64 registers") {
    check({6, 3'000, 0.002, 1.015, middle_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 256 registers") {
    check({8, 1'000, 0.001, 1.01, large_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 1024 registers") {
    check({10, 300, 0.001, 1.0, large_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 4096 registers") {
    check({12, 60, 0.001, 1.0, large_coverage});
}

TEST_CASE("the same with trials enough to resolve a bias of 0.1 %", "[.long]") {
    check({4, 400'000, 0.005, 1.06, small_coverage});
    check({6, 200'000, 0.002, 1.015, middle_coverage});
    check({8, 60'000, 0.001, 1.01, large_coverage});
    check({10, 12'000, 0.001, 1.0, large_coverage});
    check({12, 3'000, 0.001, 1.0, large_coverage});
    check({14, 500, 0.001, 1.0, large_coverage});
}

TEST_CASE("numbers beyond counting, up to where 64 bits run out of hashes") {
    // Registers drawn from their distribution: the largest of k ranks is below r + 1 with probability (1 - 2^-r)^k.
    support::random_bits random(5);
    for (const unsigned precision : {4u, 10u, 14u}) {
        const std::size_t m = std::size_t{1} << precision;
        for (const double truth : {1e6, 1e9, 1e12, 1e15, 1e18, 1e19}) {
            errors seen;
            for (int trial = 0; trial < (precision == 4 ? 2000 : precision == 10 ? 100 : 50); ++trial) {
                qsketch::detail::image_writer out(qsketch::detail::image_kind::hyperloglog,
                                                  {static_cast<std::uint8_t>(precision), 1, 0}, m + 4);
                out.put(qsketch::hash{}.id());
                for (std::size_t i = 0; i < m; ++i) {
                    const double rarity = -std::log(random.unit() + 0x1p-54) * static_cast<double>(m) / truth;
                    const double rank = std::ceil(-std::log2(rarity));
                    out.put(static_cast<std::uint8_t>(std::clamp(rank, 0.0, 65.0 - precision)));
                }
                seen.note(counter::deserialize(std::move(out).finish()), truth);
            }
            INFO("precision " << precision << ", " << truth << " keys, bias " << seen.bias() << ", rmse "
                              << seen.rmse());
            const double relative_error = counter(precision).relative_error();
            CHECK(std::abs(seen.bias()) <= 0.005 + 4 * seen.rmse() / std::sqrt(seen.trials));
            CHECK(seen.rmse() <= 1.1 * relative_error * (1 + 4 / std::sqrt(2.0 * seen.trials)));
            CHECK(seen.rmse() >= 0.8 * relative_error * (1 - 4 / std::sqrt(2.0 * seen.trials)));
            if (truth > 1e18) continue; // half of all hashes are taken: still unbiased, no longer within the promise
            const auto& coverage = precision == 4 ? small_coverage : large_coverage;
            for (std::size_t s = 0; s < 3; ++s)
                CHECK(seen.share_covered(s) >= coverage[s] - seen.allowance(coverage[s]));
        }
    }
}

namespace {

/// At the limit of the sparse form. `expected` is the standard error, of which the promise is not much more.
void check_sparse(unsigned precision, int trials, double promised, double expected) {
    const std::uint64_t limit = 3 * (std::uint64_t{1} << precision) / 16;
    const auto n = static_cast<double>(limit);
    double error = 0;
    double squares = 0;
    std::array<int, 3> covered{};
    for (int trial = 0; trial < trials; ++trial) {
        counter sketch(precision);
        std::uint64_t key = static_cast<std::uint64_t>(trial) << 32;
        for (std::uint64_t i = 0; i < limit; ++i) sketch.add(key++);
        REQUIRE(sketch.upper_bound(3) < n + 10); // sparse
        REQUIRE(sketch.lower_bound(0) <= n);
        error += sketch.estimate() - n;
        squares += (sketch.estimate() - n) * (sketch.estimate() - n);
        for (int s = 1; s <= 3; ++s) covered[static_cast<std::size_t>(s - 1)] += sketch.upper_bound(s) >= n;
    }
    INFO("precision " << precision << ", mean error " << error / trials << ", standard error "
                      << std::sqrt(squares / trials) / n << ", covered " << covered[0] << " " << covered[1] << " "
                      << covered[2] << " of " << trials);
    CHECK(std::abs(error) <= 4 * expected * n * std::sqrt(trials));
    CHECK(std::sqrt(squares / trials) <= promised * n);
    CHECK(std::sqrt(squares / trials) >= 0.75 * expected * n); // the promise is not slack
    const std::array<double, 3> one_sided{0.8413, 0.9772, 0.9986};
    for (std::size_t s = 0; s < 3; ++s)
        CHECK(covered[s] >= trials * one_sided[s] - 4 * std::sqrt(trials * one_sided[s] * (1 - one_sided[s])));
}

} // namespace

TEST_CASE("the largest sparse sketches lose tokens as often as their bounds and estimate allow for") {
    check_sparse(14, 5'000, 7e-5, 0x1p-14);
    check_sparse(15, 5'000, 2e-5, 0x1p-16);
    check_sparse(18, 300, 2e-5, 0x1p-16);
}

TEST_CASE("the upper bound of a sparse sketch is a Poisson quantile, one too high at most") {
    for (const unsigned precision : {14u, 18u}) {
        counter sketch(precision);
        for (std::uint64_t i = 0; i < 3u << (precision - 4); ++i) {
            sketch.add(i);
            if (i % 500 != 0) continue;
            const double tokens = sketch.lower_bound(0);
            const double mean = tokens * tokens / (precision < 15 ? 0x1p28 : 0x1p32);
            for (const double sigmas : {0.5, 1.0, 2.0, 3.0, 4.0, 6.0}) {
                const double allowed = std::floor(sketch.upper_bound(sigmas) - tokens);
                const double unlikely = std::erfc(sigmas / std::sqrt(2.0)) / 2;
                double quantile = 0; // the least number that is exceeded with a probability of at most `unlikely`
                double term = mean * std::exp(-mean);
                for (double above = -std::expm1(-mean); above > unlikely; term *= mean / (quantile + 1)) {
                    above -= term;
                    ++quantile;
                }
                CHECK(allowed >= quantile);
                CHECK(allowed <= quantile + 1);
            }
        }
    }
}
