#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

using qsketch::k1_scale;
using qsketch::k2_scale;
using qsketch::quartic_scale;
using qsketch::tdigest;

namespace {

constexpr std::size_t grids[] = {12, 13, 48, 125, 500, 1250, 5000, 12500, 50000};
constexpr double counts[] = {1, 2, 3, 100, 12345, 1e6, 3e9, 0x1p53};

template <class Scale>
std::vector<double> edges(std::size_t cells, double count) {
    Scale scale(cells, count);
    std::vector<double> result;
    for (std::size_t i = 1; i <= cells / 2; ++i) result.push_back(scale.edge(i));
    return result;
}

/// The share of the values left of edge i, by the formula each scale is defined by.
template <class Scale>
double closed_form(std::size_t i, std::size_t cells, double count) {
    const double x = static_cast<double>(i) / static_cast<double>(cells);
    if constexpr (std::is_same_v<Scale, quartic_scale>) return std::pow(2 * x, 4) / 2;
    if constexpr (std::is_same_v<Scale, k1_scale>) return (1 - std::cos(3.14159265358979323846 * x)) / 2;
    if constexpr (std::is_same_v<Scale, k2_scale>)
        return 1 / (1 + std::exp((1 - 2 * x) * std::log((std::max)(count, 2.0))));
}

template <class Scale>
void check_size(const std::vector<double>& values, double compression) {
    tdigest<Scale> digest(compression);
    digest.add(values);
    CAPTURE(compression, values.size());
    const auto cells = static_cast<std::size_t>(1.25 * compression);
    REQUIRE(digest.centroids().size() <= cells);
    REQUIRE(tdigest<Scale>::deserialize(digest.serialize()).centroids().size() <= cells);
    std::uint64_t count = 0;
    for (const auto& c : digest.centroids()) count += c.weight;
    REQUIRE(count == values.size());
}

} // namespace

TEMPLATE_TEST_CASE("edges ascend from 0 to half the count", "", quartic_scale, k1_scale, k2_scale) {
    for (const std::size_t cells : grids) {
        for (const double count : counts) {
            CAPTURE(cells, count);
            double before = 0;
            for (const double edge : edges<TestType>(cells, count)) {
                REQUIRE(edge > before);
                before = edge;
            }
            REQUIRE(before <= count / 2 * (1 + 1e-9));
        }
    }
}

TEMPLATE_TEST_CASE("edges match the closed form to 1e-9 of the count", "", quartic_scale, k1_scale, k2_scale) {
    for (const std::size_t cells : grids) {
        for (const double count : counts) {
            CAPTURE(cells, count);
            const auto all = edges<TestType>(cells, count);
            for (std::size_t i = 1; i <= cells / 2; ++i)
                REQUIRE(std::fabs(all[i - 1] / count - closed_form<TestType>(i, cells, count)) <= 1e-9);
        }
    }
}

TEST_CASE("the logarithm and exponential behind k2 agree with libm to 1e-13") {
    for (double x = 1; x < 1e16; x *= 1.37) {
        CAPTURE(x);
        REQUIRE(std::fabs(qsketch::detail::strict_log(x) - std::log(x)) <= 1e-13 * std::log(x) + 1e-16);
    }
    for (double x = 0; x <= 100; x += 0.173) {
        CAPTURE(x);
        REQUIRE(std::fabs(qsketch::detail::strict_exp(x) / std::exp(x) - 1) <= 1e-13);
    }
}

TEMPLATE_TEST_CASE("a digest never has more than 1.25 * compression centroids", "", quartic_scale, k1_scale, k2_scale) {
    for (const auto& d : support::distributions) {
        for (const std::size_t n : {1u, 10u, 1000u, 30000u}) {
            const auto values = support::values_of(d, n, n);
            for (const double compression : {10.0, 11.0, 100.0, 1000.0}) check_size<TestType>(values, compression);
        }
    }
    for (const double compression : {10.0, 100.0, 10000.0})
        check_size<TestType>(support::values_of(support::distributions[3], 300000, 1), compression);
}

TEST_CASE("a digest of a million values stays small", "[.long]") {
    for (const auto& d : support::distributions)
        for (const double compression : {10.0, 11.0, 100.0, 1000.0, 10000.0}) {
            check_size<quartic_scale>(support::values_of(d, 1000000, 1), compression);
            check_size<k1_scale>(support::values_of(d, 1000000, 1), compression);
            check_size<k2_scale>(support::values_of(d, 1000000, 1), compression);
        }
}

TEMPLATE_TEST_CASE("heavy values do not make more centroids than allowed", "", quartic_scale, k1_scale, k2_scale) {
    support::random_bits random(41);
    for (const double compression : {10.0, 11.0, 12.0, 100.0}) {
        for (int trial = 0; trial < 300; ++trial) {
            CAPTURE(compression, trial);
            tdigest<TestType> digest(compression);
            const std::uint64_t values = 5 + random.below(40);
            for (std::uint64_t i = 0; i < values; ++i)
                digest.add(static_cast<double>(random.below(1000)), std::uint64_t{1} << random.below(30));
            REQUIRE(digest.centroids().size() <= static_cast<std::size_t>(1.25 * compression));
        }
    }
}

TEMPLATE_TEST_CASE("heavy values between light ones fit the smallest digest", "", quartic_scale, k1_scale, k2_scale) {
    // Found by search: on every grid from 12 down to 7 cells these make 13 centroids or more, by k1 and by k2.
    const std::vector<std::vector<std::uint64_t>> weights{
        {1949, 12486299, 6005607, 144122,   1771038, 87,   44029189, 15368, 5,        2336,
         1412, 50637860, 17866,   43061025, 9994103, 1742, 29573234, 59532, 12291147, 3312},
        {4,    124,      836, 16108,   1992,   314597, 2785713, 32,    1,    8637, 12, 15164,
         2110, 15802671, 20,  1741558, 319828, 79814,  26,      25715, 1785, 125,  1,  1}};
    for (const auto& found : weights) {
        tdigest<TestType> digest(10);
        double x = 0;
        for (const std::uint64_t weight : found) digest.add(x++, weight);
        CHECK(digest.centroids().size() <= 12);
        CHECK(tdigest<TestType>::deserialize(digest.serialize()) == digest);
    }
}
