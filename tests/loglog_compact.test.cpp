#include <qsketch/hyperloglog.hpp>
#include <qsketch/ultraloglog.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/hostile.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using hll = qsketch::hyperloglog<std::uint64_t>;
using ull = qsketch::ultraloglog<std::uint64_t>;

template <class Counter>
Counter built(unsigned precision, std::uint64_t keys) {
    Counter sketch(precision);
    for (std::uint64_t key = 0; key < keys; ++key) sketch.add(key);
    return sketch;
}

/// The form an image has: 0 sparse, 1 dense, 2 coded.
int form_of(const std::vector<std::byte>& image) { return std::to_integer<int>(image[6]); }

std::vector<std::byte> coded(const std::vector<std::uint8_t>& bytes) {
    qsketch::detail::image_writer out(static_cast<qsketch::detail::image_kind>(200), {}, 0);
    qsketch::detail::put_coded(out, bytes);
    return std::move(out).finish();
}

std::vector<std::uint8_t> decoded(const std::vector<std::byte>& image, std::size_t size) {
    qsketch::detail::image_reader in(image, static_cast<qsketch::detail::image_kind>(200), "coded");
    return qsketch::detail::take_coded(in, size);
}

} // namespace

TEMPLATE_TEST_CASE("a compact image is read as the same sketch, and never larger than the other", "", hll, ull) {
    for (unsigned precision = 4; precision <= 18; ++precision) {
        const std::uint64_t m = std::uint64_t{1} << precision;
        for (const std::uint64_t keys : {std::uint64_t{0}, std::uint64_t{1}, m / 8, m / 4, m, 20 * m}) {
            const auto sketch = built<TestType>(precision, keys);
            const auto compact = sketch.serialize_compact();
            CHECK(TestType::deserialize(compact) == sketch);
            CHECK(compact.size() <= sketch.serialize().size());
            CHECK(TestType::deserialize(compact).serialize_compact() == compact);
        }
    }
}

TEST_CASE("for an error of 1 %, an ultraloglog takes some 3000 bytes, a hyperloglog 3970, small ones less") {
    for (const std::uint64_t keys : {20'000u, 100'000u, 1'000'000u}) {
        // At the same share of error squared to bytes, which is what doubling the registers keeps.
        const auto bytes_for_one_percent = [](const auto& sketch) {
            const auto image = sketch.serialize_compact();
            CHECK(form_of(image) == 2);
            const double of_goal = sketch.relative_error() / 0.01;
            return static_cast<double>(image.size()) * of_goal * of_goal;
        };
        CHECK(bytes_for_one_percent(built<ull>(12, keys)) < 3050);
        CHECK(bytes_for_one_percent(built<hll>(12, keys)) < 4000);
    }
    CHECK(built<ull>(14, 10).serialize_compact().size() <= 50);
    CHECK(built<ull>(14, 100).serialize_compact().size() <= 310);
}

TEST_CASE("sketches too even to be coded, or so uneven that their readers would pay for it, are written plainly") {
    CHECK(form_of(built<hll>(4, 1000).serialize_compact()) == 1); // frequencies would take more than they save
    hll same(12);
    for (std::uint64_t i = 0; i < 4096; ++i) same.add_hash(std::uint64_t{1} << 40 | i);
    CHECK(form_of(same.serialize_compact()) == 1);
    CHECK(hll::deserialize(same.serialize_compact()) == same);
}

TEST_CASE("bytes of every kind come back from their entropy code") {
    support::random_bits random(1);
    std::vector<std::vector<std::uint8_t>> inputs{{0}, {255}, {7, 7, 7, 7}, {0, 255}};
    std::vector<std::uint8_t> each(256);
    for (std::size_t i = 0; i < 256; ++i) each[i] = static_cast<std::uint8_t>(i);
    inputs.push_back(each);
    for (const std::uint64_t kinds : {2u, 3u, 17u, 256u}) {
        inputs.emplace_back(20'000);
        for (auto& byte : inputs.back()) byte = static_cast<std::uint8_t>(random.below(random.below(kinds) + 1));
    }
    // All values once and one of them very often: more frequencies of 1 than rounding gives away.
    inputs.push_back(each);
    inputs.back().resize(1'000'000, 9);
    for (const auto& input : inputs) {
        const auto image = coded(input);
        CHECK(decoded(image, input.size()) == input);
        if (std::count(input.begin(), input.end(), input.front()) == static_cast<std::ptrdiff_t>(input.size()))
            continue; // of one value alone any number takes no bits
        CHECK_THROWS_AS(decoded(image, input.size() + 1), qsketch::format_error);
        CHECK_THROWS_AS(decoded(image, input.size() - 1), qsketch::format_error);
    }
}

TEMPLATE_TEST_CASE("changed compact images are refused, or are what the sketch that is read would write", "", hll,
                   ull) {
    const auto image = built<TestType>(9, 20'000).serialize_compact();
    const auto other = built<TestType>(9, 700).serialize_compact();
    REQUIRE(form_of(image) == 2);
    REQUIRE(form_of(other) == 2);
    for (std::size_t size = 0; size < image.size(); ++size) {
        auto cut = std::vector<std::byte>(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
        support::seal(cut);
        CHECK_FALSE(support::read_and_exercise<TestType>(cut));
    }
    for (std::size_t bit = 0; bit < 8 * image.size(); ++bit) {
        auto flipped = image;
        flipped[bit / 8] ^= std::byte{1} << bit % 8;
        support::seal(flipped);
        support::read_and_exercise<TestType>(flipped);
    }
    support::mutator mutate(3);
    for (int i = 0; i < 20'000; ++i) support::read_and_exercise<TestType>(mutate(image, other));
}
