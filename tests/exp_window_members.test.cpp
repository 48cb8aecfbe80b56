// What exp_window does besides being right about time: what it prepares and remembers, what it refuses, what it holds.

#include <qsketch/exp_window.hpp>
#include <qsketch/hyperloglog.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using support::exact_quantiles_at_once;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::exp_window<exact_quantiles, clock_type>;
using digests = qsketch::exp_window<qsketch::tdigest<>, clock_type>;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

} // namespace

TEST_CASE("what flush prepares changes no answer, whatever happens after it") {
    using at_once = qsketch::exp_window<exact_quantiles_at_once, clock_type>;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        const auto levels = seed % 2 == 0
                                ? at_once::exponential(10ms, 7, 30'000ms)
                                : std::vector<at_once::level>{{10ms, 400ms}, {200ms, 8000ms}, {2000ms, 30'000ms}};
        at_once prepared(levels);
        at_once plain(levels);
        std::int64_t now = 0;
        std::size_t used = 0;
        for (int i = 0; i < 4000; ++i) {
            now += random.between(0, 20);
            if (random.below(1000) == 0) now += 10'000;
            const std::int64_t late = random.below(10) == 0 ? random.between(0, random.below(2) == 0 ? 60 : 20'000) : 0;
            const double value = random.unit();
            REQUIRE(prepared.add_at(at(duration(now - late)), value) == plain.add_at(at(duration(now - late)), value));
            if (random.below(5) == 0) prepared.flush();
            if (random.below(4) > 0) continue;
            const duration length(random.between(1, 32'000));
            const auto end = at(duration(now - (random.below(4) == 0 ? random.between(-1000, 9000) : 0)));
            const auto answer = prepared.query(length, end);
            const auto expected = plain.query(length, end);
            REQUIRE(answer.from == expected.from);
            REQUIRE(answer.to == expected.to);
            REQUIRE(answer.sketch == expected.sketch);
            const auto& remembered = prepared.cached_query(length, end);
            REQUIRE(remembered.from == expected.from);
            REQUIRE(remembered.sketch == expected.sketch);
            REQUIRE(prepared == plain);
            if (answer.sketch.most_parts < expected.sketch.most_parts) ++used;
        }
        CHECK(used > 250);
    }
}

TEST_CASE("after flush, a window that ends with the newest events is merged of some thirty sketches") {
    using at_once = qsketch::exp_window<exact_quantiles_at_once, support::mock_clock<std::ratio<1>>>;
    using seconds_point = at_once::time_point;
    for (const auto& levels : {at_once::exponential(1s, 16, 24h), at_once::calendar(2min, 2h, 48h)}) {
        at_once w(levels);
        for (std::int64_t t = 0; t < 9000; ++t) {
            const auto now = seconds_point(std::chrono::seconds(t));
            if (t % 7 == 0 || t > 8900) w.add_at(now, 1.0);
            if (t < 8000 || t % 13 != 0) continue;
            w.flush();
            for (const auto length : {10s, 60s, 300s, 3600s, 7200s, 86400s}) {
                CAPTURE(t, length.count());
                const auto answer = w.query(length, now);
                REQUIRE(answer.sketch.most_parts <= 29);
                REQUIRE(answer.sketch.count() > 0);
            }
        }
        CHECK(w.query(86400s, seconds_point(9000s)).sketch.count() > 1000);
        CHECK(at_once(w).buckets() > 150);
    }
}

TEST_CASE("an answer is remembered until something is added, and a few of them at a time") {
    digests w(digests::exponential(10ms, 8, 10'000ms));
    for (int i = 0; i < 3000; ++i) w.add_at(at(i * 1ms), 1.0 * i);
    const auto* first = &w.cached_query(500ms, at(2999ms)).sketch;
    CHECK(first->count() == w.query(500ms, at(2999ms)).sketch.count());
    CHECK(first == &w.cached_query(500ms, at(2999ms)).sketch);
    CHECK(first == &w.cached_query(499ms, at(2995ms)).sketch); // the same buckets
    CHECK(first->quantile(0.5) == w.query(500ms, at(2999ms)).sketch.quantile(0.5));
    const auto memory = w.memory_bytes();
    for (int i = 1; i < 50; ++i)
        CHECK(w.cached_query(i * 10ms, at(2999ms)).sketch.count() == w.query(i * 10ms, at(2999ms)).sketch.count());
    CHECK(w.memory_bytes() < memory + 4 * 40'000);

    w.add_at(at(2999ms), 1.0);
    CHECK(w.cached_query(500ms, at(2999ms)).sketch.count() == w.query(500ms, at(2999ms)).sketch.count());
    w.add_at(at(2500ms), 1.0); // late
    CHECK(w.cached_query(500ms, at(2999ms)).sketch.count() == w.query(500ms, at(2999ms)).sketch.count());
    CHECK_FALSE(w.add_at(at(-100'000ms), 1.0));
    CHECK(w.cached_query(500ms, at(2999ms)).dropped_late == 1);
    w.merge(digests(w));
    CHECK(w.cached_query(500ms, at(2999ms)).sketch.count() == w.query(500ms, at(2999ms)).sketch.count());
    w.clear();
    CHECK(w.cached_query(500ms, at(2999ms)).sketch.empty());
    CHECK_THROWS_AS(w.cached_query(0ms, at(0ms)), std::invalid_argument);
}

TEST_CASE("buckets that cannot be joined leave the window as it was") {
    digests w({{10ms, 10ms}, {20ms, 20ms}, {40ms, 80ms}});
    const std::uint64_t half = std::uint64_t{1} << 52;
    int taken = 0;
    for (int i = 0; i < 20; ++i) {
        digests before = w;
        try {
            w.add_at(at(i * 10ms), 1.0, half + 1);
            ++taken;
        } catch (const qsketch::incompatible_error&) {
            REQUIRE(w == before);
            REQUIRE(w.serialize() == before.serialize());
            REQUIRE(w.add_at(at((taken - 1) * 10ms), 2.0));
            before.add_at(at((taken - 1) * 10ms), 2.0);
            REQUIRE(w == before);
            CHECK(w.add_at(at(5000ms), 2.0)); // nothing is left to be joined
            CHECK(w.buckets() == 1);
            return;
        }
    }
    FAIL("all were joined");
}

TEST_CASE("no length, no answer") {
    window w(window::exponential(10ms, 4, 1000ms));
    w.add_at(at(0ms), 1.0);
    CHECK_THROWS_AS(w.query(0ms, at(45ms)), std::invalid_argument);
    CHECK_THROWS_AS(w.query(-1ms, at(45ms)), std::invalid_argument);
    CHECK_THROWS_AS(w.query(duration::min(), at(45ms)), std::invalid_argument);
    CHECK(window(window::exponential(10ms, 4, 1000ms)).query(20ms, at(45ms)).from == at(30ms));
    CHECK(window(window::exponential(10ms, 4, 1000ms)).query(20ms, at(45ms)).to == at(50ms));
}

TEST_CASE("impossible levels are refused") {
    const auto build = [](std::vector<window::level> levels) { return window(std::move(levels)); };
    CHECK_THROWS_AS(build({}), std::invalid_argument);
    CHECK_THROWS_AS(build({{0ms, 10ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{-10ms, 10ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{10ms, 9ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{10ms, duration::max()}}), std::invalid_argument); // 2^63 nanoseconds are less
    CHECK_THROWS_AS(build({{10ms, 20ms}, {10ms, 40ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{10ms, 20ms}, {25ms, 40ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{10ms, 20ms}, {5ms, 40ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{10ms, 20ms}, {20ms, 20ms}}), std::invalid_argument);
    CHECK_THROWS_AS(build({{1ms, 0x1'0000'0000ms}}), std::invalid_argument);
    CHECK(build({{1ms, 0xffff'fffems}}).most_buckets() == 0xffff'ffff);
    std::vector<window::level> many;
    for (int i = 0; i < 65; ++i) many.push_back({duration(1ull << (i % 40)), duration(1ull << (i % 40))});
    CHECK_THROWS_AS(build(many), std::invalid_argument);
    CHECK(build({{10ms, 20ms}, {20ms, 40ms}}).levels().size() == 2);
    CHECK(build({{10ms, 20ms}, {20ms, 40ms}}).retention() == 40ms);

    exact_quantiles filled;
    filled.add(1.0);
    const std::vector<window::level> fine{{10ms, 20ms}, {20ms, 40ms}};
    CHECK_THROWS_AS(window(fine, filled), std::invalid_argument);
    CHECK_THROWS_AS(window(fine, exact_quantiles{}, clock_type{}, -1ms), std::invalid_argument);
    const auto with = [&](std::vector<exact_quantiles> prototypes) { return window(fine, std::move(prototypes)); };
    CHECK_THROWS_AS(with({}), std::invalid_argument);
    CHECK_THROWS_AS(with(std::vector<exact_quantiles>(3)), std::invalid_argument);
    CHECK_THROWS_AS(with({exact_quantiles{}, filled}), std::invalid_argument);
    CHECK_THROWS_AS(with({exact_quantiles{}, exact_quantiles(1)}), std::invalid_argument);
    CHECK(with(std::vector<exact_quantiles>(2)).empty());
}

TEST_CASE("the presets are what they say") {
    const auto levels = window::exponential(10ms, 3, 1000ms);
    REQUIRE(levels.size() == 5);
    std::int64_t keep = 0;
    for (std::size_t l = 0; l < levels.size(); ++l) {
        CHECK(levels[l].span == duration(10 << l));
        keep += 30 << l;
        CHECK(levels[l].keep == duration(l + 1 < levels.size() ? keep : 1000));
    }
    CHECK(window::exponential(10ms, 100, 1000ms) == std::vector<window::level>{{10ms, 1000ms}});
    CHECK(window::exponential(10ms, 5, 10ms) == std::vector<window::level>{{10ms, 10ms}});
    for (const std::size_t k : {1u, 2u, 7u, 100u})
        for (std::int64_t retention = 10; retention < 3000; retention += 7)
            REQUIRE(window(window::exponential(10ms, k, duration(retention))).retention() == duration(retention));
    CHECK_THROWS_AS(window::exponential(0ms, 3, 1000ms), std::invalid_argument);
    CHECK_THROWS_AS(window::exponential(-1ms, 3, 1000ms), std::invalid_argument);
    CHECK_THROWS_AS(window::exponential(10ms, 0, 1000ms), std::invalid_argument);
    CHECK_THROWS_AS(window::exponential(10ms, 3, 9ms), std::invalid_argument);
    CHECK(window::calendar(2min, 2h, 48h) == std::vector<window::level>{{1s, 2min}, {1min, 2h}, {1h, 48h}});
}

TEST_CASE("each level may have a prototype, and answers have the first one's parameters") {
    const auto levels = digests::exponential(10ms, 4, 10'000ms);
    std::vector<qsketch::tdigest<>> prototypes;
    for (std::size_t l = 0; l < levels.size(); ++l) prototypes.emplace_back(l < 2 ? 100 : 20);
    digests w(levels, prototypes);
    digests even(levels, qsketch::tdigest<>(100));
    support::random_bits random(1);
    for (int i = 0; i < 10'000; ++i)
        for (int j = 0; j < 20; ++j) {
            const double x = random.unit();
            w.add_at(at(i * 1ms), x);
            even.add_at(at(i * 1ms), x);
        }
    const auto answer = w.query(10'000ms, at(9'999ms));
    CHECK(answer.sketch.compression() == 100);
    CHECK(answer.sketch.count() == even.query(10'000ms, at(9'999ms)).sketch.count());
    CHECK(std::abs(answer.sketch.quantile(0.5) - 0.5) < 0.03);
    CHECK(w.memory_bytes() < even.memory_bytes() * 2 / 3);
    CHECK(w.compatible(even) == even.compatible(w));
    CHECK_FALSE(w == even);
    const auto read = digests::deserialize(w.serialize());
    CHECK(read == w);
    CHECK_FALSE(read == even);

    using keys = qsketch::hyperloglog<std::uint64_t>;
    using keys_window = qsketch::exp_window<keys, clock_type>;
    CHECK_THROWS_AS(keys_window({{10ms, 20ms}, {20ms, 40ms}}, std::vector{keys(10), keys(9)}), std::invalid_argument);
}

TEST_CASE("what query merges can be had in its parts") {
    digests w(digests::exponential(10ms, 6, 20'000ms));
    support::random_bits random(7);
    CHECK(w.query_parts(100ms, at(0ms)).sketches.empty());
    for (int i = 0; i < 20'000; ++i) w.add_at(at(i * 1ms), random.unit());
    for (const bool flushed : {false, true}) {
        if (flushed) w.flush();
        for (const auto length : {10ms, 500ms, 3000ms, 20'000ms, 50'000ms}) {
            const auto answer = w.query(length, at(19'999ms));
            const auto parts = w.query_parts(length, at(19'999ms));
            CHECK(parts.from == answer.from);
            CHECK(parts.to == answer.to);
            qsketch::tdigest<> merged;
            merged.merge(parts.sketches);
            CHECK(merged == answer.sketch);
            CHECK((!flushed || parts.sketches.size() < 30));
        }
    }
    CHECK_THROWS_AS(w.query_parts(0ms, at(19'999ms)), std::invalid_argument);
}

namespace {

/// A count that is large unless it is compacted.
class swelling_count {
public:
    void add(int n) {
        count_ += n;
        large_ = true;
    }
    void merge(const swelling_count& other) { add(other.count_); }
    void compact() { large_ = false; }
    void clear() { count_ = 0; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] bool compatible(const swelling_count&) const noexcept { return true; }
    [[nodiscard]] bool large() const { return large_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return sizeof *this; }
    [[nodiscard]] std::vector<std::byte> serialize() const { return {}; }
    [[nodiscard]] static swelling_count deserialize(std::span<const std::byte>) { return {}; }
    bool operator==(const swelling_count&) const = default;

private:
    int count_ = 0;
    bool large_ = false;
};

} // namespace

TEST_CASE("buckets that late events made large are compacted behind sixteen newer ones") {
    qsketch::exp_window<swelling_count, clock_type> w({{10ms, 10'000ms}});
    const auto large = [&] {
        std::size_t n = 0;
        const auto parts = w.query_parts(20'000ms, at(w.buckets() * 10ms));
        for (const swelling_count* s : parts.sketches) n += s->large() ? 1 : 0;
        return n;
    };
    for (int i = 0; i < 100; ++i) {
        w.add_at(at(i * 10ms), 1);
        for (int late = 1; late <= (std::min)(i, 12); ++late) w.add_at(at((i - late) * 10ms), 1);
        REQUIRE(large() <= 16);
    }
    CHECK(large() == 16);
    w.add_at(at(0ms), 1); // too late for that
    CHECK(large() == 17);
    for (int i = 100; i < 120; ++i) w.add_at(at(i * 10ms), 1);
    CHECK(large() == 2);
    CHECK(w.buckets() == 120);

    w.clear(); // buckets that are opened late themselves
    for (int i = 0; i < 200; i += 2) {
        w.add_at(at((i + 1) * 10ms), 1);
        w.add_at(at(i * 10ms), 1);
        for (int late = 1; late <= (std::min)(i, 12); ++late) w.add_at(at((i - late) * 10ms), 1);
    }
    for (int i = 200; i < 220; ++i) w.add_at(at(i * 10ms), 1);
    CHECK(large() == 1);
}

TEST_CASE("memory follows the buckets, also where events come late") {
    digests w(digests::exponential(10ms, 8, 100'000ms));
    support::random_bits random(2);
    CHECK(w.memory_bytes() < 2000);
    for (int i = 0; i < 100'000; ++i) w.add_at(at(i * 1ms), random.unit());
    const auto in_order = w.memory_bytes();
    const std::size_t compact = 2300 + 64;
    CHECK(w.buckets() == w.most_buckets());
    CHECK(in_order < w.buckets() * compact + 60'000);
    for (int i = 0; i < 200'000; ++i) REQUIRE(w.add_at(at(duration(random.between(0, 99'999))), random.unit()));
    CHECK(w.memory_bytes() < w.buckets() * (compact * 3 / 2 + 256) + 60'000);
    CHECK(w.query(100'000ms, at(99'999ms)).sketch.count() == 300'000);

    const auto seconds = [] {
        digests out(digests::exponential(1000ms, 8, 100'000ms));
        support::random_bits bits(3);
        for (int i = 0; i < 60'000; ++i) out.add_at(at(i / 1000 * 1000ms), bits.unit());
        return out;
    };
    digests both = seconds();
    both.merge(seconds());
    CHECK(both.memory_bytes() < both.buckets() * compact + 60'000);

    window sparse(window::exponential(1ms, 8, duration(1'000'000'000)));
    for (int i = 0; i < 20; ++i) sparse.add_at(at(i * 10'000'000ms), 1.0);
    CHECK(sparse.memory_bytes() < 20 * 300 + 2000);
}
