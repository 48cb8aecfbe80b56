#include <qsketch/log_histogram.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/exact.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

using qsketch::log_histogram;
using qsketch::tdigest;

namespace {

/// Off by at most a share of the truth.
bool near(double x, double truth, double share) { return std::fabs(x - truth) <= share * std::fabs(truth); }

struct range {
    double low;
    double high;
};

constexpr std::array ranges{range{0, 1},    range{0.1, 0.9}, range{0, 0.99},        range{0.05, 1}, range{0.25, 0.3},
                            range{0.99, 1}, range{0, 0.01},  range{0.4999, 0.5001}, range{0, 1e-6}, range{1 / 3., 0.5}};

template <class Sketch>
Sketch of(const std::vector<double>& values) {
    Sketch sketch;
    sketch.add(values);
    return sketch;
}

/// The largest |mean - truth|, as a share of the mean magnitude of the values asked about, over ranges of at least
/// that share of the values.
template <class Sketch>
double worst_error(const Sketch& sketch, const std::vector<double>& values, double least_share) {
    const auto exact = of<support::exact_quantiles>(values);
    const auto n = static_cast<double>(values.size());
    double worst = 0;
    for (const auto [low, high] : ranges) {
        if (high - low < least_share) continue;
        double magnitudes = 0;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const double begin = (std::max)(static_cast<double>(i), low * n);
            const double end = (std::min)(static_cast<double>(i + 1), high * n);
            if (begin < end) magnitudes += std::fabs(exact.values()[i]) * (end - begin);
        }
        const double error = std::fabs(sketch.trimmed_mean(low, high) - exact.trimmed_mean(low, high));
        worst = (std::max)(worst, error * (high - low) * n / magnitudes);
    }
    return worst;
}

} // namespace

TEMPLATE_TEST_CASE("the trimmed mean of an empty sketch is not a number, of a wrong range refused", "", tdigest<>,
                   log_histogram<>) {
    TestType sketch;
    CHECK(std::isnan(sketch.trimmed_mean(0, 1)));
    for (int filled = 0; filled < 2; ++filled) {
        constexpr double nan = std::numeric_limits<double>::quiet_NaN();
        for (const auto& [low, high] :
             {range{-0.1, 0.5}, range{0.5, 0.5}, range{0.6, 0.5}, range{0.5, 1.1}, range{nan, 0.5}, range{0, nan}})
            CHECK_THROWS_AS(sketch.trimmed_mean(low, high), std::invalid_argument);
        sketch.add(1);
    }
    CHECK(sketch.trimmed_mean(0.2, 0.3) == 1);
    sketch.add(2);
    sketch.add(3);
    for (const double low : {0.1, 1 / 3., 0.5, 2 / 3., 0.9}) { // with an end so near that the ranks may be the same
        CAPTURE(low);
        CHECK(sketch.trimmed_mean(low, std::nextafter(low, 1)) >= sketch.quantile(low));
        CHECK(sketch.trimmed_mean(low, std::nextafter(low, 1)) <= sketch.quantile(low + 0.01));
    }
}

TEST_CASE("the trimmed mean of few values is exact, buffered or folded") {
    std::vector<double> values(100);
    std::iota(values.begin(), values.end(), -20.0);
    auto digest = of<tdigest<>>(values);
    CHECK(near(digest.trimmed_mean(0, 1), 29.5, 1e-15));
    CHECK(digest.trimmed_mean(0.1, 0.2) == -5.5);
    CHECK(near(digest.trimmed_mean(0.105, 0.135), -8.5, 1e-15)); // half of -10, -9, -8, half of -7
    CHECK(worst_error(digest, values, 0) < 1e-12);
    digest.flush();
    CHECK(worst_error(digest, values, 0) < 1e-12);
    digest.add(7, 1000);
    values.insert(values.end(), 1000, 7.0);
    CHECK(worst_error(digest, values, 0) < 1e-12);
}

TEST_CASE(
    "the trimmed mean of a tdigest errs by 0.15 % of the mean magnitude at most, unless values jump at an end of it") {
    for (const auto& d : support::distributions) {
        CAPTURE(d.name);
        const auto values = support::values_of(d, 200000, 11);
        const double bound = d.name == std::string("spike and hump") ? 1 : 0.0015;
        auto digest = of<tdigest<>>(values);
        CHECK(worst_error(digest, values, 0.01) < bound);
        digest.flush();
        CHECK(worst_error(digest, values, 0.01) < bound);
        CHECK(worst_error(tdigest<>::deserialize(digest.serialize()), values, 0.01) < bound);
        CHECK(near(digest.trimmed_mean(0, 1), digest.sum() / 200000, 1e-9));
    }
}

TEST_CASE("the trimmed mean of a tdigest is the average of its quantiles, also within a wide centroid") {
    tdigest<> coarse(10);
    coarse.add(support::values_of(support::distributions[3], 100000, 13));
    for (int i = 1; i < 90; ++i) {
        const double low = i / 100.;
        const double high = low + i % 10 / 100. + 0.01;
        double sum = 0;
        for (int step = 0; step < 1000; ++step) sum += coarse.quantile(low + (high - low) * (step + 0.5) / 1000);
        CAPTURE(low, high);
        CHECK(near(coarse.trimmed_mean(low, high), sum / 1000, 1e-4));
    }
}

TEST_CASE("the trimmed mean of a log_histogram errs by its relative error at most") {
    for (const auto& d : support::distributions) {
        CAPTURE(d.name);
        auto values = support::values_of(d, 50000, 12);
        for (std::size_t i = 0; i < values.size(); i += 3) values[i] = -values[i];
        const auto h = of<log_histogram<>>(values);
        CHECK(worst_error(h, values, 0) <= h.relative_error());
    }
}

TEMPLATE_TEST_CASE("the trimmed mean of small values beside a very large one, and of denormals, is that of theirs", "",
                   tdigest<>, log_histogram<>) {
    TestType sketch;
    sketch.add(0);
    sketch.add(1e-305, 8);
    sketch.add(1e300);
    CHECK(near(sketch.trimmed_mean(0.15, 0.85), 1e-305, 0.2)); // the range takes a histogram's accuracy
    TestType denormals;
    denormals.add(0, 10);
    denormals.add(1e-322, 90);
    CHECK(denormals.trimmed_mean(0.5, 0.5001) == 1e-322);
}

TEMPLATE_TEST_CASE("the trimmed mean of the largest doubles is finite", "", tdigest<>, log_histogram<>) {
    constexpr double most = std::numeric_limits<double>::max();
    TestType sketch;
    for (int i = 0; i < 1000; ++i) sketch.add(i < 600 ? most : -most);
    CHECK(near(sketch.trimmed_mean(0, 0.4), -most, 0.01));
    CHECK(near(sketch.trimmed_mean(0.4, 1), most, 0.01));
    CHECK(near(sketch.trimmed_mean(0, 1), most / 5, 0.06));
    CHECK(std::fabs(sketch.trimmed_mean(0, 1)) <= most);
}
