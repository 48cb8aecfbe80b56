#include <qsketch/count_min.hpp>
#include <qsketch/exp_window.hpp>
#include <qsketch/hyperloglog.hpp>
#include <qsketch/sliding_window.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::exp_window<exact_quantiles, clock_type>;
using level = window::level;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

std::vector<double> values(const exact_quantiles& sketch) {
    return std::vector<double>(sketch.values().begin(), sketch.values().end());
}

struct event {
    time_point when;
    double value;
};

std::vector<double> between(const std::vector<event>& events, time_point from, time_point to) {
    std::vector<double> found;
    for (const auto& e : events)
        if (from <= e.when && e.when < to) found.push_back(e.value);
    std::sort(found.begin(), found.end());
    return found;
}

std::int64_t floor_to(std::int64_t t, std::int64_t span) { return t - ((t % span) + span) % span; }

/// The span of the first level that is kept for `length` or longer.
duration span_for(std::span<const level> levels, duration length) {
    for (const auto& l : levels)
        if (l.keep >= length) return l.span;
    return levels.back().span;
}

const std::vector<std::vector<level>> some_levels{
    window::exponential(10ms, 1, 5000ms), window::exponential(10ms, 4, 5000ms),
    window::exponential(7ms, 16, 6000ms), {{10ms, 200ms}, {600ms, 2400ms}, {1200ms, 5000ms}},
    {{1ms, 100ms}, {1000ms, 5000ms}},     {{50ms, 5000ms}},
};

/// A series with bursts, gaps, stragglers and steps back, that begins before the epoch.
class arrivals {
public:
    explicit arrivals(std::uint64_t seed) : random_(seed) {}

    event next() {
        base_ += random_.between(0, 15);
        if (random_.below(150) == 0) base_ += random_.between(0, 9000);
        if (random_.below(300) == 0) base_ -= random_.between(0, 9000);
        const std::int64_t late = random_.below(4) == 0 ? random_.between(-100, 7000) : 0;
        return {at(duration(base_ - late)), random_.unit()};
    }
    [[nodiscard]] time_point base() const { return at(duration(base_)); }
    support::random_bits& random() { return random_; }

private:
    support::random_bits random_;
    std::int64_t base_ = -3000;
};

} // namespace

TEST_CASE("an answer holds the events of the interval that it says it covers, and no others") {
    for (const auto& levels : some_levels)
        for (std::uint64_t seed = 1; seed <= 3; ++seed) {
            CAPTURE(levels.size(), levels[0].span.count(), seed);
            arrivals source(seed);
            window w(levels);
            std::vector<event> kept;
            std::uint64_t dropped = 0;
            time_point newest = time_point::min();
            for (int i = 0; i < 1500; ++i) {
                const event e = source.next();
                const std::int64_t top = levels.back().span.count();
                newest = (std::max)(newest, e.when);
                const std::int64_t newest_end =
                    floor_to(newest.time_since_epoch().count(), levels[0].span.count()) + levels[0].span.count();
                const std::int64_t oldest = floor_to(newest_end - levels.back().keep.count(), top);
                const bool retained = e.when.time_since_epoch().count() >= oldest;
                REQUIRE(w.add_at(e.when, e.value) == retained);
                if (retained)
                    kept.push_back(e);
                else
                    ++dropped;
                REQUIRE(w.dropped_late() == dropped);
                REQUIRE(w.buckets() <= w.most_buckets());

                auto& random = source.random();
                const auto now = source.base() + duration(random.between(-6000, 1000));
                const auto answer = w.query(duration(random.between(1, 8000)), now);
                REQUIRE(answer.dropped_late == dropped);
                REQUIRE(values(answer.sketch) == between(kept, answer.from, answer.to));
                REQUIRE(answer.from >= (std::min)(at(duration(oldest)), answer.to));
                const auto all = w.query(duration::max(), newest);
                REQUIRE(all.from == at(duration(oldest)));
                REQUIRE(values(all.sketch) == between(kept, at(duration(oldest)), time_point::max()));
            }
            CHECK(dropped > 0);
            CHECK(w.buckets() > w.most_buckets() / 12);
        }
}

TEST_CASE("a window that ends with the newest event is off by half the span of its level at most") {
    for (const auto& levels : some_levels) {
        const duration granule = levels[0].span;
        arrivals source(7);
        window w(levels);
        time_point newest = time_point::min();
        for (int i = 0; i < 3000; ++i) {
            const event e = source.next();
            w.add_at(e.when, e.value);
            newest = (std::max)(newest, e.when);
            const duration length(source.random().between(1, levels.back().keep.count()));
            const auto answer = w.query(length, newest);
            const auto end = at(duration(floor_to(newest.time_since_epoch().count(), granule.count())) + granule);
            const auto begin = end - (length + granule - 1ms) / granule * granule;
            CAPTURE(length.count(), begin.time_since_epoch().count(), answer.from.time_since_epoch().count());
            REQUIRE(answer.to == end);
            REQUIRE(std::chrono::abs(answer.from - begin) <= span_for(levels, end - begin) / 2);
        }
    }
}

TEST_CASE("while there are few buckets every window is exact, however old") {
    window w(window::exponential(10ms, 8, 100'000ms));
    qsketch::sliding_window<exact_quantiles, clock_type> exact(10ms, 10'000);
    support::random_bits random(5);
    std::int64_t now = -4000;
    for (std::size_t i = 0; i < w.most_buckets(); ++i) {
        now += random.between(1, 1000);
        const auto when = at(duration(now));
        w.add_at(when, 1.0 * static_cast<double>(i));
        exact.add_at(when, 1.0 * static_cast<double>(i));
        for (int j = 0; j < 20; ++j) {
            const duration length(random.between(1, 99'000));
            const auto end = at(duration(now - random.between(-100, (std::min)(now + 4000, std::int64_t{900}))));
            const auto answer = w.query(length, end);
            const auto expected = exact.query(length, end);
            REQUIRE(answer.from == expected.from);
            REQUIRE(answer.to == expected.to);
            REQUIRE(answer.sketch == expected.sketch);
        }
    }
    CHECK(w.buckets() > w.most_buckets() / 2);
}

TEST_CASE("a day by the second: windows of any length are exact, or off by 1/k of it at most") {
    using counts = qsketch::exp_window<support::exact_count, support::mock_clock<std::ratio<1>>>;
    using seconds_point = counts::time_point;
    const auto k = GENERATE(1u, 4u, 12u, 16u);
    counts w(counts::exponential(1s, k, 24h));
    for (std::int64_t t = 0; t < 100'000; ++t) {
        w.add_at(seconds_point(std::chrono::seconds(t)), static_cast<std::uint64_t>(t % 3 + 1));
        if (t > 99'900 || t % 9973 == 0)
            for (const auto length : {1s, 7s, 59s, 61s, std::chrono::seconds(1h), std::chrono::seconds(24h)}) {
                CAPTURE(k, t, length.count());
                const auto answer = w.query(length, seconds_point(std::chrono::seconds(t)));
                const auto from = answer.from.time_since_epoch().count();
                REQUIRE(answer.to == seconds_point(std::chrono::seconds(t + 1)));
                std::uint64_t truth = 0;
                for (std::int64_t s = from; s <= t; ++s) truth += s < 0 ? 0 : static_cast<std::uint64_t>(s % 3 + 1);
                REQUIRE(answer.sketch.count() == truth);
                const auto error = std::abs(t + 1 - length.count() - from);
                REQUIRE(error * k <= length.count());
                if (length.count() <= k) REQUIRE(error == 0);
            }
    }
    CHECK(w.buckets() == w.most_buckets());
    if (k == 12) CHECK(w.buckets() == 167);
    if (k == 16) CHECK(w.buckets() == 211);
}

TEST_CASE("windows of whole minutes and hours are exact by calendar") {
    using counts = qsketch::exp_window<support::exact_count, support::mock_clock<std::ratio<1>>>;
    using seconds_point = counts::time_point;
    counts w(counts::calendar(2min, 2h, 48h));
    const std::int64_t start = 1'700'000'000 / 3600 * 3600;
    const std::int64_t days = 3 * 86400;
    for (std::int64_t t = 0; t < days; ++t) w.add_at(seconds_point(std::chrono::seconds(start + t)));
    CHECK(w.buckets() + 2 > w.most_buckets());
    const auto exact = [&](std::chrono::seconds length, std::int64_t ago) {
        CAPTURE(length.count(), ago);
        const auto end = seconds_point(std::chrono::seconds(start + days - ago));
        const auto answer = w.query(length, end - 1s);
        CHECK(answer.to == end);
        CHECK(answer.from == end - length);
        CHECK(answer.sketch.count() == static_cast<std::uint64_t>(length.count()));
    };
    for (const std::int64_t seconds : {1, 7, 59, 60, 119, 120}) exact(std::chrono::seconds(seconds), 0);
    for (const std::int64_t minutes : {1, 2, 5, 59, 60, 61, 119, 120}) exact(std::chrono::minutes(minutes), 0);
    for (const std::int64_t hours : {1, 2, 3, 24, 48}) exact(std::chrono::hours(hours), 0);
    for (const std::int64_t minutes : {1, 5, 59}) exact(std::chrono::minutes(minutes), 3600);
    for (const std::int64_t hours : {1, 3, 24}) exact(std::chrono::hours(hours), 20 * 3600);
    // Not on the minute, some hours ago: by the nearer hour.
    const auto answer = w.query(90min, seconds_point(std::chrono::seconds(start + days - 10 * 3600 - 1)));
    CHECK((answer.to - answer.from == 1h || answer.to - answer.from == 2h));
    CHECK(answer.sketch.count() == static_cast<std::uint64_t>((answer.to - answer.from).count()));
}

TEST_CASE("an edge inside a bucket moves to the nearer end, and takes it in if both are as near") {
    window w({{10ms, 20ms}, {80ms, 800ms}});
    for (int i = 0; i < 80; ++i) w.add_at(at(i * 10ms), 1.0 * i); // over the bound: the oldest are joined
    REQUIRE(w.buckets() < 80);
    const auto from = [&](std::int64_t asked) {
        const auto answer = w.query(duration(800 - asked), at(799ms));
        return answer.from.time_since_epoch().count();
    };
    const auto to = [&](std::int64_t last) { return w.query(800ms, at(duration(last))).to.time_since_epoch().count(); };
    CHECK(from(0) == 0);
    CHECK(from(30) == 0);
    CHECK(from(40) == 0);
    CHECK(from(50) == 80);
    CHECK(from(80) == 80);
    CHECK(to(29) == 0);
    CHECK(to(39) == 80);
    CHECK(to(49) == 80);
    CHECK(to(79) == 80);
    const auto within = w.query(20ms, at(29ms)); // nearer to the start, both ends
    CHECK(within.from == at(0ms));
    CHECK(within.to == at(0ms));
    CHECK(within.sketch.empty());
}

TEST_CASE("time that jumps costs no more than the buckets there are") {
    window w(window::exponential(1ms, 4, 24h));
    for (int i = 0; i < 1000; ++i) w.add_at(at(i * 1ms), 1.0 * i);
    const auto full = w.query(24h, at(999ms)).sketch.count();
    CHECK(full == 1000);
    CHECK(w.add_at(at(6h), 1.0)); // hours on: nothing is lost
    CHECK(w.query(24h, at(6h)).sketch.count() == 1001);
    CHECK(w.add_at(at(999ms), 1.0)); // and back
    CHECK(w.query(24h, at(6h)).sketch.count() == 1002);
    CHECK(w.query(1ms, at(6h)).sketch.count() == 1);
    CHECK(w.add_at(at(30h), 1.0));
    CHECK(w.query(24h, at(30h)).sketch.count() == 1);
    CHECK(w.query(24h + 1ms, at(30h)).sketch.count() == 2); // the retention ends with a whole bucket
    CHECK(w.add_at(at(24h * 365 * 9000), 1.0));             // beyond the year 9999
    CHECK(w.buckets() == 1);
    CHECK_FALSE(w.add_at(at(30h), 1.0));
    CHECK_FALSE(w.add_at(at(-24h * 365 * 9000), 1.0));
    CHECK(w.dropped_late() == 2);
    CHECK(w.query(24h, at(30h)).sketch.empty());
    CHECK(w.query(24h, at(30h)).from == w.query(24h, at(30h)).to);
    CHECK(w.query(24h, at(30h)).dropped_late == 2);
}

TEST_CASE("all of time, in levels of any size, overflows nothing") {
    using nano_clock = support::mock_clock<std::nano>;
    using nano_window = qsketch::exp_window<exact_quantiles, nano_clock>;
    using ticks = nano_clock::duration;
    using nano_time = nano_clock::time_point;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        const auto anywhere = [&] {
            const std::int64_t t = static_cast<std::int64_t>(random()) >> random.below(64);
            switch (random.below(4)) {
            case 0:
                return nano_time(ticks((std::numeric_limits<std::int64_t>::max)() - (t < 0 ? ~t : t)));
            case 1:
                return nano_time(ticks((std::numeric_limits<std::int64_t>::min)() + (t < 0 ? ~t : t)));
            default:
                return nano_time(ticks(t));
            }
        };
        const auto positive = [&] { return static_cast<std::int64_t>(random() >> (1 + random.below(63))) | 1; };
        std::vector<nano_window::level> levels;
        if (seed % 3 == 0) {
            std::int64_t granule = positive();
            std::int64_t retention = positive();
            if (retention < granule) std::swap(granule, retention);
            levels = nano_window::exponential(ticks(granule), 1 + random.below(20), ticks(retention));
        } else {
            const std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
            std::int64_t span = (std::min)(positive(), positive());
            std::int64_t keep = 0;
            while (levels.empty() || random.below(4) > 0) {
                const std::int64_t least = (std::max)(span, keep + 1);
                keep = least + random.between(0, (std::min)((most - least) / 2, 10 * (std::min)(span, most / 10)));
                levels.push_back({ticks(span), ticks(keep)});
                const std::int64_t factor = 2 + random.between(0, 6);
                if (span > most / factor || keep == most) break;
                span *= factor;
            }
        }
        nano_window w(levels);
        std::vector<nano_time> kept;
        nano_time near = anywhere();
        for (int i = 0; i < 300; ++i) {
            if (random.below(30) == 0) near = anywhere();
            const auto spread = levels[random.below(levels.size())].span.count();
            const auto off = random.between(0, spread);
            const auto base = near.time_since_epoch().count();
            const bool up = random.below(3) > 0;
            const auto room = up ? (std::numeric_limits<std::int64_t>::max)() - (std::max)(base, std::int64_t{0})
                                 : (std::min)(base, std::int64_t{-1}) - (std::numeric_limits<std::int64_t>::min)();
            const auto when = nano_time(ticks(up ? base + (std::min)(off, room) : base - (std::min)(off, room)));
            if (up) near = when;
            if (w.add_at(when, static_cast<double>(i))) kept.push_back(when);
            REQUIRE(w.buckets() <= w.most_buckets());
            if (i % 20 == 0) w.flush();
            const auto now = random.below(2) == 0 ? near : anywhere();
            const auto answer = w.query(ticks(positive()), now);
            REQUIRE(answer.from <= answer.to);
            const auto into = [&](nano_time t) { return t.time_since_epoch() % levels[0].span; };
            const bool to_the_end = now >= nano_time::max() - into(nano_time::max()); // and that one too
            const auto truth = std::count_if(kept.begin(), kept.end(), [&](nano_time t) {
                return answer.from <= t && (t < answer.to || to_the_end);
            });
            REQUIRE(static_cast<std::int64_t>(answer.sketch.count()) == truth);
        }
        REQUIRE(nano_window::deserialize(w.serialize()) == w);
        nano_window twice = w;
        twice.merge(w);
        REQUIRE(twice.buckets() == w.buckets());
        nano_window other(levels);
        other.add_at(anywhere(), 1.0);
        nano_window both = other;
        both.merge(w);
        REQUIRE(nano_window::deserialize(both.serialize()) == both);
        other.add_at(nano_time::max(), 1.0);
        other.add_at(nano_time::min(), 1.0);
        REQUIRE(other.query(ticks::max(), nano_time::max()).to == nano_time::max());
        other.merge(w);
        REQUIRE(other.query(ticks(1), nano_time::max()).sketch.count() >= 1);
    }
}

TEST_CASE("the order of arrival changes no count, and no bit of what merges exactly") {
    using keys_window = qsketch::exp_window<qsketch::hyperloglog<std::uint64_t>, clock_type>;
    using counts_window = qsketch::exp_window<qsketch::count_min<std::uint64_t>, clock_type>;
    const qsketch::hyperloglog<std::uint64_t> no_keys(8);
    const qsketch::count_min<std::uint64_t> no_counts({.width = 64, .depth = 3});
    const auto levels = keys_window::exponential(10ms, 6, 60'000ms);
    const auto other_levels = counts_window::exponential(10ms, 6, 60'000ms);

    support::random_bits random(3);
    struct arrival {
        std::int64_t arrives;
        std::int64_t when;
        std::uint64_t key;
    };
    std::vector<arrival> events;
    for (int i = 0; i < 20'000; ++i) {
        const std::int64_t when = 3 * i;
        events.push_back({when + random.between(0, 30'000), when, random.below(3000)});
    }
    keys_window in_order(levels, no_keys);
    for (const auto& e : events) REQUIRE(in_order.add_at(at(duration(e.when)), e.key));
    std::sort(events.begin(), events.end(), [](const arrival& a, const arrival& b) { return a.arrives < b.arrives; });
    keys_window shuffled(levels, no_keys);
    counts_window counted(other_levels, no_counts);
    for (const auto& e : events) {
        REQUIRE(shuffled.add_at(at(duration(e.when)), e.key));
        REQUIRE(counted.add_at(at(duration(e.when)), e.key));
    }
    const auto now = at(duration(59'999));
    for (const auto length : {10ms, 60ms, 400ms, 5'000ms, 20'000ms, 60'000ms}) {
        CAPTURE(length.count());
        for (const auto* w : {&in_order, &shuffled}) {
            const auto answer = w->query(length, now);
            auto truth = no_keys;
            for (const auto& e : events)
                if (answer.from <= at(duration(e.when)) && at(duration(e.when)) < answer.to) truth.add(e.key);
            CHECK(answer.sketch == truth);
        }
        const auto answer = counted.query(length, now);
        auto truth = no_counts;
        for (const auto& e : events)
            if (answer.from <= at(duration(e.when)) && at(duration(e.when)) < answer.to) truth.add(e.key);
        CHECK(answer.sketch == truth);
        CHECK(in_order.query(length, now).from == shuffled.query(length, now).from);
    }
}
