// What sliding_window and exp_window do alike.

#include <qsketch/exp_window.hpp>
#include <qsketch/sliding_window.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/mock_clock.hpp"

#include <chrono>
#include <limits>
#include <ratio>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

std::vector<double> values(const exact_quantiles& sketch) {
    return std::vector<double>(sketch.values().begin(), sketch.values().end());
}

/// How a window is made; `make` keeps something in 10 ms for `length`.
struct sliding {
    template <class Clock>
    using window = qsketch::sliding_window<exact_quantiles, Clock>;
    static constexpr duration length = 60ms;

    template <class... Options>
    static window<clock_type> make(Options... options) {
        return window<clock_type>(10ms, 6, std::move(options)...);
    }
    static std::vector<window<clock_type>> others() {
        return {window<clock_type>(11ms, 6), window<clock_type>(10ms, 7), make(exact_quantiles(1))};
    }
    /// At least three such times are told apart.
    template <class Clock>
    static window<Clock> by(typename Clock::duration unit) {
        return window<Clock>(unit, 3);
    }
};

struct exponential {
    template <class Clock>
    using window = qsketch::exp_window<exact_quantiles, Clock>;
    using level_list = std::vector<window<clock_type>::level>;
    static constexpr duration length = 400ms;

    template <class... Options>
    static window<clock_type> make(Options... options) {
        return window<clock_type>(level_list{{10ms, 50ms}, {20ms, 150ms}, {80ms, length}}, std::move(options)...);
    }
    static std::vector<window<clock_type>> others() {
        return {window<clock_type>(level_list{{10ms, 50ms}, {20ms, 150ms}}),
                window<clock_type>(level_list{{10ms, 50ms}, {20ms, 150ms}, {80ms, 401ms}}),
                window<clock_type>(level_list{{5ms, 50ms}, {20ms, 150ms}, {80ms, 400ms}}), make(exact_quantiles(1)),
                make(std::vector<exact_quantiles>(3))};
    }
    template <class Clock>
    static window<Clock> by(typename Clock::duration unit) {
        return window<Clock>({{unit, 3 * unit}, {2 * unit, 30 * unit}});
    }
};

} // namespace

TEMPLATE_TEST_CASE("adds that throw or bring nothing leave the window as it was", "", sliding, exponential) {
    auto w = TestType::make();
    w.add_at(at(0ms), 1.0);
    const auto before = w;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_AS(w.add_at(at(5ms), nan), std::invalid_argument);
    CHECK_THROWS_AS(w.add_at(at(5000ms), nan), std::invalid_argument);
    CHECK_THROWS_AS(w.add_at(at(-10ms), nan), std::invalid_argument);
    CHECK(w == before);
    CHECK(w.add_at(at(5000ms), std::span<const double>{}));
    CHECK(w == before);
    const std::vector batch{3.0, 2.0};
    CHECK(w.add_at(at(12ms), std::span(batch)));
    CHECK(values(w.query(30ms, at(10ms)).sketch) == std::vector{1.0, 2.0, 3.0});
}

TEMPLATE_TEST_CASE("without a time, the clock's now is meant", "", sliding, exponential) {
    clock_type::hands hands;
    auto w = TestType::make(exact_quantiles{}, clock_type(hands));
    hands.now = at(100ms);
    CHECK(w.add(1.0));
    hands.now = at(111ms);
    CHECK(w.add(2.0));
    CHECK(w.query(10ms).to == at(120ms));
    CHECK(values(w.query(10ms).sketch) == std::vector{2.0});
    CHECK(values(w.query(11ms).sketch) == std::vector{1.0, 2.0});
    hands.now = at(110ms) - TestType::length - 80ms; // set back
    CHECK_FALSE(w.add(3.0));
    CHECK(w.query(30ms).sketch.empty());

    auto by_system_clock = TestType::template by<std::chrono::system_clock>(8h);
    CHECK(by_system_clock.add(1.0));
    CHECK(by_system_clock.query(24h).sketch.count() == 1);
}

TEMPLATE_TEST_CASE("with max_ahead, one bad timestamp cannot empty the window", "", sliding, exponential) {
    clock_type::hands hands;
    hands.now = at(100ms);
    auto w = TestType::make(exact_quantiles{}, clock_type(hands), 20ms);
    CHECK_THROWS_AS(w.add_at(at(121ms), 1.0), std::invalid_argument);
    CHECK(w.empty());
    CHECK(w.add_at(at(120ms), 1.0));
    const auto before = w;
    CHECK_THROWS_AS(w.add_at(at(130ms), 2.0), std::invalid_argument);
    CHECK_THROWS_AS(w.add_at(time_point::max(), 2.0), std::invalid_argument);
    CHECK(w == before);

    hands.reads = 0;
    CHECK(w.add_at(at(129ms), 3.0)); // does not advance the window
    CHECK(w.add_at(at(105ms), 4.0));
    CHECK_FALSE(w.add_at(at(-500ms), 5.0));
    CHECK(hands.reads == 0);
    hands.now = at(200ms);
    CHECK(w.add_at(at(200ms), 6.0));
    CHECK(hands.reads == 1);
    hands.now = time_point::max() - 10ms;
    CHECK(w.add_at(time_point::max(), 7.0));

    auto trusting = TestType::make(exact_quantiles{}, clock_type(hands));
    hands.now = at(0ms);
    CHECK(trusting.add_at(time_point::max(), 1.0));
}

TEMPLATE_TEST_CASE("merging adds up what came too late, and does not call what it lets go late", "", sliding,
                   exponential) {
    auto a = TestType::make();
    a.add_at(at(1000ms), 1.0);
    a.add_at(at(0ms), 2.0);
    auto b = TestType::make();
    b.add_at(at(5000ms), 3.0);
    b.add_at(at(0ms), 4.0);
    b.add_at(at(0ms), 5.0);
    a.merge(b);
    CHECK(a.dropped_late() == 3);
    CHECK(values(a.query(20ms, at(5000ms)).sketch) == std::vector{3.0});
    CHECK(values(a.query(5000ms, at(5000ms)).sketch) == std::vector{3.0});
    a.clear();
    CHECK(a == TestType::make());
    CHECK(a.dropped_late() == 0);
}

TEMPLATE_TEST_CASE("windows of other shape do not merge, and stay as they were", "", sliding, exponential) {
    auto w = TestType::make();
    w.add_at(at(0ms), 1.0);
    const auto before = w;
    for (const auto& other : TestType::others()) {
        CHECK_FALSE(w.compatible(other));
        CHECK_FALSE(w == other);
        CHECK_THROWS_AS(w.merge(other), qsketch::incompatible_error);
        CHECK(w == before);
    }
}

TEMPLATE_TEST_CASE("a window merges with itself", "", sliding, exponential) {
    auto w = TestType::make();
    for (int i = 0; i < 50; ++i) w.add_at(at(i * 10ms), 1.0 * i);
    const auto before = w.query(TestType::length, at(490ms));
    w.merge(w);
    const auto after = w.query(TestType::length, at(490ms));
    CHECK(before.sketch.count() >= 6);
    CHECK(after.sketch.count() == 2 * before.sketch.count());
    CHECK(after.from == before.from);
    CHECK(values(w.query(10ms, at(490ms)).sketch) == std::vector{49.0, 49.0});
}

TEMPLATE_TEST_CASE("clock and max_ahead are no part of a window's value", "", sliding, exponential) {
    using window = typename TestType::template window<clock_type>;
    clock_type::hands hands;
    const auto careful = TestType::make(exact_quantiles{}, clock_type(hands), 5ms);
    const auto trusting = TestType::make();
    CHECK(careful == trusting);
    CHECK(careful.serialize() == trusting.serialize());
    CHECK(careful.compatible(trusting));
    auto copy = window::deserialize(careful.serialize(), clock_type(hands), 5ms);
    CHECK_THROWS_AS(copy.add_at(at(6ms), 1.0), std::invalid_argument);
    CHECK_THROWS_AS(window::deserialize(careful.serialize(), clock_type(hands), -1ms), std::invalid_argument);
    auto plain = window::deserialize(careful.serialize());
    CHECK(plain.add_at(at(6ms), 1.0));
}

TEMPLATE_TEST_CASE("images travel between clocks that can express the times", "", sliding, exponential) {
    using nanos = support::mock_clock<std::nano>;
    using seconds = support::mock_clock<std::ratio<1>>;
    const auto by_millis = [](duration unit) { return TestType::template by<clock_type>(unit); };
    const auto by_nanos = [](nanos::duration unit) { return TestType::template by<nanos>(unit); };
    auto w = by_millis(2s);
    auto same = by_nanos(2s);
    for (int i = -20; i < 20; ++i) {
        w.add_at(at(i * 1500ms), 1.0 * i);
        same.add_at(nanos::time_point(i * 1500ms), 1.0 * i);
    }
    CHECK(decltype(same)::deserialize(w.serialize()) == same);
    CHECK(same.serialize() == w.serialize());
    using second_window = typename TestType::template window<seconds>;
    CHECK(second_window::deserialize(w.serialize()).serialize() == w.serialize());
    CHECK_THROWS_AS(second_window::deserialize(by_millis(1500ms).serialize()), qsketch::format_error);
    CHECK_THROWS_AS(decltype(w)::deserialize(by_nanos(1ns).serialize()), qsketch::format_error);

    auto far = TestType::template by<seconds>(1s);
    far.add_at(seconds::time_point(1'000'000'000'000s), 1.0);
    CHECK(second_window::deserialize(far.serialize()) == far);
    CHECK_THROWS_AS(decltype(same)::deserialize(far.serialize()), qsketch::format_error);
}
