#include <qsketch/exp_window.hpp>
#include <qsketch/top_k.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::exp_window<exact_quantiles, clock_type>;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

std::vector<window::level> some_levels() { return {{10ms, 50ms}, {20ms, 150ms}, {80ms, 400ms}}; }

exact_quantiles one(double value, std::uint32_t tag = 0) {
    exact_quantiles sketch(tag);
    sketch.add(value);
    return sketch;
}

/// What serialize() writes, with every field open to forgery.
struct forged_image {
    struct bucket {
        std::int64_t index;
        std::uint64_t level;
        exact_quantiles sketch;
    };
    std::vector<std::pair<std::uint64_t, std::uint64_t>> levels{
        {10'000'000, 50'000'000}, {20'000'000, 150'000'000}, {80'000'000, 400'000'000}};
    std::uint64_t extra_levels = 0;
    std::uint64_t dropped_late = 0;
    std::vector<exact_quantiles> prototypes{exact_quantiles{}};
    std::uint64_t extra_prototypes = 0;
    std::vector<bucket> buckets{};
    qsketch::detail::image_options options{};
    std::uint64_t extra_count = 0;
    std::uint64_t extra_size = 0;
    std::uint64_t extra_bytes = 0;

    [[nodiscard]] std::vector<std::byte> bytes() const {
        qsketch::detail::image_writer out(qsketch::detail::image_kind::exp_window, options, 0);
        const auto nested = [&](const exact_quantiles& sketch) {
            const auto image = sketch.serialize();
            out.put(std::uint64_t{image.size()} + extra_size);
            out.put(std::span<const std::byte>(image));
        };
        out.put(std::uint64_t{levels.size()} + extra_levels);
        for (const auto& [span, keep] : levels) {
            out.put(span);
            out.put(keep);
        }
        out.put(dropped_late);
        out.put(std::uint64_t{prototypes.size()} + extra_prototypes);
        for (const auto& prototype : prototypes) nested(prototype);
        out.put(std::uint64_t{buckets.size()} + extra_count);
        for (const auto& [index, level, sketch] : buckets) {
            out.put(static_cast<std::uint64_t>(index));
            out.put(level);
            nested(sketch);
        }
        for (std::uint64_t i = 0; i < extra_bytes; ++i) out.put(std::uint8_t{0});
        return std::move(out).finish();
    }
};

} // namespace

TEST_CASE("merged windows of few events are the window that saw everything, in any order") {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        const auto levels = window::exponential(10ms, 8, 2000ms);
        std::array<window, 3> parts{window(levels), window(levels), window(levels)};
        window whole(levels);
        std::int64_t now = -1500;
        for (int i = 0; i < 40; ++i) {
            now += random.between(0, i % 10 == 0 ? 900 : 40);
            const double value = random.unit();
            parts[random.below(3)].add_at(at(duration(now)), value);
            whole.add_at(at(duration(now)), value);
        }
        REQUIRE(whole.buckets() < whole.most_buckets());
        const auto& [a, b, c] = parts;
        window left = a;
        left.merge(b);
        left.merge(c);
        window right = c;
        right.merge(b);
        right.merge(a);
        CHECK(left == whole);
        CHECK(right == whole);
        CHECK(left.serialize() == whole.serialize());
    }
}

TEST_CASE("merged windows answer for the events of both, also where buckets are nested or too many") {
    int nested = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        std::array<window, 2> parts{window(some_levels()), window(some_levels())};
        struct arrival {
            time_point when;
            double value;
        };
        std::vector<arrival> kept;
        time_point newest = time_point::min();
        for (auto& part : parts) {
            std::int64_t now = random.between(-300, 0);
            const std::int64_t step = random.between(1, 30);
            for (std::int64_t i = 0, n = random.between(1, 150); i < n; ++i) {
                now += random.between(0, step);
                const auto when = at(duration(now - (random.below(5) == 0 ? random.between(0, 200) : 0)));
                const double value = random.unit();
                if (part.add_at(when, value)) kept.push_back({when, value});
                newest = (std::max)(newest, when);
            }
        }
        auto& [a, b] = parts;
        window ab = a;
        ab.merge(b);
        window ba = b;
        ba.merge(a);
        REQUIRE(ab == ba);
        REQUIRE(ab.serialize() == ba.serialize());
        REQUIRE(ab.buckets() <= ab.most_buckets());
        REQUIRE(window::deserialize(ab.serialize()) == ab);
        if (ab.buckets() < (std::min)(a.buckets() + b.buckets(), ab.most_buckets())) ++nested;

        const auto all = ab.query(duration::max(), newest);
        for (int i = 0; i < 50; ++i) {
            const auto answer = ab.query(duration(random.between(1, 500)), newest - duration(random.between(-20, 400)));
            std::vector<double> truth;
            for (const auto& [when, value] : kept)
                if (answer.from <= when && when < answer.to && all.from <= when) truth.push_back(value);
            std::sort(truth.begin(), truth.end());
            const auto found = answer.sketch.values();
            REQUIRE(std::equal(found.begin(), found.end(), truth.begin(), truth.end()));
        }
        window went_on = ab; // and it goes on as any other
        for (int i = 0; i < 100; ++i) REQUIRE(went_on.add_at(newest + i * 7ms, 1.0));
        REQUIRE(went_on.buckets() <= went_on.most_buckets());
        REQUIRE(window::deserialize(went_on.serialize()) == went_on);
    }
    CHECK(nested > 50);
}

TEST_CASE("of nested buckets the longer one takes in the others") {
    window coarse =
        window::deserialize(forged_image{.buckets = {{0, 2, one(1.0)}, {4, 1, one(2.0)}, {22, 0, one(3.0)}}}.bytes());
    window fine(some_levels());
    for (int i = 0; i < 12; ++i) fine.add_at(at(i * 10ms), 10.0 + i);
    const window fine_before = fine;
    fine.merge(coarse);
    coarse.merge(fine_before);
    CHECK(fine == coarse);
    const auto old = fine.query(80ms, at(79ms));
    CHECK(old.from == at(0ms));
    CHECK(old.to == at(80ms));
    CHECK(old.sketch.count() == 9);
    CHECK(fine.query(20ms, at(99ms)).sketch.count() == 3);
    CHECK(fine.query(10ms, at(109ms)).sketch.count() == 1);
    CHECK(fine.buckets() == 5);
}

TEST_CASE("sketches whose merges do not associate are merged in one order by both") {
    using tops = qsketch::exp_window<qsketch::top_k<std::uint64_t>, clock_type>;
    const tops empty(some_levels(), qsketch::top_k<std::uint64_t>(3));
    tops a = empty;
    tops b = empty;
    support::random_bits random(1);
    for (int i = 0; i < 3000; ++i) {
        a.add_at(at(i * 1ms / 8), random.below(random.below(500) + 1));
        b.add_at(at(i * 1ms / 4), random.below(random.below(500) + 1));
    }
    tops ab = a;
    ab.merge(b);
    tops ba = b;
    ba.merge(a);
    CHECK(ab == ba);
    CHECK(ab.serialize() == ba.serialize());
}

TEST_CASE("the count of what came too late saturates") {
    const auto most = std::numeric_limits<std::uint64_t>::max();
    window full = window::deserialize(forged_image{.dropped_late = most, .buckets = {{100, 0, one(1.0)}}}.bytes());
    full.merge(window(full));
    CHECK(full.dropped_late() == most);
    CHECK_FALSE(full.add_at(at(0ms), 1.0));
    CHECK(full.dropped_late() == most);
}

TEST_CASE("an image is read only if a window could have written it") {
    const forged_image good{.dropped_late = 7,
                            .buckets = {{0, 2, one(1.0)}, {4, 1, one(2.0)}, {15, 0, one(3.0)}, {22, 0, one(4.0)}}};
    const auto read = window::deserialize(good.bytes());
    CHECK(read.dropped_late() == 7);
    CHECK(std::vector(read.levels().begin(), read.levels().end()) == some_levels());
    CHECK(read.query(500ms, at(229ms)).sketch.count() == 4);
    CHECK(read.serialize() == good.bytes());

    const auto refused = [&](const char* what, const std::function<void(forged_image&)>& forge) {
        CAPTURE(what);
        forged_image forged = good;
        forge(forged);
        CHECK_THROWS_AS(window::deserialize(forged.bytes()), qsketch::format_error);
    };
    refused("no levels", [](auto& image) { image.levels.clear(); });
    refused("too many levels", [](auto& image) {
        for (unsigned l = 3; l < 65; ++l) image.levels.push_back({80'000'000ull << l, 400'000'000ull << l});
    });
    refused("levels without end", [](auto& image) { image.extra_levels = ~std::uint64_t{0} - 3; });
    refused("no span", [](auto& image) { image.levels[0].first = 0; });
    refused("not a whole number of ticks", [](auto& image) { image.levels[0].first = 10'500'000; });
    refused("a negative span", [](auto& image) { image.levels[0].first = -std::uint64_t{10'000'000}; });
    refused("kept for less than the span", [](auto& image) { image.levels[0].second = 9'000'000; });
    refused("kept for ever", [](auto& image) { image.levels[2].second = ~std::uint64_t{0}; });
    refused("not a multiple", [](auto& image) { image.levels[1].first = 25'000'000; });
    refused("the same span twice", [](auto& image) { image.levels[1].first = 10'000'000; });
    refused("kept for less than the level before", [](auto& image) { image.levels[1].second = 50'000'000; });
    refused("options", [](auto& image) { image.options = {0, 0, 1}; });
    refused("no prototype", [](auto& image) { image.prototypes.clear(); });
    refused("two prototypes for three levels", [](auto& image) { image.prototypes.resize(2); });
    refused("prototypes without end", [](auto& image) { image.extra_prototypes = ~std::uint64_t{0} - 3; });
    refused("prototype not empty", [](auto& image) { image.prototypes = {one(1.0)}; });
    refused("prototype of another tag", [](auto& image) { image.prototypes = {exact_quantiles(1)}; });
    refused("prototypes of different tags", [](auto& image) {
        image.prototypes.resize(3);
        image.prototypes[2] = exact_quantiles(1);
    });
    refused("bucket of another tag", [](auto& image) { image.buckets[1].sketch = one(2.0, 1); });
    refused("bucket without events", [](auto& image) { image.buckets[1].sketch = exact_quantiles{}; });
    refused("bucket of no level", [](auto& image) { image.buckets[1].level = 3; });
    refused("bucket of a level beyond all", [](auto& image) { image.buckets[1].level = ~std::uint64_t{0}; });
    refused("equal buckets", [](auto& image) { image.buckets[2].index = 22; });
    refused("descending buckets", [](auto& image) { image.buckets[2].index = 23; });
    refused("nested buckets", [](auto& image) { image.buckets[1].index = 3; });
    refused("a bucket inside the one before", [](auto& image) { image.buckets[1] = {7, 0, one(1.0)}; });
    refused("a last bucket of a higher level", [](auto& image) { image.buckets.resize(2); });
    refused("a bucket too young for its level", [](auto& image) { image.buckets[3].index = 21; });
    refused("a bucket too young for the last level", [](auto& image) {
        image.buckets = {{0, 2, one(1.0)}, {17, 0, one(3.0)}};
        image.levels[1].second = 110'000'000;
    });
    refused("a bucket that is no longer retained", [](auto& image) { image.buckets[3].index = 47; });
    refused("late events but no event", [](auto& image) { image.buckets.clear(); });
    refused("a bucket beyond the clock's range", [](auto& image) {
        image.buckets = {{std::numeric_limits<std::int64_t>::max(), 0, one(1.0)}};
    });
    refused("a bucket before the clock's range", [](auto& image) {
        image.buckets = {{std::numeric_limits<std::int64_t>::min(), 0, one(1.0)}};
    });
    refused("buckets further apart than 63 bits", [](auto& image) {
        image.buckets = {{std::numeric_limits<std::int64_t>::min() / 10, 0, one(1.0)},
                         {std::numeric_limits<std::int64_t>::max() / 10, 0, one(1.0)}};
    });
    refused("more buckets than the levels need", [](auto& image) {
        image.levels.resize(1);
        image.buckets.clear();
        for (int i = 0; i < 20; ++i) image.buckets.push_back({i, 0, one(1.0)});
    });
    refused("one bucket announced too many", [](auto& image) { image.extra_count = 1; });
    refused("buckets without end", [](auto& image) { image.extra_count = ~std::uint64_t{0} - 3; });
    refused("nested image too long", [](auto& image) { image.extra_size = 8; });
    refused("nested image without end", [](auto& image) { image.extra_size = ~std::uint64_t{0} - 1000; });
    refused("bytes too many", [](auto& image) { image.extra_bytes = 1; });

    forged_image three = good;
    three.prototypes.resize(3);
    CHECK(window::deserialize(three.bytes()).serialize() == three.bytes());
    forged_image last = good; // still retained by one bucket of the last level
    last.buckets[3].index = 46;
    CHECK(window::deserialize(last.bytes()).buckets() == 4);
}
