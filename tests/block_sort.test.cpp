#include <qsketch/detail/block_sort.hpp>

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

using limits = std::numeric_limits<double>;

namespace {

void check_sorts(const std::vector<double>& values) {
    auto expected = values;
    std::sort(expected.begin(), expected.end());
    std::vector<double> sorted(values.size(), -7);
    qsketch::detail::sort_block(std::span<const double>(values), sorted.data());
    REQUIRE(sorted == expected);
}

template <class Value>
std::vector<double> make(std::size_t n, const Value& value) {
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = value(i);
    return values;
}

/// Sizes on both sides of every change of method.
constexpr std::size_t sizes[] = {0, 1, 2, 64, 65, 1000, 1536, 1537, 4096, 4097, 20000};

} // namespace

TEST_CASE("blocks of every distribution are sorted") {
    for (const std::size_t n : sizes) {
        CAPTURE(n);
        for (const auto& d : support::distributions) check_sorts(support::values_of(d, n, n + 1));
        check_sorts(support::log_uniform(n, n + 1));
    }
}

TEST_CASE("what has a mean takes along what else it holds") {
    struct item {
        double mean;
        std::size_t number;
    };
    for (const std::size_t n : sizes) {
        CAPTURE(n);
        for (const auto& d : support::distributions) {
            const auto values = support::values_of(d, n, n + 1);
            std::vector<item> items;
            for (const double x : values) items.push_back({x, items.size()});
            std::vector<item> sorted(n);
            qsketch::detail::sort_block(std::span<const item>(items), sorted.data());
            std::vector<bool> seen(n);
            bool ascending = true;
            for (std::size_t i = 0; i < n; ++i) {
                REQUIRE(!seen[sorted[i].number]);
                seen[sorted[i].number] = true;
                REQUIRE(values[sorted[i].number] == sorted[i].mean);
                if (i > 0) ascending &= sorted[i - 1].mean <= sorted[i].mean;
            }
            CHECK(ascending);
        }
    }
}

TEST_CASE("sorted, reversed and nearly sorted blocks are sorted") {
    for (const std::size_t n : sizes) {
        CAPTURE(n);
        const auto at = [](std::size_t i) { return static_cast<double>(i); };
        auto values = make(n, at);
        check_sorts(values);
        if (n > 1) std::swap(values.front(), values.back());
        check_sorts(values);
        std::sort(values.begin(), values.end(), std::greater<>());
        check_sorts(values);
        check_sorts(make(n, [](std::size_t i) { return static_cast<double>(i / 7); }));
    }
}

TEST_CASE("values whose leading bits agree are told apart by the rest") {
    support::random_bits random(3);
    for (const std::size_t n : sizes) {
        CAPTURE(n);
        // A few far away, all others within a unit of the 20th digit, and again within each of those.
        check_sorts(make(n, [&](std::size_t i) { return i % 1000 == 7 ? 1e300 : random.unit(); }));
        check_sorts(make(n, [&](std::size_t i) { return i % 1000 == 7 ? -1e300 : -random.unit(); }));
        check_sorts(make(n, [&](std::size_t) { return std::ldexp(1 + random.unit(), -30 * int(random.below(30))); }));
        check_sorts(make(n, [&](std::size_t i) {
            return i % 2 == 0 ? 1 + static_cast<double>(random.below(1000)) * 0x1p-52 : 1 + random.unit();
        }));
        check_sorts(make(n, [&](std::size_t i) { return i % 100 == 0 ? -3.0 : 5.0; }));
    }
}

TEST_CASE("the whole range of a double is sorted") {
    support::random_bits random(4);
    for (const std::size_t n : sizes) {
        CAPTURE(n);
        check_sorts(make(n, [&](std::size_t) { return limits::max() * (2 * random.unit() - 1); }));
        check_sorts(
            make(n, [&](std::size_t) { return static_cast<double>(random.below(5000)) * limits::denorm_min(); }));
        check_sorts(make(n, [&](std::size_t i) {
            return i % 3 == 0 ? limits::denorm_min() : i % 3 == 1 ? -limits::max() : limits::max() * random.unit();
        }));
        check_sorts(std::vector<double>(n, -5.0));
    }
}

TEST_CASE("negative zero sorts with zero") {
    support::random_bits random(5);
    for (const std::size_t n : sizes)
        check_sorts(make(n, [&](std::size_t) {
            return random.below(2) == 0 ? -0.0 : random.below(3) == 0 ? 0.0 : 1.0;
        }));
}
