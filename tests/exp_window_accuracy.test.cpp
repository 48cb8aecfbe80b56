// A day by the second of t-digests: the bounds of docs/exp_window.md on ranks and on memory.

#include <qsketch/exp_window.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using window = qsketch::exp_window<qsketch::tdigest<>, support::mock_clock<std::ratio<1>>>;
using time_point = window::time_point;

namespace {

constexpr std::size_t day = 86'400;

/// per_second values of each second.
window filled(std::span<const double> values, std::size_t per_second) {
    window w(window::exponential(1s, 12, 24h));
    for (std::size_t s = 0; s < values.size() / per_second; ++s)
        w.add_at(time_point(std::chrono::seconds(s)), values.subspan(s * per_second, per_second));
    return w;
}

} // namespace

TEST_CASE("quantiles of windows of a day by the second err little") {
    constexpr std::size_t per_second = 20;
    for (const std::size_t d : {0u, 1u, 3u, 5u}) {
        const auto& distribution = support::distributions[d];
        const auto values = support::values_of(distribution, day * per_second, 1);
        window w = filled(values, per_second);
        window flushed = w;
        flushed.flush();
        for (const auto length : {60s, 300s, 3600s, 86'400s})
            for (const auto* asked : {&w, &flushed}) {
                const auto answer = asked->query(length, time_point(86'399s));
                const auto first = static_cast<std::size_t>(answer.from.time_since_epoch().count()) * per_second;
                std::vector<double> sorted(values.begin() + static_cast<std::ptrdiff_t>(first), values.end());
                std::sort(sorted.begin(), sorted.end());
                REQUIRE(answer.sketch.count() == sorted.size());
                CHECK(answer.sketch.min() == sorted.front());
                CHECK(answer.sketch.max() == sorted.back());
                for (const auto& [q, bound] : {std::pair{0.001, 1e-4},
                                               {0.01, 3e-4},
                                               {0.1, 2e-3},
                                               {0.5, 2e-3},
                                               {0.9, 2e-3},
                                               {0.99, 3e-4},
                                               {0.999, 1e-4}}) {
                    const double error = support::rank_error(sorted, q, answer.sketch.quantile(q));
                    CAPTURE(distribution.name, length.count(), asked == &flushed, q, error * 1e6);
                    // Few values lie so far apart that one rank is more than the bound.
                    CHECK(error <= bound + 1.0 / static_cast<double>(sorted.size()));
                }
            }
    }
}

TEST_CASE("a day by the second of many values takes no more than 420 kB, prepared for queries") {
    window w = filled(support::values_of(support::distributions[3], 20'000 * 300, 1), 300);
    CHECK(w.buckets() == 167);
    w.flush();
    CHECK(w.memory_bytes() <= 420'000);
    CHECK(w.query(300s, time_point(19'999s)).sketch.count() > 85'000);
}
