#include <qsketch/sliding_window.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::sliding_window<exact_quantiles, clock_type>;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

std::vector<double> values(const exact_quantiles& sketch) {
    return std::vector<double>(sketch.values().begin(), sketch.values().end());
}

/// Every event that ever arrived, and the rules of the window applied to all of them at every question.
class replay {
public:
    replay(std::int64_t slot, std::int64_t slots) : slot_(slot), slots_(slots) {}

    bool add(std::int64_t when, double value) {
        if (!events_.empty() && index(when) <= newest() - slots_) {
            ++dropped_late;
            return false;
        }
        events_.push_back({when, value});
        return true;
    }

    [[nodiscard]] std::int64_t index(std::int64_t when) const {
        return static_cast<std::int64_t>(std::floor(static_cast<double>(when) / static_cast<double>(slot_)));
    }
    [[nodiscard]] std::int64_t newest() const {
        std::int64_t newest = std::numeric_limits<std::int64_t>::min();
        for (const auto& event : events_) newest = std::max(newest, index(event.when));
        return newest;
    }
    [[nodiscard]] std::vector<double> between(std::int64_t from, std::int64_t to) const {
        std::vector<double> found;
        for (const auto& event : events_)
            if (from <= event.when && event.when < to && index(event.when) > newest() - slots_)
                found.push_back(event.value);
        std::sort(found.begin(), found.end());
        return found;
    }

    std::uint64_t dropped_late = 0;

private:
    struct arrival {
        std::int64_t when;
        double value;
    };
    std::int64_t slot_;
    std::int64_t slots_;
    std::vector<arrival> events_;
};

template <class Window>
void compare_with_replay(std::int64_t slot, std::int64_t slots, std::int64_t jitter, std::uint64_t seed) {
    support::random_bits random(seed);
    Window w(duration(slot), static_cast<std::size_t>(slots));
    replay truth(slot, slots);
    std::int64_t base = -slot * slots; // starts before the epoch and crosses it
    for (int i = 0; i < 600; ++i) {
        base += random.between(0, slot);
        if (random.below(100) == 0) base += random.between(0, 3 * slot * slots);
        const std::int64_t when = base + random.between(-jitter, jitter);
        const double value = random.unit();
        REQUIRE(w.add_at(at(duration(when)), value) == truth.add(when, value));
        REQUIRE(w.dropped_late() == truth.dropped_late);

        const std::int64_t now = base + random.between(-2 * slot * slots, 2 * slot * slots);
        const std::int64_t length = random.between(1, 2 * slot * slots);
        const std::int64_t to = (truth.index(now) + 1) * slot;
        const std::int64_t asked = to - (length + slot - 1) / slot * slot;
        const std::int64_t kept = (truth.newest() - slots + 1) * slot;
        const std::int64_t from = std::min(to, std::max(asked, kept));
        const auto answer = w.query(duration(length), at(duration(now)));
        REQUIRE(answer.from == at(duration(from)));
        REQUIRE(answer.to == at(duration(to)));
        REQUIRE(answer.dropped_late == truth.dropped_late);
        REQUIRE(values(answer.sketch) == truth.between(from, to));
    }
    CHECK(truth.dropped_late > 0);
    CHECK(values(w.query(duration(slot * slots), at(duration(truth.newest() * slot))).sketch).size() > 0);
}

} // namespace

TEST_CASE("a window answers as a replay of all events does") {
    for (const auto [slot, slots, jitter] : {std::array{10, 6, 90}, {1, 20, 25}, {7, 1, 20}, {1000, 40, 60000}}) {
        CAPTURE(slot, slots, jitter);
        for (std::uint64_t seed = 1; seed <= 3; ++seed) compare_with_replay<window>(slot, slots, jitter, seed);
    }
}

TEST_CASE("a sketch that merges many at once is merged so, with the same answers") {
    using at_once = qsketch::sliding_window<support::exact_quantiles_at_once, clock_type>;
    compare_with_replay<at_once>(10, 6, 90, 4);
    at_once w(1s, 5);
    for (int i = 0; i < 5; ++i) w.add_at(at(i * 1s), 1.0 * i);
    CHECK(w.query(5s, at(4s)).sketch.many_merges == 1);
    CHECK(values(w.query(5s, at(4s)).sketch) == std::vector{0.0, 1.0, 2.0, 3.0, 4.0});
}

TEST_CASE("slots are counted from the epoch downwards as well") {
    window w(10ms, 3);
    w.add_at(at(-1ms), 1.0);
    w.add_at(at(0ms), 2.0);
    w.add_at(at(-10ms), 3.0);
    w.add_at(at(-11ms), 4.0);
    const auto answer = w.query(10ms, at(-10ms));
    CHECK(answer.from == at(-10ms));
    CHECK(answer.to == at(0ms));
    CHECK(values(answer.sketch) == std::vector{1.0, 3.0});
    CHECK(values(w.query(10ms, at(-11ms)).sketch) == std::vector{4.0});
    CHECK(values(w.query(30ms, at(9ms)).sketch) == std::vector{1.0, 2.0, 3.0, 4.0});
}

TEST_CASE("events as old as the window is long are refused and counted") {
    window w(10ms, 3);
    CHECK(w.add_at(at(100ms), 1.0));
    CHECK(w.add_at(at(80ms), 2.0));
    CHECK_FALSE(w.add_at(at(79ms), 3.0));
    CHECK_FALSE(w.add_at(time_point::min(), 3.0));
    CHECK(w.dropped_late() == 2);
    CHECK(values(w.query(30ms, at(109ms)).sketch) == std::vector{1.0, 2.0});
    CHECK(w.add_at(at(110ms), 4.0)); // 80ms goes
    CHECK(values(w.query(1000ms, at(110ms)).sketch) == std::vector{1.0, 4.0});
    CHECK(w.dropped_late() == 2);
}

TEST_CASE("a query says which interval it covers") {
    window w(10ms, 5);
    for (int i = 0; i < 5; ++i) w.add_at(at(i * 10ms), 1.0 * i);

    SECTION("whole slots, rounded up, ending with the slot of now") {
        CHECK(values(w.query(1ms, at(49ms)).sketch) == std::vector{4.0});
        CHECK(values(w.query(10ms, at(40ms)).sketch) == std::vector{4.0});
        CHECK(values(w.query(11ms, at(40ms)).sketch) == std::vector{3.0, 4.0});
        CHECK(w.query(11ms, at(40ms)).from == at(30ms));
        CHECK(w.query(11ms, at(40ms)).to == at(50ms));
    }
    SECTION("later slots are left out") {
        const auto answer = w.query(20ms, at(25ms));
        CHECK(values(answer.sketch) == std::vector{1.0, 2.0});
        CHECK(answer.from == at(10ms));
        CHECK(answer.to == at(30ms));
    }
    SECTION("empty slots are covered") {
        const auto answer = w.query(30ms, at(65ms));
        CHECK(values(answer.sketch) == std::vector{4.0});
        CHECK(answer.from == at(40ms));
        CHECK(answer.to == at(70ms));
    }
    SECTION("long after the last event") {
        const auto answer = w.query(30ms, at(1000000ms));
        CHECK(answer.sketch.empty());
        CHECK(answer.from == at(999980ms));
        CHECK(answer.to == at(1000010ms));
    }
    SECTION("more than is kept") {
        w.add_at(at(50ms), 5.0);
        const auto answer = w.query(70ms, at(59ms));
        CHECK(values(answer.sketch) == std::vector{1.0, 2.0, 3.0, 4.0, 5.0});
        CHECK(answer.from == at(10ms));
        CHECK(answer.to == at(60ms));
    }
    SECTION("nothing of what is kept") {
        w.add_at(at(1000ms), 5.0);
        const auto answer = w.query(30ms, at(45ms));
        CHECK(answer.sketch.empty());
        CHECK(answer.from == at(50ms));
        CHECK(answer.to == at(50ms));
    }
    SECTION("a window that has seen nothing") {
        const auto answer = window(10ms, 5).query(1000ms, at(42ms));
        CHECK(answer.sketch.empty());
        CHECK(answer.from == at(0ms));
        CHECK(answer.to == at(50ms));
    }
    SECTION("no length, no answer") {
        CHECK_THROWS_AS(w.query(0ms, at(45ms)), std::invalid_argument);
        CHECK_THROWS_AS(w.query(-1ms, at(45ms)), std::invalid_argument);
        CHECK_THROWS_AS(w.query(duration::min(), at(45ms)), std::invalid_argument);
    }
}

TEST_CASE("the ends of time overflow nothing") {
    using nano_clock = support::mock_clock<std::nano>;
    using nano_window = qsketch::sliding_window<exact_quantiles, nano_clock>;
    using ticks = nano_clock::duration;
    const auto first = nano_clock::time_point::min();
    const auto last = nano_clock::time_point::max();
    const auto slot = GENERATE(ticks(1), ticks(7), ticks(1000), ticks::max() / 5, ticks::max());
    CAPTURE(slot.count());
    const std::size_t slots = slot == ticks::max() ? 1 : 5;

    nano_window w(slot, slots);
    CHECK(w.add_at(first, 1.0));
    CHECK(values(w.query(ticks(1), first).sketch) == std::vector{1.0});
    CHECK(w.query(ticks::max(), first).from == first);
    CHECK(w.query(ticks::max(), first).to > first);
    CHECK(w.query(ticks::max(), last).to == last);
    CHECK(w.query(ticks::max(), last).from <= last);
    CHECK(w.query(ticks(1), last).sketch.empty());

    CHECK(w.add_at(last, 2.0));
    CHECK_FALSE(w.add_at(first, 3.0));
    CHECK(w.dropped_late() == 1);
    CHECK(values(w.query(ticks(1), last).sketch) == std::vector{2.0});
    CHECK(values(w.query(ticks::max(), last).sketch) == std::vector{2.0});
    CHECK(w.query(ticks::max(), last).to == last);
    CHECK(w.query(ticks::max(), first).sketch.empty());
    CHECK(w.query(ticks::max(), first).from == w.query(ticks::max(), first).to);
    CHECK(nano_window::deserialize(w.serialize()) == w);

    nano_window early(slot, slots);
    early.add_at(first, 1.0);
    early.merge(w);
    CHECK(values(early.query(ticks::max(), last).sketch) == std::vector{2.0});
    early.clear();
    CHECK(early.query(ticks::max(), first).from == first);
    CHECK(early.query(ticks::max(), last).to == last);
}

TEST_CASE("gaps and long windows cost no memory, and evicted slots give theirs back") {
    window w(1ms, 1'000'000'000);
    for (int i = 0; i < 20; ++i) w.add_at(at(i * 10'000'000ms), 1.0);
    CHECK(w.memory_bytes() < 20 * 200 + sizeof w);
    CHECK(w.memory_bytes() > 20 * sizeof(exact_quantiles));

    window rolling(1ms, 100);
    std::size_t full = 0;
    for (int i = 0; i < 10000; ++i) {
        rolling.add_at(at(i * 1ms), 1.0 * i);
        if (i == 99) full = rolling.memory_bytes();
    }
    CHECK(rolling.memory_bytes() < 2 * full);
}

TEST_CASE("a window that has let slots go equals one that never saw them") {
    window rolling(1ms, 100);
    for (int i = 0; i < 1000; ++i) {
        rolling.add_at(at(i * 1ms), 1.0 * i);
        if (i < 960) continue;
        window young(1ms, 100);
        for (int j = i - 99; j <= i; ++j) young.add_at(at(j * 1ms), 1.0 * j);
        REQUIRE(rolling == young);
        REQUIRE(rolling.serialize() == young.serialize());
        REQUIRE(rolling.query(1s, at(i * 1ms)).sketch == young.query(1s, at(i * 1ms)).sketch);
        window into_new(1ms, 100);
        into_new.merge(rolling);
        REQUIRE(into_new == young);
        window twice = rolling;
        twice.merge(young);
        REQUIRE(twice.query(1s, at(i * 1ms)).sketch.count() == 200);
        REQUIRE(twice.serialize().size() > young.serialize().size());
    }
}

TEST_CASE("impossible windows are refused") {
    const auto build = [](duration slot, std::size_t slots) { return window(slot, slots); };
    CHECK_THROWS_AS(build(0ms, 1), std::invalid_argument);
    CHECK_THROWS_AS(build(-1ms, 1), std::invalid_argument);
    CHECK_THROWS_AS(build(1ms, 0), std::invalid_argument);
    CHECK_THROWS_AS(build(1ms, window::max_slots + 1), std::invalid_argument);
    CHECK_THROWS_AS(build(duration::max(), 2), std::invalid_argument);
    CHECK_THROWS_AS(build(duration::max() / window::max_slots + 1ms, window::max_slots), std::invalid_argument);
    CHECK(build(1ms, window::max_slots).span() == 1ms * std::int64_t{window::max_slots});
    CHECK(build(10ms, 6).slot() == 10ms);
    CHECK(build(10ms, 6).slots() == 6);
    CHECK(build(10ms, 6).span() == 60ms);

    exact_quantiles filled;
    filled.add(1.0);
    CHECK_THROWS_AS(window(1ms, 1, filled), std::invalid_argument);
    CHECK_THROWS_AS(window(1ms, 1, exact_quantiles{}, clock_type{}, -1ms), std::invalid_argument);
}
