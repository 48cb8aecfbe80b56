#include <qsketch/exp_window.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

using namespace std::chrono_literals;

namespace {

struct seconds_clock {
    using duration = std::chrono::seconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::sys_seconds;
    [[maybe_unused]] static constexpr bool is_steady = false;
    static time_point now() { return {}; }
};

using window = qsketch::exp_window<qsketch::tdigest<>, seconds_clock>;
using levels = std::vector<window::level>;

constexpr std::chrono::sys_seconds start{std::chrono::seconds(1'700'000'000)};

std::uint64_t count(const window& w, std::chrono::seconds length, std::chrono::sys_seconds now) {
    return w.query(length, now).sketch.count();
}

struct replay {
    explicit replay(levels l, int n, std::uint64_t seed, std::uint64_t gap) : filled(std::move(l)) {
        std::mt19937_64 random(seed);
        for (int i = 0; i < n; ++i) {
            now += std::chrono::seconds(random() % gap);
            filled.add_at(now, static_cast<double>(i));
            ++events[now];
        }
    }
    std::chrono::sys_seconds now = start;
    window filled;
    std::map<std::chrono::sys_seconds, std::uint64_t> events;
};

} // namespace

TEST_CASE("a window under other levels has the same events, as far as these keep them") {
    const auto doubling = [](std::chrono::seconds retention) { return window::exponential(1s, 8, retention); };
    const levels calendar = window::calendar(1h, 24h, 240h);
    const levels minutes = {{60s, 3600s}, {3600s, 240h}};
    for (const levels& from : {doubling(24h), doubling(400h), calendar})
        for (const levels& to : {doubling(1h), doubling(24h), doubling(1000h), calendar, minutes, levels{{1s, 100s}}})
            for (const std::uint64_t gap : {2u, 90u, 5000u}) {
                CAPTURE(from.size(), from.back().keep.count(), to.size(), to.back().keep.count(), gap);
                const replay r(from, 3000, gap, gap);
                const window moved = r.filled.under(to);
                CHECK(levels(moved.levels().begin(), moved.levels().end()) == to);
                CHECK(moved.buckets() <= moved.most_buckets());
                // What both keep is there, but for a bucket at the far end.
                const auto length = (std::min)(r.filled.retention(), moved.retention());
                const auto longest = (std::max)(from.back().span, to.back().span);
                std::uint64_t inside = 0;
                std::uint64_t about = 0;
                for (const auto& [at, n] : r.events) {
                    inside += at > r.now - length + 2 * longest ? n : 0;
                    about += at > r.now - length - 2 * longest ? n : 0;
                }
                const std::uint64_t got = count(moved, length + longest, r.now + longest);
                CHECK(got >= inside);
                CHECK(got <= about);
                CHECK(window::deserialize(moved.serialize()) == moved);
                window more = moved;
                more.add_at(r.now + 1s, 1.0);
                more.merge(moved);
                CHECK(count(more, length + longest, r.now + longest) >= 2 * inside);
            }
}

TEST_CASE("windows merged and joined at many places at once have buckets that do not overlap") {
    for (std::uint64_t gap = 1; gap < 300; gap += 7) {
        std::mt19937_64 random(gap);
        window a(window::exponential(1s, 8, 24h));
        window b = a;
        auto now = start;
        for (int i = 0; i < 300; ++i) {
            now += std::chrono::seconds(random() % gap);
            (random() % 2 == 0 ? a : b).add_at(now, static_cast<double>(i));
        }
        a.merge(b);
        CHECK(count(a, 24h, now) == 300);
        CHECK(window::deserialize(a.serialize()) == a);
    }
}

TEST_CASE("a window that is to be kept for longer goes on as it is") {
    for (const std::uint64_t gap : {2u, 90u}) {
        const replay r(window::exponential(1s, 8, 24h), 3000, 3, gap);
        const window moved = r.filled.under(window::exponential(1s, 8, 400h));
        for (const auto length : {1s, 9s, 100s, 1000s, 10'000s, 86'400s}) {
            const auto a = r.filled.query(length, r.now);
            const auto b = moved.query(length, r.now);
            CHECK(a.to == b.to);
            CHECK((a.from == b.from || r.filled.query(length + 3600s, r.now).from == b.from || length > 80'000s));
            CHECK(b.sketch.count() >= a.sketch.count());
        }
        CHECK(r.filled.under(levels(r.filled.levels().begin(), r.filled.levels().end())) == r.filled);
    }
    const window empty(window::exponential(1s, 8, 24h));
    CHECK(empty.under(window::exponential(1s, 4, 1h)) == window(window::exponential(1s, 4, 1h)));
    CHECK_THROWS_AS(empty.under({}), std::invalid_argument);
}
