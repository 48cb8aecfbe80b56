#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

using qsketch::format_error;
using qsketch::tdigest;
using qsketch::detail::image_kind;
using qsketch::detail::image_options;
using qsketch::detail::image_writer;
using bytes = std::vector<std::byte>;

namespace {

/// What an image says, to be forged and written with a valid checksum.
struct content {
    struct centroid {
        double mean;
        std::uint64_t weight;
        bool exact;
    };

    double compression = 100;
    double min = 1;
    double max = 9;
    double sum = 31;
    std::vector<centroid> centroids{{1, 1, true}, {4, 5, false}, {9, 1, true}};
    image_options options{0, 0, 0};
    image_kind kind = image_kind::tdigest;

    [[nodiscard]] bytes write() const {
        image_writer image(kind, options, 0);
        image.put(compression);
        if (!centroids.empty()) {
            for (const double x : {min, max, sum}) image.put(x);
            for (const auto& c : centroids) image.put(c.mean);
            if (options[1] == 0)
                for (const auto& c : centroids) image.put(c.weight << 1 | (c.exact ? 1u : 0u));
        }
        return std::move(image).finish();
    }
};

template <class Change>
void check_refused(const Change& change) {
    content forged;
    change(forged);
    CHECK_THROWS_AS(tdigest<>::deserialize(forged.write()), format_error);
}

tdigest<> digest_of(std::size_t n, double compression, std::size_t distribution = 3) {
    tdigest<> digest(compression);
    digest.add(support::values_of(support::distributions[distribution], n, n + 1));
    return digest;
}

} // namespace

TEST_CASE("bytes read back as an equal digest that writes the same bytes") {
    for (const double compression : {10.0, 11.0, 62.5, 100.0, 1000.0}) {
        for (const std::size_t n : {0u, 1u, 2u, 125u, 126u, 501u, 40000u}) {
            for (std::size_t d = 0; d < support::distributions.size(); ++d) {
                CAPTURE(compression, n, support::distributions[d].name);
                const auto digest = digest_of(n, compression, d);
                const auto image = digest.serialize();
                const auto read = tdigest<>::deserialize(image);
                REQUIRE(read == digest);
                REQUIRE(read.serialize() == image);
                REQUIRE(read.centroids() == digest.centroids());
                REQUIRE(read.count() == digest.count());
                REQUIRE(read.compression() == compression);
                REQUIRE(image.size() <= 44 + 16 * static_cast<std::size_t>(1.25 * compression));
                if (n == 0) continue;
                REQUIRE(read.sum() == digest.sum());
                REQUIRE(read.min() == digest.min());
                REQUIRE(read.max() == digest.max());
            }
        }
    }
}

TEST_CASE("a digest of compression 100 takes at most 2048 bytes, ten values take 124") {
    for (std::size_t d = 0; d < support::distributions.size(); ++d)
        for (const std::size_t n : {1000u, 30000u}) CHECK(digest_of(n, 100, d).serialize().size() <= 2048);
    CHECK(digest_of(10, 100).serialize().size() == 44 + 10 * 8);
    CHECK(tdigest<>().serialize().size() == 20);
}

TEST_CASE("digests that differ in anything written differ in == and in bytes") {
    const auto digest = digest_of(5000, 100);
    std::vector<tdigest<>> others(3, digest);
    others[0].add(digest.quantile(0.5));
    others[1] = digest_of(5000, 101);
    others[2].clear();
    for (const auto& other : others) {
        CHECK_FALSE(other == digest);
        CHECK(other.serialize() != digest.serialize());
    }
    CHECK_FALSE(tdigest<>(100) == tdigest<>(200));
}

TEST_CASE("every truncation, extension and flipped bit is refused") {
    for (const std::size_t n : {0u, 5u, 3000u}) {
        const auto image = digest_of(n, 10).serialize();
        for (std::size_t size = 0; size < image.size(); ++size)
            CHECK_THROWS_AS(tdigest<>::deserialize(std::span(image).first(size)), format_error);
        auto longer = image;
        longer.push_back(std::byte{0});
        CHECK_THROWS_AS(tdigest<>::deserialize(longer), format_error);
        for (std::size_t bit = 0; bit < 8 * image.size(); ++bit) {
            auto flipped = image;
            flipped[bit / 8] ^= std::byte{1} << (bit % 8);
            CHECK_THROWS_AS(tdigest<>::deserialize(flipped), format_error);
        }
    }
}

TEST_CASE("a forged image is read only if it is what serialize could have written") {
    const auto image = content{}.write();
    const auto read = tdigest<>::deserialize(image);
    CHECK(read.count() == 7);
    CHECK(read.serialize() == image);

    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (const double x : {nan, infinity, -infinity, 9.0, 10001.0, -100.0})
        check_refused([&](content& c) { c.compression = x; });
    for (const double x : {nan, infinity, -infinity}) {
        check_refused([&](content& c) { c.min = x; });
        check_refused([&](content& c) { c.max = x; });
        check_refused([&](content& c) { c.sum = x; });
        for (std::size_t i = 0; i < 3; ++i) check_refused([&](content& c) { c.centroids[i].mean = x; });
    }
    check_refused([](content& c) { std::swap(c.min, c.max); });
    check_refused([](content& c) { std::swap(c.centroids[0], c.centroids[1]); });

    check_refused([](content& c) { c.centroids[1].weight = 0; });
    check_refused([](content& c) { // one value, not exact
        c.centroids[1].weight = 1;
        c.centroids[2].weight = 2;
    });
    check_refused([](content& c) { c.centroids[1].weight = tdigest<>::max_count; });
    check_refused([](content& c) { c.centroids[1].weight = ~std::uint64_t{0} >> 1; });
    check_refused([](content& c) { // twice their sum wraps around 2^64
        c.centroids[0].weight = c.centroids[1].weight = std::uint64_t{1} << 62;
        c.centroids[2].weight = 4;
    });
    check_refused([](content& c) { c.centroids[1] = {4, 1, true}; }); // all weights 1, written out
    check_refused([](content& c) {                                    // one value between another minimum and maximum
        c.centroids = {{4, 1, true}};
        c.options[1] = 1;
    });
    check_refused([](content& c) { c.options[0] = 1; });
    check_refused([](content& c) { c.options[1] = 2; });
    check_refused([](content& c) { c.options[2] = 1; });
    check_refused([](content& c) { c.kind = image_kind::log_histogram; });
    check_refused([](content& c) { c.centroids.clear(); }); // empty, yet with weights
    check_refused([](content& c) { c.centroids.insert(c.centroids.begin() + 1, 123, {2, 1, true}); });
}

TEST_CASE("a digest whose extremes lie within centroids reads back after values between them") {
    content wide;
    wide.min = 0;
    wide.max = 10;
    wide.centroids = {{2, 5, false}, {4, 5, false}, {8, 5, false}};
    auto digest = tdigest<>::deserialize(wide.write());
    digest.add(1); // now the first and exact, and yet not the minimum
    digest.add(9);
    CHECK(tdigest<>::deserialize(digest.serialize()) == digest);
    CHECK(digest.quantile(0) == 0);
    CHECK(digest.quantile(1) == 10);
    // The same out of adding alone: the minimum shares a centroid, and what comes later goes before it.
    tdigest<> added(20);
    added.add(support::values_of(support::distributions[3], 100000, 15));
    CHECK(tdigest<>::deserialize(added.serialize()) == added);
}

TEST_CASE("zero has one representation in bytes") {
    check_refused([](content& c) {
        c.min = -0.0;
        c.centroids[0].mean = -0.0;
    });
    check_refused([](content& c) {
        c.min = -1;
        c.centroids[0].mean = -1;
        c.centroids[1].mean = -0.0;
    });
}

TEST_CASE("averages that round to zero from below are no negative zeros") {
    const double least = std::numeric_limits<double>::denorm_min();
    for (int first = -400; first <= 0; ++first) {
        tdigest<> digest(10);
        for (int i = 0; i < 400; ++i) digest.add((first + i) * least);
        REQUIRE(tdigest<>::deserialize(digest.serialize()) == digest);
    }
}

TEST_CASE("a digest of one scale does not read as another") {
    tdigest<qsketch::k1_scale> k1;
    tdigest<qsketch::k2_scale> k2;
    k1.add(1);
    k2.add(1);
    CHECK_THROWS_AS(tdigest<>::deserialize(k1.serialize()), format_error);
    CHECK_THROWS_AS(tdigest<>::deserialize(k2.serialize()), format_error);
    CHECK_THROWS_AS(tdigest<qsketch::k1_scale>::deserialize(k2.serialize()), format_error);
    CHECK(tdigest<qsketch::k1_scale>::deserialize(k1.serialize()) == k1);
    CHECK(tdigest<qsketch::k2_scale>::deserialize(k2.serialize()) == k2);
}

TEST_CASE("random bodies behind a valid checksum are refused or make a digest that keeps its laws") {
    support::random_bits random(31);
    int read = 0;
    for (int trial = 0; trial < 20000; ++trial) {
        content forged;
        forged.centroids.clear();
        double mean = forged.min = static_cast<double>(random.below(5));
        const std::uint64_t size = 1 + random.below(8);
        for (std::uint64_t i = 0; i < size; ++i, mean += static_cast<double>(random.below(4))) {
            const bool exact = random.below(2) == 0;
            forged.centroids.push_back({mean, exact ? 1 + random.below(3) : random.below(40), exact});
            forged.max = mean;
        }
        forged.min -= forged.centroids.front().exact && random.below(8) > 0 ? 0 : 1;
        forged.max += forged.centroids.back().exact && random.below(8) > 0 ? 0 : 1;
        const auto image = forged.write();
        try {
            const auto digest = tdigest<>::deserialize(image);
            ++read;
            REQUIRE(digest.serialize() == image);
            double before = digest.min();
            for (int i = 0; i <= 200; ++i) {
                const double q = i / 200.0;
                const double x = digest.quantile(q);
                REQUIRE(x >= before);
                REQUIRE(digest.cdf(x) >= q - 1e-7); // where a slope ends level, half of the digits are lost
                before = x;
            }
            REQUIRE(before == digest.max());
        } catch (const format_error&) {
        }
    }
    CHECK(read > 2000);
    CHECK(read < 19000);
}
