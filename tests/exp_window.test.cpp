#include <qsketch/exp_window.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::exp_window<exact_quantiles, clock_type>;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

std::vector<double> values(const exact_quantiles& sketch) {
    return std::vector<double>(sketch.values().begin(), sketch.values().end());
}

struct event {
    std::int64_t when;
    double value;
};

std::vector<double> between(const std::vector<event>& events, time_point from, time_point to) {
    std::vector<double> found;
    for (const auto& e : events)
        if (from <= at(duration(e.when)) && at(duration(e.when)) < to) found.push_back(e.value);
    std::ranges::sort(found);
    return found;
}

} // namespace

TEST_CASE("an answer holds the events of the interval it says it covers, and no others") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        window w(window::exponential(10ms, 1 + random.below(6), 5000ms));
        std::vector<event> kept;
        std::int64_t base = -3000;
        std::uint64_t dropped = 0;
        for (int i = 0; i < 1500; ++i) {
            base += random.between(0, 15);
            if (random.below(200) == 0) base += random.between(0, 12000);
            const std::int64_t when = base - (random.below(4) == 0 ? random.between(-100, 7000) : 0);
            const double value = random.unit();
            if (w.add_at(at(duration(when)), value))
                kept.push_back({when, value});
            else
                ++dropped;
            REQUIRE(w.dropped_late() == dropped);
            const auto now = at(duration(base + random.between(-4000, 1000)));
            const auto answer = w.query(duration(random.between(1, 6000)), now);
            REQUIRE(values(answer.sketch) == between(kept, answer.from, answer.to));
        }
        CHECK(dropped > 0);
    }
}
