#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

using qsketch::tdigest;

namespace {

using pointers = std::vector<const tdigest<>*>;

tdigest<> digest_of(std::span<const double> values, double compression = 100) {
    tdigest<> digest(compression);
    digest.add(values);
    return digest;
}

tdigest<> merged(double compression, const pointers& parts) {
    tdigest<> result(compression);
    result.merge(std::span<const tdigest<>* const>(parts));
    return result;
}

/// Whole numbers, so that their sums are exact in any order.
std::vector<double> whole_numbers(std::size_t n, std::uint64_t seed) {
    auto values = support::values_of(support::distributions[3], n, seed);
    for (double& x : values) x = std::floor(1000 * x);
    return values;
}

std::vector<tdigest<>> shards_of(std::span<const double> values, std::size_t shards) {
    std::vector<tdigest<>> parts(shards);
    for (std::size_t i = 0; i < shards; ++i)
        parts[i].add(
            values.subspan(i * values.size() / shards, (i + 1) * values.size() / shards - i * values.size() / shards));
    return parts;
}

pointers pointers_to(const std::vector<tdigest<>>& parts) {
    pointers result;
    for (const auto& part : parts) result.push_back(&part);
    return result;
}

} // namespace

TEST_CASE("merging an empty digest changes no bit, merging into one copies (t-digest 114)") {
    for (const std::size_t n : {1u, 100u, 3000u, 100000u}) {
        CAPTURE(n);
        auto digest = digest_of(support::values_of(support::distributions[1], n, n));
        const auto before = digest.serialize();
        digest.merge(tdigest<>());
        digest.merge(tdigest<>(1000));
        digest.merge(std::span<const tdigest<>* const>());
        const tdigest<> empty;
        digest.merge(std::span<const tdigest<>* const>(pointers{&empty, &empty}));
        CHECK(digest.serialize() == before);
        tdigest<> copy;
        copy.merge(digest);
        CHECK(copy.serialize() == before);
        CHECK(copy == digest);
        tdigest<> coarse(20);
        coarse.merge(digest);
        CHECK(coarse.compression() == 20);
        CHECK(coarse.centroids().size() <= 25);
        CHECK(coarse.count() == n);
        tdigest<> grown;
        grown.merge(tdigest<>());
        CHECK(grown.serialize() == tdigest<>().serialize());
    }
}

TEST_CASE("a digest merged into an empty one keeps no prepared answers, gives the same ones and prepares them again") {
    for (const std::size_t n : {300u, 5000u, 100000u})
        for (const bool flushed : {false, true}) {
            CAPTURE(n, flushed);
            auto digest = digest_of(support::values_of(support::distributions[1], n, n));
            if (flushed) digest.flush();
            tdigest<> copy;
            copy.merge(digest);
            tdigest<> prepared = copy;
            prepared.flush();
            CHECK(tdigest<>(copy).memory_bytes() + 3000 < prepared.memory_bytes());
            for (const double q : {0.001, 0.1, 0.37, 0.5, 0.93, 0.999}) {
                const double x = digest.quantile(q);
                CHECK(copy.quantile(q) == x);
                CHECK(prepared.quantile(q) == x);
                CHECK(copy.cdf(x) == digest.cdf(x));
                CHECK(prepared.cdf(x) == digest.cdf(x));
            }
            CHECK(prepared.serialize() == digest.serialize());
        }
}

TEST_CASE("merge(a, b) and merge(b, a) are the same bytes") {
    for (const std::size_t n : {10u, 200u, 5000u, 60000u}) {
        const auto a = digest_of(support::values_of(support::distributions[3], n, 1));
        const auto b = digest_of(support::values_of(support::distributions[1], 20000, 2));
        auto ab = a;
        ab.merge(b);
        auto ba = b;
        ba.merge(a);
        CHECK(ab.serialize() == ba.serialize());
        CHECK(ab == ba);
        CHECK(merged(100, {&a, &b}) == ab);
        CHECK(merged(100, {&b, &a}) == ab);
        CHECK(ab.count() == a.count() + b.count());
        CHECK(ab.sum() == a.sum() + b.sum());
    }
}

TEST_CASE("merging takes its arguments as they are, buffered values included (datasketches 409)") {
    const auto values = whole_numbers(3000, 1);
    const auto buffered = digest_of(values);
    auto flushed = buffered;
    flushed.flush();
    const auto bytes = buffered.serialize();
    const auto memory = buffered.memory_bytes();
    tdigest<> from_buffered;
    from_buffered.add(whole_numbers(500, 2));
    auto from_flushed = from_buffered;
    from_buffered.merge(buffered);
    from_flushed.merge(flushed);
    CHECK(from_buffered.count() == 3500);
    CHECK(from_flushed.count() == 3500);
    CHECK(buffered.serialize() == bytes);
    CHECK(buffered.memory_bytes() == memory);
    auto all = values;
    const auto more = whole_numbers(500, 2);
    all.insert(all.end(), more.begin(), more.end());
    std::sort(all.begin(), all.end());
    for (int i = 1; i < 100; ++i) {
        CHECK(support::rank_error(all, i / 100.0, from_buffered.quantile(i / 100.0)) <= 5e-3);
        CHECK(support::rank_error(all, i / 100.0, from_flushed.quantile(i / 100.0)) <= 5e-3);
    }
}

TEST_CASE("merging a digest with itself doubles every weight") {
    for (const std::size_t n : {1u, 90u, 20000u}) {
        CAPTURE(n);
        const auto values = whole_numbers(n, n);
        const auto once = digest_of(values);
        auto twice = once;
        twice.merge(twice);
        CHECK(twice.count() == 2 * once.count());
        CHECK(twice.sum() == 2 * once.sum());
        CHECK(twice.min() == once.min());
        CHECK(twice.max() == once.max());
        auto sorted = values;
        std::sort(sorted.begin(), sorted.end());
        for (int i = 1; i < 100; ++i)
            REQUIRE(support::rank_error(sorted, i / 100.0, twice.quantile(i / 100.0)) <= (n <= 90 ? 0 : 5e-3));
        auto copied = once;
        copied.merge(once);
        CHECK(twice.serialize() == copied.serialize());
        CHECK(merged(100, {&once, &once}).serialize() == copied.serialize());
    }
}

TEST_CASE("extremes survive merging and bytes though no centroid is there (datasketches 525)") {
    tdigest<> low(10);
    tdigest<> high(10);
    for (int i = 0; i < 5000; ++i) {
        low.add(-1 - i * 0.001, 3);
        high.add(1 + i * 0.001, 3);
    }
    low.merge(tdigest<>::deserialize(high.serialize()));
    low = tdigest<>::deserialize(low.serialize());
    CHECK(low.min() == -1 - 4999 * 0.001);
    CHECK(low.max() == 1 + 4999 * 0.001);
    CHECK(low.quantile(0) == low.min());
    CHECK(low.quantile(1) == low.max());
    CHECK(low.count() == 30000);
}

TEST_CASE("merging at once does not depend on the order of the arguments (t-digest 102, 94)") {
    const auto values = support::values_of(support::distributions[1], 60000, 3); // their sum depends on the order
    const auto parts = shards_of(values, 7);
    auto order = pointers_to(parts);
    const auto bytes = merged(100, order).serialize();
    support::random_bits random(9);
    for (int shuffle = 0; shuffle < 20; ++shuffle) {
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
        REQUIRE(merged(100, order).serialize() == bytes);
        auto receiver = *order.back(); // being the receiver is no different either
        receiver.merge(std::span<const tdigest<>* const>(order).first(order.size() - 1));
        REQUIRE(receiver.serialize() == bytes);
    }
}

TEST_CASE("digests of any compressions merge, and the receiver keeps its own") {
    const auto values = whole_numbers(40000, 4);
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    for (const double mine : {10.0, 100.0, 1000.0}) {
        for (const double theirs : {10.0, 37.5, 100.0, 1000.0}) {
            CAPTURE(mine, theirs);
            auto receiver = digest_of(std::span(values).first(20000), mine);
            receiver.merge(digest_of(std::span(values).subspan(20000), theirs));
            CHECK(receiver.compression() == mine);
            CHECK(receiver.count() == 40000);
            CHECK(receiver.centroids().size() <= static_cast<std::size_t>(1.25 * mine));
            const double coarser = (std::min)(mine, theirs);
            const auto read = tdigest<>::deserialize(receiver.serialize());
            for (int i = 1; i < 100; ++i) {
                const double error = support::rank_error(sorted, i / 100.0, read.quantile(i / 100.0));
                REQUIRE(error <= (coarser < 30 ? 0.065 : coarser < 50 ? 0.013 : 0.0022));
            }
        }
    }
}

TEST_CASE("merging few values is exact in a chain, a tree and at once") {
    std::vector<double> values(400);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i * i % 401);
    const auto whole = digest_of(values);
    auto parts = shards_of(values, 16);
    CHECK(merged(100, pointers_to(parts)) == whole);
    tdigest<> chain;
    for (const auto& part : parts) chain.merge(part);
    CHECK(chain == whole);
    for (std::size_t step = 1; step < parts.size(); step *= 2)
        for (std::size_t i = 0; i < parts.size(); i += 2 * step) parts[i].merge(parts[i + step]);
    CHECK(parts[0] == whole);
    CHECK(parts[0].serialize() == whole.serialize());
}

TEST_CASE("digests that were compact merge over ten generations with little loss") {
    for (const auto& d : {support::distributions[0], support::distributions[1], support::distributions[3]}) {
        CAPTURE(d.name);
        auto values = support::values_of(d, 1024 * 500, 1);
        auto generation = shards_of(values, 1024);
        for (auto& digest : generation) digest.compact();
        while (generation.size() > 1) {
            for (std::size_t i = 0; i < generation.size() / 2; ++i) {
                generation[i] = merged(100, {&generation[2 * i], &generation[2 * i + 1]});
                generation[i].compact();
            }
            generation.resize(generation.size() / 2);
        }
        std::sort(values.begin(), values.end());
        CHECK(generation[0].count() == values.size());
        CHECK(generation[0].min() == values.front());
        CHECK(generation[0].max() == values.back());
        for (const auto& [q, bound] : {std::pair{0.01, 2e-4}, {0.1, 3e-4}, {0.5, 3e-4}, {0.9, 3e-4}, {0.99, 2e-4}}) {
            CAPTURE(q);
            CHECK(support::rank_error(values, q, generation[0].quantile(q)) <= bound);
        }
    }
}

TEST_CASE("a compact digest of any size merges with a few values into one that reads back and never falls") {
    for (std::size_t n = 120; n < 270; n += 3) {
        for (const std::size_t few : {1u, 5u, 20u}) {
            CAPTURE(n, few);
            const auto& uniform = support::distributions[0];
            auto merged = digest_of(support::values_of(uniform, n, n));
            merged.compact();
            merged.merge(digest_of(support::values_of(uniform, few, n + few)));
            REQUIRE(tdigest<>::deserialize(merged.serialize()) == merged);
            double before = 0;
            for (int i = 0; i <= 1000; ++i) {
                const double x = merged.quantile(i / 1000.0);
                REQUIRE(x >= before);
                before = x;
            }
        }
    }
}

TEST_CASE("a merge that would pass 2^53 is refused with nothing changed") {
    tdigest<> half;
    half.add(1, tdigest<>::max_count / 2);
    half.add(2);
    auto other = half;
    other.add(3, 7);
    const auto before = other.serialize();
    CHECK_THROWS_AS(other.merge(half), qsketch::incompatible_error);
    const tdigest<> small = digest_of(std::array{5.0, 6.0});
    const pointers both{&small, &half};
    CHECK_THROWS_AS(other.merge(std::span<const tdigest<>* const>(both)), qsketch::incompatible_error);
    CHECK(other.serialize() == before);
    other.merge(small);
    CHECK(other.count() == tdigest<>::max_count / 2 + 1 + 7 + 2);
}

TEST_CASE("adding goes on after merging and after reading") {
    const auto values = whole_numbers(40000, 6);
    auto sorted = values;
    std::sort(sorted.begin(), sorted.end());
    auto digest = digest_of(std::span(values).first(10000));
    digest.merge(digest_of(std::span(values).subspan(10000, 10000)));
    digest.add(std::span(values).subspan(20000, 10000));
    digest = tdigest<>::deserialize(digest.serialize());
    digest.add(std::span(values).subspan(30000));
    CHECK(digest.count() == values.size());
    const auto read = tdigest<>::deserialize(digest.serialize());
    for (int i = 1; i < 100; ++i) {
        REQUIRE(support::rank_error(sorted, i / 100.0, read.quantile(i / 100.0)) <= 5e-3);
        REQUIRE(support::rank_error(sorted, i / 100.0, digest.quantile(i / 100.0)) <= 1e-2);
    }
}
