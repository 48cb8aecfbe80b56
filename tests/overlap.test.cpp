#include <qsketch/overlap.hpp>
#include <qsketch/ultraloglog.hpp>

#include "support/catch.hpp"

#include <cmath>
#include <cstdint>
#include <utility>

namespace {

using counter = qsketch::hyperloglog<std::uint64_t>;

/// Two sketches with so many keys each, `shared` of them in both; other keys for every trial.
std::pair<counter, counter> pair_of(unsigned precision, std::uint64_t first, std::uint64_t second, std::uint64_t shared,
                                    std::uint64_t trial = 1) {
    std::pair<counter, counter> made{counter(precision), counter(precision)};
    std::uint64_t key = trial << 32;
    for (std::uint64_t i = 0; i < shared; ++i, ++key) {
        made.first.add(key);
        made.second.add(key);
    }
    for (std::uint64_t i = shared; i < first; ++i) made.first.add(key++);
    for (std::uint64_t i = shared; i < second; ++i) made.second.add(key++);
    return made;
}

struct errors {
    double joint = 0;    ///< Root mean square, as a share of the keys of either.
    double by_union = 0; ///< The same of |A| + |B| - |A or B|.
    double bias = 0;
    int within_two = 0; ///< Of 60 trials, how many are within two standard errors.
};

errors errors_of(std::uint64_t first, std::uint64_t second, std::uint64_t shared) {
    constexpr int trials = 60;
    const auto all = static_cast<double>(first + second - shared);
    const auto truth = static_cast<double>(shared);
    errors e;
    for (int trial = 1; trial <= trials; ++trial) {
        const auto [a, b] = pair_of(12, first, second, shared, static_cast<std::uint64_t>(trial));
        const auto estimate = qsketch::overlap(a, b);
        auto either = a;
        either.merge(b);
        const double plain = a.estimate() + b.estimate() - either.estimate();
        e.joint += std::pow((estimate.both - truth) / all, 2) / trials;
        e.by_union += std::pow((plain - truth) / all, 2) / trials;
        e.bias += (estimate.both - truth) / all / trials;
        e.within_two += std::abs(estimate.both - truth) <= 2 * estimate.both_standard_error;
        CHECK(std::abs(estimate.first_only + estimate.both - static_cast<double>(first)) < 0.1 * all);
        CHECK(std::abs(estimate.second_only + estimate.both - static_cast<double>(second)) < 0.1 * all);
    }
    e.joint = std::sqrt(e.joint);
    e.by_union = std::sqrt(e.by_union);
    return e;
}

} // namespace

TEST_CASE("small sets are taken apart all but exactly") {
    const auto [a, b] = pair_of(14, 1000, 500, 137);
    const auto estimate = qsketch::overlap(a, b);
    CHECK(std::abs(estimate.both - 137) < 0.1);
    CHECK(std::abs(estimate.first_only - 863) < 0.1);
    CHECK(std::abs(estimate.second_only - 363) < 0.1);
    CHECK(estimate.both_standard_error == 0);
    CHECK(std::abs(estimate.jaccard() - 137.0 / 1363) < 1e-4);
}

TEST_CASE("empty sketches share nothing") {
    const counter none(12);
    const auto [a, b] = pair_of(12, 30'000, 1, 0);
    CHECK(qsketch::overlap(none, none).jaccard() == 0);
    for (const auto& estimate : {qsketch::overlap(a, none), qsketch::overlap(none, a)}) {
        CHECK(estimate.both == 0);
        CHECK(std::abs(estimate.first_only + estimate.second_only - a.estimate()) < 0.01 * a.estimate());
    }
}

TEST_CASE("where nothing is shared the error is 0.3 % of the keys of either") {
    const errors e = errors_of(100'000, 100'000, 0);
    INFO(e.joint << " against " << e.by_union << ", bias " << e.bias << ", within two " << e.within_two);
    CHECK(e.joint <= 0.003);
    CHECK(e.joint < 0.4 * e.by_union);
}

TEST_CASE("where a tenth is shared the error is below 0.65 % and 0.6 of that by the union") {
    const errors e = errors_of(100'000, 100'000, 10'000);
    INFO(e.joint << " against " << e.by_union << ", bias " << e.bias << ", within two " << e.within_two);
    CHECK(e.joint <= 0.0065);
    CHECK(e.joint < 0.6 * e.by_union);
    CHECK(std::abs(e.bias) < 0.0025);
    CHECK(e.within_two >= 54);
}

TEST_CASE("sets of different sizes, half of the smaller one shared") {
    const errors e = errors_of(100'000, 10'000, 5'000);
    INFO(e.joint << " against " << e.by_union << ", bias " << e.bias << ", within two " << e.within_two);
    CHECK(e.joint < 0.75 * e.by_union);
    CHECK(e.within_two >= 54);
}

TEST_CASE("equal sets share everything") {
    const auto [a, b] = pair_of(12, 100'000, 100'000, 100'000);
    const auto estimate = qsketch::overlap(a, b);
    CHECK(estimate.jaccard() > 0.99);
    CHECK(std::abs(estimate.both - a.estimate()) < 0.01 * a.estimate());
}

TEST_CASE("both orders agree, and one sketch may be sparse") {
    for (const std::uint64_t second : {200u, 50'000u}) {
        const auto [a, b] = pair_of(12, 80'000, second, 100);
        const auto one = qsketch::overlap(a, b);
        const auto other = qsketch::overlap(b, a);
        CHECK(std::abs(one.both - other.both) < 1e-4 * a.estimate());
        CHECK(std::abs(one.first_only - other.second_only) < 1e-4 * a.estimate());
    }
}

TEST_CASE("sketches of other precisions or hashes have no overlap to speak of") {
    CHECK_THROWS_AS(qsketch::overlap(counter(12), counter(13)), qsketch::incompatible_error);
    CHECK_THROWS_AS(qsketch::overlap(counter(12), counter(12, qsketch::hash(1))), qsketch::incompatible_error);
}

TEST_CASE("an ultraloglog has the overlap of its hyperloglog") {
    const auto [a, b] = pair_of(12, 40'000, 40'000, 4'000);
    qsketch::ultraloglog<std::uint64_t> u(12);
    for (std::uint64_t i = 0; i < 40'000; ++i) u.add((std::uint64_t{1} << 32) + i);
    CHECK(qsketch::overlap(counter(u), b).both == qsketch::overlap(a, b).both);
}
