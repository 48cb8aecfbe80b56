#include <qsketch/writer.hpp>

#include "support/sketch_types.hpp"

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/threads.hpp"

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using qsketch::striped;
using qsketch::writer;
using support::sketch_case;

namespace {

using digest = qsketch::tdigest<>;
using written_types =
    std::tuple<digest, qsketch::hyperloglog<std::uint64_t>, qsketch::hyperloglog<std::string_view>,
               qsketch::count_min<std::uint64_t>, qsketch::count_min<std::uint64_t, qsketch::conservative>,
               qsketch::top_k<std::uint64_t>, qsketch::log_histogram<>>;

template <class Sketch>
constexpr bool has_writer = requires {
    typename writer<Sketch>;
};
static_assert(has_writer<qsketch::top_k<double>>);
static_assert(!has_writer<qsketch::sliding_window<digest>>, "what waits would be late");
static_assert(std::is_nothrow_move_constructible_v<writer<digest>> && !std::is_copy_constructible_v<writer<digest>>);

template <class Sketch>
void tell(writer<Sketch>& to, support::keys events) {
    for (const auto key : events) to.add(sketch_case<Sketch>::event(key));
}

template <class Sketch>
void tell_at_once(writer<Sketch>& to, support::keys events) {
    std::vector<decltype(sketch_case<Sketch>::event(0))> owned;
    for (const auto key : events) owned.push_back(sketch_case<Sketch>::event(key));
    const std::vector<typename writer<Sketch>::value_type> batch(owned.begin(), owned.end());
    to.add(std::span<const typename writer<Sketch>::value_type>(batch));
}

} // namespace

TEMPLATE_LIST_TEST_CASE("what goes through a writer makes the state of a bare sketch", "", written_types) {
    striped<TestType> shared(sketch_case<TestType>::make(), 2);
    TestType bare = sketch_case<TestType>::make();
    writer<TestType> to(shared, 16);
    for (const std::size_t size : {1u, 60u, 5u, 30u, 1000u, 3000u}) {
        const auto keys = support::skewed_keys(size, 100'000, size);
        tell(to, keys);
        support::add(bare, keys);
        to.flush();
        CHECK(shared.snapshot() == bare);
        CHECK(to.pending() == 0);
    }
    for (const std::size_t size : {3u, 10u, 12u, 16u, 17u, 300u}) {
        const auto keys = support::skewed_keys(size, 100'000, size);
        tell_at_once(to, keys);
        support::add_batch(bare, keys);
        CHECK(to.pending() <= 16);
    }
    to.flush();
    CHECK(shared.snapshot() == bare);
}

TEST_CASE("a snapshot misses what is pending: nothing at first, then up to the capacity, never more", "") {
    for (const std::size_t capacity : {1u, 2u, 10u, 512u}) {
        striped<digest> shared(digest(), 2);
        writer<digest> to(shared, capacity);
        CHECK(to.capacity() == capacity);
        std::size_t most = 0;
        for (std::size_t added = 1; added <= 7 * capacity + 3; ++added) {
            to.add(1.0);
            const std::size_t early = 4 * capacity;
            const std::size_t expected = added <= early ? 0 : (added - early - 1) % capacity + 1;
            REQUIRE(to.pending() == expected);
            if (capacity <= 10) REQUIRE(shared.snapshot().count() == added - expected);
            REQUIRE(5 * expected <= added);
            most = std::max(most, expected);
        }
        CHECK(most == capacity);
        to.flush();
        CHECK(to.pending() == 0);
        CHECK(shared.snapshot().count() == 7 * capacity + 3);
        to.flush();
        CHECK(shared.snapshot().count() == 7 * capacity + 3);
    }
}

TEST_CASE("batches wait if they fit, and are passed on whole if they do not", "") {
    striped<digest> shared(digest(), 1);
    writer<digest> to(shared, 10);
    const std::vector<double> values(10, 1.0);
    const auto first = [&](std::size_t n) { return std::span<const double>(values).first(n); };
    for (int i = 0; i < 4; ++i) to.add(first(10));
    CHECK(to.pending() == 0); // early
    to.add(first(4));
    to.add(first(6));
    CHECK(to.pending() == 10);
    CHECK(shared.snapshot().count() == 40);
    to.add(first(0));
    CHECK(to.pending() == 10);
    to.add(first(1));
    CHECK(to.pending() == 0);
    CHECK(shared.snapshot().count() == 51);
    to.add(first(9));
    to.add(first(10));
    CHECK(to.pending() == 0);
    CHECK(shared.snapshot().count() == 70);

    writer<digest> other(shared, 2);
    other.add(first(10)); // more than pass at once
    other.add(1.0);
    CHECK(other.pending() == 1);
}

TEST_CASE("a value that the sketch refuses is refused at once, and nothing else is lost", "") {
    striped<digest> shared(digest(), 1);
    writer<digest> to(shared, 4);
    std::uint64_t good = 0;
    for (int i = 0; i < 50; ++i)
        CHECK_THROWS_AS(to.add(std::numeric_limits<double>::quiet_NaN()), std::invalid_argument);
    for (int i = 0; i < 16; ++i, ++good) to.add(1.0);
    CHECK(to.pending() == 0); // what was refused was none of the first
    for (int i = 0; i < 50; ++i) {
        to.add(1.0);
        ++good;
        for (const double bad : {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
            CHECK_THROWS_AS(to.add(bad), std::invalid_argument);
            const std::vector<double> mixed{2, bad};
            CHECK_THROWS_AS(to.add(std::span<const double>(mixed)), std::invalid_argument);
            CHECK(shared.snapshot().count() + to.pending() == good);
        }
        to.add(1.0);
        ++good;
        CHECK(shared.snapshot().count() + to.pending() == good);
    }
    to.flush();
    CHECK(shared.snapshot().count() == good);
    CHECK(shared.snapshot().max() == 1);
}

TEST_CASE("strings are copied, and long ones do not wait", "") {
    using names = qsketch::top_k<std::string_view>;
    striped<names> shared(names(10), 1);
    names bare(10);
    writer<names> to(shared, 4);
    std::string reused;
    for (const std::size_t size : {3u, 30u, 256u, 257u, 1000u, 30u, 3u}) {
        for (char letter = 'a'; letter < 'u'; ++letter) {
            reused.assign(size, letter);
            to.add(reused);
            bare.add(reused);
            if (size > 256) CHECK(to.pending() == 0);
        }
    }
    CHECK(to.pending() > 0);
    to.flush();
    for (const std::size_t size : {256u, 257u}) {
        reused.assign(size, 'x');
        to.add(reused);
        bare.add(reused);
        CHECK(to.pending() == (size == 256 ? 1 : 0));
    }
    reused.assign(names::max_key_size + 1, 'x');
    CHECK_THROWS_AS(to.add(reused), std::invalid_argument);
    to.add("short");
    bare.add("short");
    to.flush();
    CHECK(shared.snapshot() == bare);
}

TEST_CASE("what exceeds the limit of the sketch stays pending until there is room", "") {
    using small = qsketch::log_histogram<std::uint8_t>;
    striped<small> shared(small(), 1);
    {
        writer<small> to(shared, 10);
        for (int i = 0; i < 250; ++i) to.add(1.0);
        to.flush();
        for (int i = 0; i < 10; ++i) to.add(1.0);
        CHECK_THROWS_AS(to.flush(), std::invalid_argument);
        CHECK_THROWS_AS(to.add(1.0), std::invalid_argument);
        CHECK_THROWS_AS(to.add(std::vector<double>{1.0, 1.0}), std::invalid_argument);
        CHECK(to.pending() == 10);
        CHECK(shared.drain().count() == 250);
        to.flush();
        CHECK(shared.snapshot().count() == 10);
        to.add(1.0);
        shared.merge([] {
            small rest;
            rest.add(1.0, 245u);
            return rest;
        }());
    } // the destructor does not throw
    CHECK(shared.snapshot().count() == 255);
}

TEST_CASE("writers may be moved and destroyed in any order", "") {
    for (std::size_t first = 0; first < 3; ++first) {
        striped<digest> shared(digest(), 2);
        std::vector<std::optional<writer<digest>>> writers(3);
        for (auto& each : writers) {
            each.emplace(shared, 8);
            for (int i = 0; i < 32 + 5; ++i) each->add(1.0);
        }
        CHECK(shared.snapshot().count() == 3 * 32);
        writer<digest> moved(std::move(*writers[first]));
        CHECK(moved.pending() == 5);
        writers[first].reset();
        CHECK(shared.snapshot().count() == 3 * 32);
        moved.add(1.0);
        CHECK(moved.pending() == 6);
        writers[(first + 2) % 3].reset();
        CHECK(shared.snapshot().count() == 3 * 32 + 5);
        writers[(first + 1) % 3].reset();
        CHECK(shared.snapshot().count() == 3 * 32 + 10);
        moved.flush();
        CHECK(shared.snapshot().count() == 3 * 37 + 1);
    }
}

TEMPLATE_LIST_TEST_CASE("writers of many threads lose nothing", "", written_types) {
    using traits = sketch_case<TestType>;
    constexpr std::size_t threads = 4;
    striped<TestType> shared(traits::make(), 2);
    const auto keys_of = [](std::size_t thread) { return support::skewed_keys(3000, 100'000, thread); };
    support::run_threads(threads, [&](std::size_t thread) {
        writer<TestType> to(shared, 64);
        tell(to, keys_of(thread));
    });
    TestType whole = traits::make();
    for (std::size_t thread = 0; thread < threads; ++thread) support::add(whole, keys_of(thread));
    if constexpr (traits::merge_adds_up)
        CHECK(shared.snapshot() == whole);
    else if constexpr (qsketch::quantile_sketch<TestType>)
        CHECK(shared.snapshot().count() == threads * 3000);
    else
        CHECK(shared.snapshot().total() == threads * 3000);
    if constexpr (std::same_as<TestType, qsketch::count_min<std::uint64_t, qsketch::conservative>>)
        for (std::uint64_t key = 0; key < 1000; ++key) {
            std::uint64_t truth = 0;
            for (std::size_t thread = 0; thread < threads; ++thread)
                for (const auto k : keys_of(thread)) truth += k == key ? 1 : 0;
            REQUIRE(shared.snapshot().estimate(key) >= truth);
        }
}

TEST_CASE("while writers run, a snapshot misses at most what all of them may hold", "") {
    constexpr std::size_t threads = 3;
    constexpr std::size_t capacity = 32;
    striped<digest> shared(digest(50), 4);
    std::atomic<std::uint64_t> told{0};
    support::run_threads(threads + 1, [&](std::size_t thread) {
        if (thread < threads) {
            writer<digest> to(shared, capacity);
            for (int i = 0; i < 5000; ++i) {
                to.add(i * 1.0);
                told.fetch_add(1);
            }
            return;
        }
        std::uint64_t before = 0;
        for (int i = 0; i < 50; ++i) {
            const std::uint64_t at_least = told.load();
            const std::uint64_t count = shared.snapshot().count();
            support::require(count + threads * capacity >= at_least, "the snapshot misses too much");
            support::require(count >= before, "values have gone");
            before = count;
        }
    });
    CHECK(shared.snapshot().count() == threads * 5000);
}

TEST_CASE("capacities outside 1 .. 65536 are refused", "") {
    striped<digest> shared(digest(), 1);
    CHECK_THROWS_AS(writer<digest>(shared, 0), std::invalid_argument);
    CHECK_THROWS_AS(writer<digest>(shared, 65'537), std::invalid_argument);
    CHECK(writer<digest>(shared, 65'536).capacity() == 65'536);
}
