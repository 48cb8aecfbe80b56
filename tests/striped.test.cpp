#include <qsketch/striped.hpp>

#include "support/sketch_types.hpp"

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/threads.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <stdexcept>
#include <vector>

using qsketch::striped;
using support::added_to_types;
using support::sketch_case;

namespace {

/// Calls work() in another thread while this one holds a stripe, so that it must take another one.
template <class Sketch, class Work>
void elsewhere(striped<Sketch>& shared, const Work& work) {
    shared.update([&](Sketch&) { support::run_threads(1, [&](std::size_t) { work(); }); });
}

template <class Sketch>
void add(striped<Sketch>& shared, support::keys events) {
    if constexpr (support::is_window<Sketch>)
        shared.update([&](Sketch& sketch) { support::add(sketch, events); });
    else
        for (const auto key : events) shared.add(sketch_case<Sketch>::event(key));
}

/// A number that merge() adds, up to a limit, with something to happen meanwhile.
class tally {
public:
    // For one test at a time.
    static inline unsigned limit = 1000;
    static inline std::function<void()> during_merge;

    void add(unsigned n = 1) { count_ += n; }
    void merge(const tally& other) {
        if (during_merge) during_merge();
        if (other.count_ + count_ > limit) throw qsketch::incompatible_error("too many");
        count_ += other.count_;
    }
    void clear() noexcept { count_ = 0; }
    [[nodiscard]] unsigned count() const noexcept { return count_; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] bool compatible(const tally&) const noexcept { return true; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return sizeof *this; }
    [[nodiscard]] std::vector<std::byte> serialize() const { return {}; }
    [[nodiscard]] static tally deserialize(std::span<const std::byte>) { return {}; }
    [[nodiscard]] bool operator==(const tally&) const = default;

private:
    unsigned count_ = 0;
};

} // namespace

TEMPLATE_LIST_TEST_CASE("one thread alone makes the state of a bare sketch", "", added_to_types) {
    striped<TestType> shared(sketch_case<TestType>::make(), 4);
    TestType bare = sketch_case<TestType>::make();
    CHECK(shared.empty());
    CHECK(shared.snapshot() == bare);
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const auto keys = support::skewed_keys(1000, 100'000, seed);
        add(shared, keys);
        support::add(bare, keys);
        CHECK(shared.snapshot() == bare);
        CHECK_FALSE(shared.empty());
    }
    CHECK(shared.snapshot().serialize() == bare.serialize());
}

TEMPLATE_LIST_TEST_CASE("stripes are merged", "", added_to_types) {
    using traits = sketch_case<TestType>;
    striped<TestType> shared(traits::make(), 3);
    TestType whole = traits::make();
    TestType first = whole;
    TestType second = whole;
    const auto here = support::skewed_keys(3000, 100'000, 1);
    const auto there = support::skewed_keys(2000, 100'000, 2);
    add(shared, here);
    elsewhere(shared, [&] { add(shared, there); });
    support::add(first, here);
    support::add(second, there);
    support::add(whole, here);
    support::add(whole, there);
    first.merge(second);
    CHECK(shared.snapshot() == first);
    traits::require_close(shared.snapshot(), whole);
    if constexpr (traits::merge_adds_up) CHECK(shared.snapshot() == whole);
    CHECK(shared.drain() == first);
    CHECK(shared.empty());
    CHECK(shared.drain() == traits::make());
    add(shared, here);
    CHECK_FALSE(shared.empty());
    shared.clear();
    CHECK(shared.empty());
    CHECK(shared.snapshot() == traits::make());
}

TEMPLATE_LIST_TEST_CASE("nothing is lost or counted twice when threads add and drain", "", added_to_types) {
    using traits = sketch_case<TestType>;
    constexpr std::size_t threads = 4;
    constexpr std::size_t batches = 20;
    for (const std::size_t stripes : {1u, 2u, 8u}) {
        striped<TestType> shared(traits::make(), stripes);
        const auto keys_of = [](std::size_t thread, std::size_t batch) {
            return support::skewed_keys(100, 100'000, thread * batches + batch);
        };
        TestType drained = traits::make();
        support::run_threads(threads + 1, [&](std::size_t thread) {
            if (thread == threads) // this one reads
                for (int i = 0; i < 20; ++i) drained.merge(shared.drain());
            else
                for (std::size_t batch = 0; batch < batches; ++batch) add(shared, keys_of(thread, batch));
        });
        drained.merge(shared.snapshot());
        TestType whole = traits::make();
        for (std::size_t thread = 0; thread < threads; ++thread)
            for (std::size_t batch = 0; batch < batches; ++batch) support::add(whole, keys_of(thread, batch));
        // Every sketch with counts compares them here.
        if constexpr (traits::merge_adds_up)
            CHECK(drained == whole);
        else if constexpr (support::is_window<TestType>)
            CHECK(drained.query(traits::slot * 8, traits::when(4)).sketch.count() == threads * batches * 100);
        else if constexpr (qsketch::quantile_sketch<TestType>)
            CHECK(drained.count() == whole.count());
        else
            CHECK(drained.total() == whole.total());
    }
}

TEST_CASE("snapshots grow while threads add, and hold what was added before", "") {
    striped<qsketch::log_histogram<>> shared(qsketch::log_histogram<>(), 4);
    support::run_threads(4, [&](std::size_t thread) {
        if (thread > 0) {
            for (int i = 1; i <= 10'000; ++i) shared.add(i * 0.5);
            return;
        }
        std::uint64_t before = 0;
        for (std::uint64_t i = 1; i <= 60; ++i) {
            shared.add(-1.0);
            const auto now = shared.snapshot();
            support::require(now.count() >= before, "values have gone");
            support::require(now.buckets().front().count == i, "what this thread added is not there");
            before = now.count();
        }
    });
    CHECK(shared.snapshot().count() == 3 * 10'000 + 60);
}

TEST_CASE("no two threads see a sketch at the same time", "") {
    for (const std::size_t stripes : {1u, 2u}) {
        striped<tally> shared(tally(), stripes);
        // `tally` has no atomics: a race would lose adds here, and be found by ThreadSanitizer.
        support::run_threads(4, [&](std::size_t) {
            for (unsigned i = 0; i < 50; ++i) shared.update([](tally& t) { t.add(3); });
        });
        CHECK(shared.snapshot().count() == 4 * 50 * 3);
    }
}

TEST_CASE("objects of different numbers of stripes do not lead each other's threads astray", "") {
    striped<tally> wide(tally(), 4);
    striped<tally> narrow(tally(), 1);
    wide.update([&](tally&) {
        elsewhere(wide, [&] { // from the third stripe of one
            wide.add();
            narrow.add();
            wide.add();
        });
    });
    CHECK(narrow.snapshot().count() == 1);
    CHECK(wide.snapshot().count() == 2);
}

TEST_CASE("adds return and throw what those of the sketch do", "") {
    striped<qsketch::tdigest<>> shared(qsketch::tdigest<>(), 1);
    shared.add(1.0);
    shared.add(2.0, 5u);
    const std::vector<double> good{3, 4};
    shared.add(good);
    for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        CHECK_THROWS_AS(shared.add(bad), std::invalid_argument);
        const std::vector<double> mixed{5, bad, 6};
        CHECK_THROWS_AS(shared.add(std::span<const double>(mixed)), std::invalid_argument);
        CHECK_THROWS_AS(shared.add(7.0, 0u), std::invalid_argument);
    }
    CHECK(shared.snapshot().count() == 8);
    CHECK(shared.snapshot().sum() == 18);

    using window = qsketch::sliding_window<qsketch::tdigest<>>;
    striped<window> late(window(std::chrono::seconds(1), 2), 2);
    const auto at = [&](int second, double x) {
        return late.update([&](window& w) { return w.add_at(window::time_point(std::chrono::seconds(second)), x); });
    };
    CHECK(at(10, 1.0));
    CHECK_FALSE(at(1, 1.0));
}

TEST_CASE("whole sketches can be merged in, and only compatible ones", "") {
    using hyperloglog = qsketch::hyperloglog<std::uint64_t>;
    striped<hyperloglog> shared(hyperloglog(10), 2);
    hyperloglog other(10);
    for (std::uint64_t key = 0; key < 500; ++key) other.add(key);
    shared.add(1000u);
    shared.merge(other);
    other.add(1000);
    CHECK(shared.snapshot() == other);
    CHECK_THROWS_AS(shared.merge(hyperloglog(11)), qsketch::incompatible_error);
    CHECK(shared.snapshot() == other);
    shared.update([](hyperloglog& sketch) { sketch.add_hash(1); });
    other.add_hash(1);
    CHECK(shared.snapshot() == other);
}

TEST_CASE("a snapshot or drain beyond the limit of the sketch throws, and nothing is lost", "") {
    striped<tally> shared(tally(), 3);
    shared.add(600u);
    elsewhere(shared, [&] { shared.add(500u); });
    CHECK_THROWS_AS(shared.snapshot(), qsketch::incompatible_error);

    // No lock is held while stripes are merged, so that others can add: here to stripes that are put back to.
    unsigned added = 0;
    tally::during_merge = [&] { shared.add(++added); };
    CHECK_THROWS_AS(shared.drain(), qsketch::incompatible_error);
    CHECK(added > 1);
    tally::during_merge = nullptr;
    tally::limit = 2000;
    CHECK(shared.drain().count() == 1100 + added * (added + 1) / 2);
    CHECK(shared.empty());
    tally::limit = 1000;
}

TEST_CASE("the number of stripes and the prototype are checked", "") {
    using digest = qsketch::tdigest<>;
    CHECK_THROWS_AS(striped<digest>(digest(), 0), std::invalid_argument);
    CHECK_THROWS_AS(striped<digest>(digest(), 4097), std::invalid_argument);
    digest used;
    used.add(1);
    CHECK_THROWS_AS(striped<digest>(used, 2), std::invalid_argument);
    CHECK(striped<digest>().stripes() == striped<digest>::default_stripes());
    CHECK(striped<digest>::default_stripes() >= 1);
    CHECK(striped<digest>(digest(), 5).stripes() == 5);
    CHECK(striped<digest>(digest(200), 2).snapshot().compression() == 200);
    CHECK(striped<digest>(digest(200), 2).drain().compression() == 200);
}

TEST_CASE("memory_bytes counts every stripe and what it holds", "") {
    using table = qsketch::count_min<std::uint64_t>;
    const table one({.width = 1000, .depth = 4});
    const striped<table> two(one, 2);
    const striped<table> four(one, 4);
    CHECK(two.memory_bytes() >= 3 * one.memory_bytes()); // with the prototype
    CHECK(four.memory_bytes() - two.memory_bytes() >= 2 * one.memory_bytes());
    CHECK(four.memory_bytes() < 6 * one.memory_bytes());
}
