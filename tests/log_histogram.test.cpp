#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <qsketch/concepts.hpp>
#include <qsketch/log_histogram.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

using qsketch::log_histogram;

static_assert(qsketch::quantile_sketch<log_histogram<>>);
static_assert(qsketch::quantile_sketch<log_histogram<std::uint32_t>>);

namespace {

constexpr double least = std::numeric_limits<double>::denorm_min();
constexpr double largest = (std::numeric_limits<double>::max)();
constexpr double infinity = std::numeric_limits<double>::infinity();

std::vector<double> sorted(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values;
}

/// The worst error of quantile() in shares of relative_error(), at up to 2000 ranks; the ends among them.
double worst_quantile(const log_histogram<>& h, const std::vector<double>& truth) {
    double worst = 0;
    const std::size_t n = truth.size();
    for (std::size_t k = 1; k <= n; k += (std::max)(n / 2000, std::size_t{1})) {
        const double answer = h.quantile(static_cast<double>(k) / static_cast<double>(n));
        const double x = truth[k - 1];
        const double off = std::abs(answer - x) - (std::abs(x) < 0x1p-1000 ? least : 0.0);
        if (off > 0) worst = (std::max)(worst, off / std::abs(x) / h.relative_error());
    }
    return worst;
}

double share_up_to(const std::vector<double>& truth, double x) {
    const auto up_to = std::upper_bound(truth.begin(), truth.end(), x) - truth.begin();
    return static_cast<double>(up_to) / static_cast<double>(truth.size());
}

void check_bounds(const log_histogram<>& h, const std::vector<double>& truth) {
    CHECK(worst_quantile(h, truth) <= 1);
    const double e = h.relative_error();
    REQUIRE(e < 1);
    std::size_t broken = 0;
    for (std::size_t i = 0; i < truth.size(); i += (std::max)(truth.size() / 500, std::size_t{1}))
        for (const double x : {truth[i], truth[i] * 1.003, truth[i] / 1.003}) {
            const double near_zero = x / (1 + e);
            const double far = x / (1 - e);
            const double rank = h.cdf(x);
            if (rank < share_up_to(truth, x < 0 ? far : near_zero)) ++broken;
            if (rank > share_up_to(truth, x < 0 ? near_zero : far)) ++broken;
        }
    CHECK(broken == 0);
    CHECK(h.min() == truth.front());
    CHECK(h.max() == truth.back());
    CHECK(h.quantile(0) == truth.front());
    CHECK(h.quantile(1) == truth.back());
    CHECK(h.count() == truth.size());

    double sum = 0; // in units that cannot overflow
    double magnitudes = 0;
    for (const double x : truth) {
        sum += x * 0x1p-40;
        magnitudes += std::abs(x) * 0x1p-40;
    }
    // The exact sum is itself rounded, by less than a share of 1e-9.
    CHECK(std::abs(h.sum_estimate() * 0x1p-40 - sum) <= magnitudes * (e + 1e-9));
}

std::vector<log_histogram<>> shards_of(const std::vector<double>& values, std::size_t number, double e = 0.01,
                                       std::size_t max_buckets = 4096) {
    std::vector<log_histogram<>> shards(number, log_histogram<>(e, max_buckets));
    for (std::size_t i = 0; i < values.size(); ++i) shards[i * number / values.size()].add(values[i]);
    return shards;
}

/// A double of any exponent and sign, evenly by bits.
double any_finite(support::random_bits& random) {
    for (;;)
        if (const auto x = std::bit_cast<double>(random()); std::isfinite(x)) return x;
}

} // namespace

TEST_CASE("edges are the powers of two they should be, rounded down") {
    namespace detail = qsketch::detail;
    // Computed with integers of 400 bits.
    std::uint64_t fingerprint = 0xcbf29ce484222325;
    for (std::size_t j = 0; j < 1024; ++j) fingerprint = (fingerprint ^ detail::log_edges[j]) * 0x100000001b3;
    CHECK(fingerprint == 0x6a8ee8840785ce16);
    for (std::size_t j = 0; j < 1024; ++j) {
        const double edge = std::bit_cast<double>(detail::log_edges[j] | 0x3ff0000000000000);
        CHECK(std::abs(edge - std::exp2(static_cast<double>(j) / 1024)) <= 0x1p-51);
    }
}

TEST_CASE("every value is in the bucket whose edges enclose it, at every scale") {
    namespace detail = qsketch::detail;
    support::random_bits random(1);
    for (int scale = detail::coarsest_log_scale; scale <= detail::finest_log_scale; ++scale) {
        const detail::log_grid grid(scale);
        CAPTURE(scale);
        REQUIRE(grid.scale() == scale);
        std::size_t broken = 0;
        const auto check = [&](double x) {
            if (!(x > 0 && x <= largest)) return;
            const auto i = grid.index(x);
            if (!(grid.edge(i) < x && x <= grid.edge(i + 1))) ++broken;
        };
        for (int n = 0; n < 3000; ++n) {
            const double x = std::abs(any_finite(random));
            check(x);
            const double edge = grid.edge(grid.index(x));
            for (const double y : {std::nextafter(edge, 0.0), edge, std::nextafter(edge, infinity)}) check(y);
            const double denormal = std::bit_cast<double>(random() >> (12 + random.below(52)));
            check(denormal);
        }
        for (int exponent = -1074; exponent <= 1023; ++exponent) {
            const double x = std::ldexp(1.0, exponent);
            for (const double y : {std::nextafter(x, 0.0), x, std::nextafter(x, infinity), x * 1.5}) check(y);
        }
        check(least);
        check(largest);
        CHECK(broken == 0);
    }
    // Powers of two are upper edges.
    CHECK(detail::log_grid(0).index(8) == 2);
    CHECK(detail::log_grid(0).index(8.000001) == 3);
    CHECK(detail::log_grid(3).index(1) == -1);
    CHECK(detail::log_grid(-2).index(17) == 1);
    CHECK(detail::log_grid(-2).index(16) == 0);
}

TEST_CASE("quantile, cdf and sum_estimate keep their bounds on every distribution") {
    for (const auto& d : support::distributions)
        for (const double e : {0.001, 0.01, 0.2}) {
            const auto values = support::values_of(d, 50'000, 7);
            log_histogram<> h(e, 65536);
            h.add(values);
            CAPTURE(d.name, e);
            CHECK(h.relative_error() <= e + 0x1p-49);
            check_bounds(h, sorted(values));
        }
}

TEST_CASE("the bounds are not only kept but used") {
    const auto values = support::values_of(support::distributions[3], 50'000, 3);
    log_histogram<> h;
    h.add(values);
    CHECK(worst_quantile(h, sorted(values)) > 0.95);
}

TEST_CASE("magnitudes of all exponents keep their bounds") {
    const auto values = support::log_uniform(50'000, 5);
    log_histogram<> wide(0.2, 65536); // no need to join any
    log_histogram<> narrow;
    wide.add(values);
    narrow.add(values);
    CHECK(wide.scale() == 1);
    CHECK(narrow.scale() == 0);
    CHECK(narrow.relative_error() < 0.3334);
    check_bounds(wide, sorted(values));
    CHECK(worst_quantile(narrow, sorted(values)) <= 1);
}

TEST_CASE("the ends of the doubles keep their bounds") {
    std::vector<double> values = {0.0,  -0.0,    least,    -least,   3 * least, 100 * least, 0x1p-1022, -0x1p-1022, 1,
                                  -1.0, largest, -largest, 0x1p1023, 1e300,     -1e-300,     1e-310,    1e-320};
    for (int i = 1; i < 300; ++i) values.push_back(i * least);
    for (const std::size_t max_buckets : {64u, 200u, 4096u, 65536u}) {
        log_histogram<> batch(0.01, max_buckets);
        log_histogram<> single(0.01, max_buckets);
        batch.add(values);
        for (const double x : values) single.add(x);
        CHECK(batch == single);
        CHECK(worst_quantile(batch, sorted(values)) <= 1);
        CHECK(batch.min() == -largest);
        CHECK(batch.max() == largest);
        CHECK(std::isfinite(batch.sum_estimate()));
        CHECK(single.buckets().back().upper == infinity);
    }
    log_histogram<> tiny;
    for (int i = 1; i < 300; ++i) tiny.add(i * least);
    CHECK(tiny.scale() == 6);
    for (int i = 1; i < 300; ++i) CHECK(std::abs(tiny.quantile(i / 299.0) - i * least) <= (1 + 0.0055 * i) * least);
}

TEST_CASE("chains and trees of 64 merges give the state of one histogram that saw all, whatever was joined") {
    for (const std::size_t max_buckets : {64u, 300u, 4096u})
        for (const auto& values :
             {support::values_of(support::distributions[5], 20'000, 11), support::log_uniform(20'000, 12),
              support::values_of(support::distributions[1], 20'000, 13)}) {
            const auto shards = shards_of(values, 64, 0.01, max_buckets);
            log_histogram<> whole(0.01, max_buckets);
            whole.add(values);
            auto chain = shards.front();
            for (std::size_t i = 1; i < 64; ++i) chain.merge(shards[i]);
            auto backwards = shards.back();
            for (std::size_t i = 63; i-- > 0;) backwards.merge(shards[i]);
            auto tree = shards;
            for (std::size_t step = 1; step < 64; step *= 2)
                for (std::size_t i = 0; i < 64; i += 2 * step) tree[i].merge(tree[i + step]);
            for (const auto* merged : {&chain, &backwards, &tree[0]}) {
                CHECK(*merged == whole);
                CHECK(merged->serialize() == whole.serialize());
            }
            CHECK(worst_quantile(chain, sorted(values)) <= 1);
        }
}

TEST_CASE("the order of adds does not show, however the range grew") {
    support::random_bits random(4);
    for (int round = 0; round < 60; ++round) {
        std::vector<double> values;
        for (std::uint64_t n = 1 + random.below(60); n > 0; --n)
            values.push_back(random.below(8) == 0 ? any_finite(random) : std::ldexp(random.unit() - 0.3, round - 30));
        log_histogram<> up(0.02, 64);
        log_histogram<> down(0.02, 64);
        log_histogram<> any(0.02, 64);
        log_histogram<> batch(0.02, 64);
        batch.add(values);
        for (const double x : values) any.add(x);
        const auto ascending = sorted(values);
        for (const double x : ascending) up.add(x);
        for (auto x = ascending.rbegin(); x != ascending.rend(); ++x) down.add(*x);
        for (const auto* h : {&up, &down, &batch}) CHECK(h->serialize() == any.serialize());
        CHECK(any.memory_bytes() <= sizeof any + 64 * 8);
        // No coarser than it has to be: at one scale more there would be more than 64 buckets.
        if (any.scale() < log_histogram<>(0.02).scale()) {
            const qsketch::detail::log_grid finer(any.scale() + 1);
            std::array<std::int32_t, 2> first = {INT32_MAX, INT32_MAX};
            std::array<std::int32_t, 2> last = {INT32_MIN, INT32_MIN};
            for (const double x : values) {
                if (x == 0) continue;
                const auto i = finer.index(std::abs(x));
                first[x < 0] = (std::min)(first[x < 0], i);
                last[x < 0] = (std::max)(last[x < 0], i);
            }
            std::int32_t buckets = 0;
            for (const std::size_t sign : {0u, 1u})
                if (last[sign] >= first[sign]) buckets += last[sign] - first[sign] + 1;
            CHECK(buckets > 64);
        }
    }
}
