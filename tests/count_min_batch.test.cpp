#include "support/catch.hpp"
#include "support/generators.hpp"

#include <qsketch/count_min.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using qsketch::conservative;
using qsketch::count_min;
using qsketch::plain;
using std::uint64_t;

namespace {

/// The definition of the sketch, without any haste: 64-bit counters, cut off where the sketch's are full.
template <class Sketch>
class table {
public:
    explicit table(const Sketch& like) : like_(like), cells_(std::size_t{like.width()} * like.depth()) {}

    void add(uint64_t key, uint64_t n) {
        const uint64_t raised = sum(smallest(key), n);
        for (std::uint32_t row = 0; row < like_.depth(); ++row) {
            uint64_t& cell = cells_[place(key, row)];
            cell = std::is_same_v<typename Sketch::policy_type, plain> ? sum(cell, n) : (std::max)(cell, raised);
        }
        total_ += n;
    }

    [[nodiscard]] uint64_t estimate(uint64_t key) const {
        const uint64_t least = smallest(key);
        return least == full ? total_ : least;
    }
    [[nodiscard]] uint64_t total() const { return total_; }

private:
    static constexpr uint64_t full = (std::numeric_limits<typename Sketch::counter_type>::max)();

    [[nodiscard]] static uint64_t sum(uint64_t a, uint64_t b) { return b > full - a ? full : a + b; }
    [[nodiscard]] std::size_t place(uint64_t key, std::uint32_t row) const {
        return std::size_t{row} * like_.width() +
               qsketch::detail::count_min_column(qsketch::hash()(key), row, like_.width());
    }
    [[nodiscard]] uint64_t smallest(uint64_t key) const {
        uint64_t least = full;
        for (std::uint32_t row = 0; row < like_.depth(); ++row) least = (std::min)(least, cells_[place(key, row)]);
        return least;
    }

    Sketch like_;
    std::vector<uint64_t> cells_;
    uint64_t total_ = 0;
};

std::vector<uint64_t> first_keys(uint64_t count) {
    std::vector<uint64_t> keys(count);
    for (uint64_t key = 0; key < count; ++key) keys[key] = key;
    return keys;
}

} // namespace

TEMPLATE_TEST_CASE("single adds, batches and estimates of both kinds follow the definition, in tables of any depth", "",
                   (count_min<uint64_t, plain>), (count_min<uint64_t, conservative>),
                   (count_min<uint64_t, plain, std::uint8_t>), (count_min<uint64_t, conservative, std::uint8_t>),
                   (count_min<uint64_t, plain, std::uint16_t>), (count_min<uint64_t, conservative, uint64_t>)) {
    support::random_bits random(3);
    const auto asked = first_keys(300);
    for (const std::uint32_t depth : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 64u}) {
        TestType sketch({.width = 40 + depth, .depth = depth});
        table<TestType> truth(sketch);
        // Sizes about those of a batch; the 8-bit counters run full on the way.
        for (const std::size_t size : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 79u, 80u, 128u, 500u}) {
            const auto keys = support::skewed_keys(size, 300, random());
            sketch.add(keys);
            for (const uint64_t key : keys) truth.add(key, 1);
            const uint64_t key = random.below(300);
            const uint64_t n = random.below(20);
            sketch.add(key, n);
            truth.add(key, n);

            std::vector<uint64_t> estimates(asked.size());
            sketch.estimate(asked, estimates);
            uint64_t differences = 0;
            for (const uint64_t k : asked)
                differences += sketch.estimate(k) != truth.estimate(k) || estimates[k] != truth.estimate(k);
            CAPTURE(depth, size);
            REQUIRE(differences == 0);
            REQUIRE(sketch.total() == truth.total());
        }
    }
}

TEMPLATE_TEST_CASE("tables beyond the caches, which are asked for ahead, count the same", "",
                   (count_min<uint64_t, plain>), (count_min<uint64_t, conservative>)) {
    TestType batch({.width = 300'000, .depth = 3});
    TestType single = batch;
    REQUIRE(batch.memory_bytes() > 1u << 20);
    const auto keys = support::skewed_keys(20'011, 1'000'000, 5);
    batch.add(keys);
    for (const uint64_t key : keys) single.add(key);
    CHECK(batch == single);
    std::vector<uint64_t> estimates(keys.size());
    batch.estimate(keys, estimates);
    uint64_t differences = 0;
    for (std::size_t i = 0; i < keys.size(); ++i) differences += estimates[i] != single.estimate(keys[i]);
    CHECK(differences == 0);
}

TEMPLATE_TEST_CASE("a counter that becomes just full, in a batch or alone, is exact up to there", "", plain,
                   conservative) {
    using sketch_type = count_min<uint64_t, TestType, std::uint8_t>;
    for (const uint64_t before : {190u, 191u, 192u, 254u, 255u}) {
        sketch_type sketch({.width = 1, .depth = 4});
        sketch.add(1, before);
        CHECK(sketch.estimate(1) == before);
        sketch.add(std::vector<uint64_t>(64, 1));
        CHECK(sketch.estimate(1) == before + 64);
        sketch_type alone({.width = 1, .depth = 4});
        alone.add(1, before);
        alone.add(1, 255 - before);
        CHECK(alone.estimate(1) == 255);
        alone.add(1);
        CHECK(alone.estimate(1) == 256);
    }
    // The total is far above what a counter can hold, no counter is.
    sketch_type spread({.width = 4096, .depth = 4});
    spread.add(first_keys(2000));
    CHECK(spread.total() == 2000);
    spread.add(std::vector<uint64_t>(64, 7));
    CHECK(spread.estimate(7) == 65);
}

TEST_CASE("after merging and subtracting, counters still stop where they are full") {
    using sketch_type = count_min<uint64_t, plain, std::uint8_t>;
    sketch_type sketch({.width = 64, .depth = 3});
    sketch.add(1, 200);
    sketch_type other = sketch;
    sketch.merge(other);
    sketch.add(std::vector<uint64_t>(100, 1));
    CHECK(sketch.estimate(1) == 500);
    other.subtract(other);
    other.add(std::vector<uint64_t>(255, 1));
    CHECK(other.estimate(1) == 255);
    sketch.clear();
    sketch.add(1, 255);
    CHECK(sketch.estimate(1) == 255);
    CHECK(sketch_type::deserialize(sketch.serialize()) == sketch);
}

TEST_CASE("strings make batches too") {
    std::vector<std::string> words;
    for (int i = 0; i < 200; ++i) words.push_back(std::string(static_cast<std::size_t>(i % 30), 'x') + "word");
    const std::vector<std::string_view> keys(words.begin(), words.end());
    count_min<std::string_view, conservative> batch({.width = 50, .depth = 4});
    auto single = batch;
    batch.add(keys);
    for (const auto key : keys) single.add(key);
    CHECK(batch == single);
    std::vector<uint64_t> estimates(keys.size());
    batch.estimate(keys, estimates);
    for (std::size_t i = 0; i < keys.size(); ++i) REQUIRE(estimates[i] == single.estimate(keys[i]));
}

TEST_CASE("there must be room for as many estimates as keys, no more and no fewer") {
    count_min<uint64_t> sketch({.width = 50, .depth = 4});
    const auto keys = first_keys(100);
    sketch.add(keys);
    std::vector<uint64_t> out(101, 12345);
    CHECK_THROWS_AS(sketch.estimate(keys, out), std::invalid_argument);
    CHECK_THROWS_AS(sketch.estimate(keys, std::span(out).first(99)), std::invalid_argument);
    CHECK_THROWS_WITH(sketch.estimate(keys, out), Catch::Matchers::Contains("got 101 for 100"));
    CHECK(std::count(out.begin(), out.end(), 12345) == 101);
    sketch.estimate({}, {});
}
