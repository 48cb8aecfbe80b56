#include "support/catch.hpp"
#include "support/generators.hpp"

#include <qsketch/top_k.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

using std::uint64_t;

namespace {

using sketch_type = qsketch::top_k<uint64_t>;
using counts = std::map<uint64_t, uint64_t>;

/// A shuffled stream in which key k occurs about head / (k + 1)^exponent times, and once at least.
std::vector<uint64_t> zipf(double exponent, uint64_t distinct, double head, uint64_t seed) {
    std::vector<uint64_t> stream;
    for (uint64_t key = 0; key < distinct; ++key)
        stream.insert(stream.end(), 1 + static_cast<uint64_t>(head / std::pow(static_cast<double>(key + 1), exponent)),
                      key);
    support::random_bits random(seed);
    for (std::size_t i = stream.size(); i > 1; --i) std::swap(stream[i - 1], stream[random.below(i)]);
    return stream;
}

counts count(const std::vector<uint64_t>& stream) {
    counts truth;
    for (const uint64_t key : stream) ++truth[key];
    return truth;
}

/// Everything the header promises of a sketch whose input is known.
void check_laws(const sketch_type& sketch, const counts& truth) {
    uint64_t total = 0;
    uint64_t counted = 0;
    uint64_t broken = 0;
    uint64_t lost = 0;
    std::size_t held = 0;
    for (const auto& [key, count] : truth) {
        total += count;
        const uint64_t lower = sketch.lower(key);
        broken += !(lower <= count && count <= sketch.upper(key) && sketch.upper(key) - lower <= sketch.error());
        lost += count > sketch.error() && lower == 0;
        counted += lower;
        held += lower > 0;
    }
    CHECK(broken == 0);
    CHECK(lost == 0);
    CHECK(sketch.total() == total);
    CHECK(held <= sketch.capacity());
    CHECK(sketch.error() <= total / (sketch.capacity() / 2 + 1));
    CHECK(sketch.error() <= total / (12 * sketch.n()));
    CHECK(counted + (sketch.capacity() / 2 + 1) * sketch.error() <= total);

    const auto items = sketch.items();
    CHECK(items.size() == (std::min)(held, std::size_t{sketch.n()}));
    uint64_t least = ~uint64_t{0};
    uint64_t last_key = 0;
    for (const auto& item : items) {
        REQUIRE(item.lower == sketch.lower(item.key));
        REQUIRE(item.upper == sketch.upper(item.key));
        REQUIRE((item.upper < least || (item.upper == least && item.key > last_key)));
        least = item.upper;
        last_key = item.key;
    }
    uint64_t overlooked = 0;
    for (const auto& entry : truth) {
        const uint64_t key = entry.first;
        const bool named = std::any_of(items.begin(), items.end(), [=](const auto& item) { return item.key == key; });
        overlooked += !named && sketch.lower(key) > 0 && sketch.upper(key) > least;
    }
    CHECK(overlooked == 0);
}

} // namespace

TEST_CASE("bounds hold on skewed and uniform streams of any order") {
    for (const double exponent : {0.0, 0.8, 1.1, 1.5})
        for (const std::uint32_t n : {1u, 16u, 100u, 1000u}) {
            auto stream = zipf(exponent, 20'000, exponent == 0 ? 4 : 10'000, 1);
            const auto truth = count(stream);
            CAPTURE(exponent, n);
            sketch_type shuffled(n);
            shuffled.add(stream);
            check_laws(shuffled, truth);
            std::sort(stream.begin(), stream.end());
            sketch_type ascending(n);
            ascending.add(stream);
            check_laws(ascending, truth);
            std::reverse(stream.begin(), stream.end());
            sketch_type descending(n);
            descending.add(stream);
            check_laws(descending, truth);
        }
}

TEST_CASE("bounds hold under weights, and the error can come near its bound") {
    sketch_type sketch(4);
    counts truth;
    support::random_bits random(5);
    for (int i = 0; i < 20'000; ++i) {
        const uint64_t key = random.below(3000);
        const uint64_t weight = random.below(5) == 0 ? random.below(10'000) : random.below(3);
        sketch.add(key, weight);
        if (weight > 0) truth[key] += weight;
    }
    check_laws(sketch, truth);

    // Ever new keys of one weight are the hardest input: each drop finds only equals and takes them all.
    sketch_type hardest(16);
    for (uint64_t key = 0; key < 6500; ++key) hardest.add(key);
    CHECK(hardest.error() == 16);
    CHECK(hardest.error() >= hardest.total() / (2 * (hardest.capacity() / 2 + 1)));
}

TEST_CASE("the ten most frequent of a skewed stream are named") {
    const auto stream = zipf(1.5, 20'000, 10'000, 3);
    sketch_type sketch(10);
    sketch.add(stream);
    std::vector<uint64_t> named;
    for (const auto& item : sketch.items()) named.push_back(item.key);
    std::sort(named.begin(), named.end());
    CHECK(named == std::vector<uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("bounds hold after chains and trees of merges") {
    const auto stream = zipf(1.1, 30'000, 20'000, 7);
    const auto truth = count(stream);
    for (const std::uint32_t n : {1u, 20u, 200u}) {
        std::vector<sketch_type> parts(64, sketch_type(n));
        for (std::size_t i = 0; i < stream.size(); ++i) parts[i % 64].add(stream[i]);
        CAPTURE(n);
        sketch_type chain(n);
        for (const auto& part : parts) chain.merge(part);
        check_laws(chain, truth);
        for (std::size_t step = 1; step < 64; step *= 2)
            for (std::size_t i = 0; i < 64; i += 2 * step) parts[i].merge(parts[i + step]);
        check_laws(parts[0], truth);
    }
}

TEST_CASE("bounds hold where the merged parts share no key") {
    counts truth;
    sketch_type merged(5);
    for (uint64_t part = 0; part < 64; ++part) {
        sketch_type one(5);
        for (uint64_t key = 0; key < 200; ++key) {
            one.add(part * 1000 + key, 1 + key * part % 17);
            truth[part * 1000 + key] += 1 + key * part % 17;
        }
        one.add(7, 40);
        truth[7] += 40;
        merged.merge(one);
    }
    check_laws(merged, truth);
    CHECK(merged.items()[0].key == 7);
}
