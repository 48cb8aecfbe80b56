#include <qsketch/sliding_window.hpp>

#include "support/catch.hpp"
#include "support/exact.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

using namespace std::chrono_literals;
using support::exact_quantiles;
using clock_type = support::mock_clock<>;
using duration = clock_type::duration;
using time_point = clock_type::time_point;
using window = qsketch::sliding_window<exact_quantiles, clock_type>;

namespace {

time_point at(duration since_epoch) { return time_point(since_epoch); }

/// What serialize() writes, with every field open to forgery.
struct forged_image {
    std::uint64_t slot = 10'000'000;
    std::uint64_t slots = 5;
    std::uint64_t dropped_late = 0;
    exact_quantiles prototype{};
    std::vector<std::pair<std::int64_t, exact_quantiles>> entries{};
    qsketch::detail::image_options options{};
    std::uint64_t extra_count = 0;
    std::uint64_t extra_size = 0;
    std::uint64_t extra_bytes = 0;

    [[nodiscard]] std::vector<std::byte> bytes() const {
        qsketch::detail::image_writer out(qsketch::detail::image_kind::sliding_window, options, 0);
        const auto nested = [&](const exact_quantiles& sketch) {
            const auto image = sketch.serialize();
            out.put(std::uint64_t{image.size()} + extra_size);
            out.put(std::span<const std::byte>(image));
        };
        out.put(slot);
        out.put(slots);
        out.put(dropped_late);
        nested(prototype);
        out.put(std::uint64_t{entries.size()} + extra_count);
        for (const auto& [index, sketch] : entries) {
            out.put(static_cast<std::uint64_t>(index));
            nested(sketch);
        }
        for (std::uint64_t i = 0; i < extra_bytes; ++i) out.put(std::uint8_t{0});
        return std::move(out).finish();
    }
};

exact_quantiles one(double value, std::uint32_t tag = 0) {
    exact_quantiles sketch(tag);
    sketch.add(value);
    return sketch;
}

} // namespace

TEST_CASE("merged windows are the window that saw everything") {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        CAPTURE(seed);
        support::random_bits random(seed);
        std::array<window, 3> parts{window(10ms, 6), window(10ms, 6), window(10ms, 6)};
        window whole(10ms, 6);
        std::int64_t now = -200;
        for (int i = 0; i < 60; ++i) {
            now += random.between(0, i % 20 == 0 ? 60 : 6);
            const double value = random.unit();
            parts[random.below(3)].add_at(at(duration(now)), value);
            whole.add_at(at(duration(now)), value);
        }
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

TEST_CASE("the count of what came too late saturates") {
    const auto most = std::numeric_limits<std::uint64_t>::max();
    window full = window::deserialize(forged_image{.dropped_late = most, .entries = {{5, one(1.0)}}}.bytes());
    full.merge(window(full));
    CHECK(full.dropped_late() == most);
    CHECK_FALSE(full.add_at(at(0ms), 1.0));
    CHECK(full.dropped_late() == most);
}

TEST_CASE("an image is read only if a window could have written it") {
    const forged_image good{.dropped_late = 7, .entries = {{-3, one(1.0)}, {-1, one(2.0)}, {1, one(3.0)}}};
    const auto window_read = window::deserialize(good.bytes());
    CHECK(window_read.dropped_late() == 7);
    CHECK(window_read.slot() == 10ms);
    CHECK(window_read.query(50ms, at(15ms)).sketch.count() == 3);
    CHECK(window_read.serialize() == good.bytes());

    const auto refused = [&](const char* what, const std::function<void(forged_image&)>& forge) {
        CAPTURE(what);
        forged_image forged = good;
        forge(forged);
        CHECK_THROWS_AS(window::deserialize(forged.bytes()), qsketch::format_error);
    };
    refused("no slot length", [](auto& image) { image.slot = 0; });
    refused("not a whole number of ticks", [](auto& image) { image.slot = 10'500'000; });
    refused("negative slot length", [](auto& image) { image.slot = -std::uint64_t{10'000'000}; });
    refused("no slots", [](auto& image) { image.slots = 0; });
    refused("too many slots", [](auto& image) { image.slots = std::uint64_t{1} << 32; });
    refused("fewer slots than entries", [](auto& image) { image.slots = 2; });
    refused("entries beyond the span", [](auto& image) { image.slots = 4; });
    refused("span beyond the duration", [](auto& image) {
        image.slot = std::uint64_t{9'000'000'000'000} * 1'000'000;
        image.slots = 0xffff'ffff;
    });
    refused("options", [](auto& image) { image.options = {0, 0, 1}; });
    refused("prototype not empty", [](auto& image) { image.prototype = one(1.0); });
    refused("prototype of another tag", [](auto& image) { image.prototype = exact_quantiles(1); });
    refused("slot of another tag", [](auto& image) { image.entries[1].second = one(2.0, 1); });
    refused("slot without events", [](auto& image) { image.entries[1].second = exact_quantiles{}; });
    refused("equal indices", [](auto& image) { image.entries[1].first = -3; });
    refused("descending indices", [](auto& image) { image.entries[1].first = -4; });
    refused("late events but no event", [](auto& image) { image.entries.clear(); });
    refused("index beyond the clock's range", [](auto& image) {
        image.entries = {{std::numeric_limits<std::int64_t>::max(), one(1.0)}};
    });
    refused("index before the clock's range", [](auto& image) {
        image.entries = {{std::numeric_limits<std::int64_t>::min(), one(1.0)}};
    });
    refused("indices further apart than 63 bits", [](auto& image) {
        image.entries = {{std::numeric_limits<std::int64_t>::min() / 10, one(1.0)},
                         {std::numeric_limits<std::int64_t>::max() / 10, one(1.0)}};
    });
    refused("one entry announced too many", [](auto& image) { image.extra_count = 1; });
    refused("entries without end", [](auto& image) { image.extra_count = ~std::uint64_t{0} - 3; });
    refused("nested image too long", [](auto& image) { image.extra_size = 8; });
    refused("nested image without end", [](auto& image) { image.extra_size = ~std::uint64_t{0} - 1000; });
    refused("bytes too many", [](auto& image) { image.extra_bytes = 1; });
}
