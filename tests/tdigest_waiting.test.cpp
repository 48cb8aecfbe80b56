// What is merged waits to be folded, as added values do: none of that may show in an answer.

#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

using qsketch::tdigest;

namespace {

/// Of the default compression: at most this many values wait, or half as many centroids.
constexpr std::size_t inner_cells = 500;
constexpr std::size_t waiting = 8 * inner_cells;

/// Whole numbers, so that their sums are exact in any order.
std::vector<double> whole_numbers(std::size_t n, std::uint64_t seed) {
    auto values = support::values_of(support::distributions[3], n, seed);
    for (double& x : values) x = std::floor(1000 * x);
    return values;
}

/// A digest beside all that went into it.
struct known {
    tdigest<> digest = tdigest<>();
    std::vector<double> values = {};

    void add(std::span<const double> more) {
        digest.add(more);
        values.insert(values.end(), more.begin(), more.end());
    }
    void add(double x, std::uint64_t weight) {
        digest.add(x, weight);
        values.insert(values.end(), static_cast<std::size_t>(weight), x);
    }
    void merge(const known& other) {
        digest.merge(other.digest);
        const auto more = other.values; // other may be *this
        values.insert(values.end(), more.begin(), more.end());
    }
};

std::vector<double> answers_of(const tdigest<>& digest) {
    std::vector<double> answers{digest.sum(), digest.min(), digest.max(), digest.trimmed_mean(0.1, 0.8)};
    for (int i = 0; i <= 200; ++i) answers.push_back(digest.quantile(i / 200.0));
    for (std::size_t i = 4; i < 200; ++i) answers.push_back(digest.cdf(answers[i] + 0.5));
    return answers;
}

void check(const known& k) {
    auto sorted = k.values;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(k.digest.count() == sorted.size());
    if (sorted.empty()) return;
    double sum = 0;
    for (const double x : sorted) sum += x;
    REQUIRE(k.digest.sum() == sum);
    REQUIRE(k.digest.min() == sorted.front());
    REQUIRE(k.digest.max() == sorted.back());
    for (const double q : {0.001, 0.05, 0.3, 0.5, 0.9, 0.99}) {
        CAPTURE(q, sorted.size());
        REQUIRE(support::rank_error(sorted, q, k.digest.quantile(q)) <= 0.012);
    }
    REQUIRE(k.digest.parts() <= inner_cells + waiting);
}

} // namespace

TEST_CASE("a digest knows its values in whatever order it is added to, merged, flushed and compacted") {
    support::random_bits random(5);
    std::vector<known> all(3);
    for (int step = 0; step < 1500; ++step) {
        known& one = all[random.below(all.size())];
        const known& other = all[random.below(all.size())];
        const auto bits = random.below(16);
        CAPTURE(step, bits);
        if (one.values.size() + other.values.size() > 150000) {
            one = known();
        } else if (bits < 5) {
            one.add(whole_numbers(1 + random.below(bits == 0 ? 9000 : 600), random()));
        } else if (bits == 5) {
            for (int i = 0; i < 20; ++i) one.add(static_cast<double>(random.below(3000)), 1 + random.below(5));
        } else if (bits < 12) {
            one.merge(other);
        } else if (bits == 12) {
            one.digest.flush();
        } else if (bits == 13) {
            one.digest.compact();
        } else if (bits == 14) {
            one.digest = tdigest<>::deserialize(one.digest.serialize());
        } else {
            one = known(other);
        }
        check(one);
        const tdigest<> before = one.digest;
        const auto answers = before.empty() ? std::vector<double>() : answers_of(before);
        const auto bytes = before.serialize();
        tdigest<> flushed = before;
        flushed.flush();
        REQUIRE(flushed == before);
        REQUIRE(flushed.serialize() == bytes);
        if (!before.empty()) REQUIRE(answers_of(flushed) == answers);
        REQUIRE(tdigest<>::deserialize(bytes).serialize() == bytes);
    }
}

TEST_CASE("answers that flush() prepared are not given any more once something came") {
    known one;
    known other;
    one.add(whole_numbers(50000, 1));
    other.add(whole_numbers(50000, 2));
    for (const bool merge : {false, true}) {
        known k = one;
        k.merge(other);
        k.digest.flush();
        check(k);
        CHECK(k.digest.quantile(1) == k.digest.max());
        if (merge)
            k.merge(other);
        else
            k.add(std::vector<double>(100000, 1e9));
        check(k);
        const tdigest<> asked = k.digest;
        k.digest.flush();
        CHECK(answers_of(k.digest) == answers_of(asked));
        check(k);
        k.digest.clear();
        CHECK(k.digest == tdigest<>());
        k.digest.add(7);
        CHECK(k.digest.quantile(0.5) == 7);
    }
}

TEST_CASE("a digest into which many are merged takes no more memory than one to which many values are added") {
    known part;
    part.add(whole_numbers(100000, 3));
    for (const bool flushed : {false, true}) {
        if (flushed) part.digest.flush();
        tdigest<> added;
        tdigest<> chain;
        std::size_t most_added = 0;
        std::size_t most_merged = 0;
        for (int i = 0; i < 60; ++i) {
            added.add(std::span<const double>(part.values).first(1500));
            chain.merge(part.digest);
            most_added = (std::max)(most_added, added.memory_bytes());
            most_merged = (std::max)(most_merged, chain.memory_bytes());
            CHECK(chain.parts() <= inner_cells + waiting);
        }
        CHECK(chain.count() == 6000000);
        CHECK(most_merged <= most_added);
    }
}

TEST_CASE("heavy values of many digests take no more room than centroids") {
    tdigest<> heavy;
    for (int i = 0; i < 400; ++i) heavy.add(i, 1000);
    const std::vector<const tdigest<>*> others(100, &heavy);
    tdigest<> merged = heavy;
    merged.merge(std::span<const tdigest<>* const>(others));
    CHECK(merged.parts() <= inner_cells + waiting);
    for (int i = 0; i < 10000; ++i) merged.add(i % 400);
    CHECK(merged.parts() <= inner_cells + waiting);
    CHECK(merged.count() == 101 * 400000 + 10000);
    CHECK(merged.quantile(0.5) == 199);
}

TEST_CASE("pairs commute to the byte whatever has been folded of them") {
    for (const double compression : {10.0, 100.0})
        for (const std::size_t left : {300u, 1500u, 5000u, 20000u})
            for (const std::size_t right : {10u, 400u, 1500u, 1900u, 3000u}) {
                CAPTURE(compression, left, right);
                tdigest<> a(compression);
                tdigest<> b(compression);
                a.add(support::values_of(support::distributions[1], left, left));
                a.flush();
                b.add(support::values_of(support::distributions[3], right, right));
                for (int i = 0; i < 200; ++i) b.add(i, left > 1000 ? 2 : 1);
                tdigest<> ab = a;
                ab.merge(b);
                b.merge(a);
                CHECK(ab.serialize() == b.serialize());
                CHECK(ab == b);
            }
}

TEST_CASE("no more than eight lists of centroids wait, and merging many at once leaves no room unused") {
    tdigest<> one;
    one.add(1);
    one.flush();
    tdigest<> large(10000);
    large.add(support::values_of(support::distributions[0], 300000, 1));
    large.flush();
    const auto before = large.memory_bytes();
    for (int i = 0; i < 1000; ++i) large.merge(one);
    CHECK(large.count() == 301000);
    CHECK(large.memory_bytes() < before);

    tdigest<> full;
    full.add(support::values_of(support::distributions[0], 20000, 1));
    for (const std::size_t n : {10u, 100u, 1000u}) {
        const std::vector<const tdigest<>*> others(n, &full);
        tdigest<> merged;
        merged.merge(std::span<const tdigest<>* const>(others));
        CHECK(merged.memory_bytes() <= 16 * inner_cells + 500);
        merged.flush();
        CHECK(merged.memory_bytes() < 20000);
    }
}

TEST_CASE("that merged centroids wait shows neither in the receiver nor in the order") {
    std::vector<tdigest<>> parts;
    for (std::uint64_t i = 0; i < 9; ++i) {
        tdigest<> part;
        const std::size_t size = i % 4 == 0 ? 2000 : 20000 + 700 * i;     // of one round of clustering, and of more
        part.add(support::values_of(support::distributions[1], size, i)); // their sum depends on the order
        if (i % 3 == 1 || i % 4 == 0) part.flush();
        if (i % 3 == 2) part.add(0.25, 3);
        parts.push_back(std::move(part));
    }
    for (std::size_t n = 2; n <= parts.size(); ++n) {
        CAPTURE(n);
        std::vector<std::vector<std::byte>> images;
        for (std::size_t receiver = 0; receiver < n; ++receiver) {
            std::vector<const tdigest<>*> others;
            for (std::size_t i = 1; i < n; ++i) others.push_back(&parts[(receiver + i) % n]);
            tdigest<> merged = parts[receiver];
            merged.merge(std::span<const tdigest<>* const>(others));
            images.push_back(merged.serialize());
        }
        for (const auto& image : images) CHECK(image == images[0]);
    }
}
