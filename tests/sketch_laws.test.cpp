// The laws of concepts.hpp, for every sketch.

#include "support/sketch_types.hpp"

#include "support/catch.hpp"
#include "support/exact.hpp"

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using support::filled;
using support::sketch_case;
using support::sketch_types;

namespace {

template <class Sketch>
constexpr bool keeps_its_noexcept_promises = std::is_nothrow_move_constructible_v<Sketch>&&
    std::is_nothrow_move_assignable_v<Sketch>&& noexcept(std::declval<Sketch&>().clear()) && noexcept(
        std::declval<const Sketch&>()
            .empty()) && noexcept(std::declval<const Sketch&>()
                                      .memory_bytes()) && noexcept(std::declval<const Sketch&>()
                                                                       .compatible(std::declval<const Sketch&>()));

template <class... Sketches>
constexpr bool all_are_sketches(std::tuple<Sketches...>*) {
    return (qsketch::mergeable_sketch<Sketches> && ...) && (keeps_its_noexcept_promises<Sketches> && ...);
}

static_assert(all_are_sketches(static_cast<sketch_types*>(nullptr)));
static_assert(qsketch::quantile_sketch<support::exact_quantiles>);
static_assert(qsketch::quantile_sketch<qsketch::tdigest<>>);
static_assert(qsketch::quantile_sketch<qsketch::tdigest<qsketch::k1_scale>>);
static_assert(qsketch::distinct_sketch<qsketch::hyperloglog<std::uint64_t>>);
static_assert(qsketch::distinct_sketch<qsketch::hyperloglog<std::string_view>>);

/// Empty, small, and large enough to have left every small form: sparse sets, single values, spare counters.
template <class Sketch>
std::vector<Sketch> samples() {
    return {sketch_case<Sketch>::make(), filled<Sketch>(1, 10, 1), filled<Sketch>(30, 1000, 2),
            filled<Sketch>(3000, 100'000, 3), filled<Sketch>(20'000, 1'000'000, 4)};
}

template <class Sketch>
constexpr bool batch_is_singles() {
    if constexpr (requires { sketch_case<Sketch>::batch_is_singles; })
        return sketch_case<Sketch>::batch_is_singles;
    else
        return true;
}

template <class Sketch>
Sketch merged(Sketch a, const Sketch& b) {
    a.merge(b);
    return a;
}

} // namespace

TEMPLATE_LIST_TEST_CASE("an empty sketch is neutral to merge", "", sketch_types) {
    const TestType empty = sketch_case<TestType>::make();
    CHECK(empty.empty());
    for (const auto& s : samples<TestType>()) {
        CHECK(merged(s, empty) == s);
        CHECK(merged(s, empty).serialize() == s.serialize());
        CHECK(merged(empty, s) == s);
        CHECK(merged(empty, s).serialize() == s.serialize());
    }
}

TEMPLATE_LIST_TEST_CASE("merge commutes", "", sketch_types) {
    for (const auto& a : samples<TestType>())
        for (const auto& b : samples<TestType>()) {
            CHECK(merged(a, b) == merged(b, a));
            CHECK(merged(a, b).serialize() == merged(b, a).serialize());
        }
}

TEMPLATE_LIST_TEST_CASE("merge associates", "", sketch_types) {
    using traits = sketch_case<TestType>;
    constexpr std::size_t parts = 12;
    for (const std::uint64_t distinct : {50u, 1000u, 1'000'000u}) {
        TestType whole = traits::make();
        std::vector<TestType> shards;
        for (std::uint64_t i = 0; i < parts; ++i) {
            const auto keys = support::skewed_keys(40 + 300 * i, distinct, 100 + i);
            support::add(whole, keys);
            shards.push_back(traits::make());
            support::add(shards.back(), keys);
        }
        TestType forwards = shards.front();
        for (std::size_t i = 1; i < parts; ++i) forwards.merge(shards[i]);
        TestType backwards = shards.back();
        for (std::size_t i = parts - 1; i-- > 0;) backwards.merge(shards[i]);
        std::vector<TestType> tree = shards;
        while (tree.size() > 1) {
            std::vector<TestType> level;
            for (std::size_t i = 0; i < tree.size(); i += 2)
                level.push_back(i + 1 < tree.size() ? merged(tree[i], tree[i + 1]) : tree[i]);
            tree = std::move(level);
        }
        if constexpr (traits::merge_associates) {
            CHECK(forwards == backwards);
            CHECK(forwards == tree.front());
            CHECK(forwards.serialize() == backwards.serialize());
            CHECK(forwards.serialize() == tree.front().serialize());
        }
        if constexpr (traits::merge_adds_up) {
            CHECK(forwards == whole);
            CHECK(forwards.serialize() == whole.serialize());
        }
        traits::require_close(forwards, whole);
        traits::require_close(backwards, whole);
        traits::require_close(tree.front(), whole);
        traits::require_close(whole, tree.front());
        traits::require_sane(tree.front());
    }
}

TEMPLATE_LIST_TEST_CASE("a sketch may be merged with itself", "", sketch_types) {
    for (const auto& s : samples<TestType>()) {
        TestType self = s;
        self.merge(self);
        const TestType copy = s;
        CHECK(self == merged(s, copy));
    }
}

TEMPLATE_LIST_TEST_CASE("a cleared sketch is a new one", "", sketch_types) {
    const TestType made = sketch_case<TestType>::make();
    for (auto& s : samples<TestType>()) {
        TestType cleared = s;
        cleared.clear();
        CHECK(cleared.empty());
        CHECK(cleared == made);
        CHECK(cleared.serialize() == made.serialize());
        CHECK(s.empty() == (s == made));
        const auto keys = support::skewed_keys(3000, 100'000, 9);
        TestType fresh = made;
        support::add(cleared, keys);
        support::add(fresh, keys);
        CHECK(cleared == fresh);
    }
}

TEMPLATE_LIST_TEST_CASE("a sketch survives its own bytes", "", sketch_types) {
    using traits = sketch_case<TestType>;
    for (const auto& s : samples<TestType>()) {
        const auto image = s.serialize();
        const TestType read = TestType::deserialize(image);
        CHECK(read == s);
        CHECK(read.serialize() == image);
        CHECK(read.empty() == s.empty());
        CHECK(read.compatible(s));
        traits::require_sane(read);

        const auto keys = support::skewed_keys(500, 100'000, 8);
        TestType went_on = s;
        TestType woke_up = read;
        support::add(went_on, keys);
        support::add(woke_up, keys);
        traits::require_close(woke_up, went_on);
        if constexpr (traits::merge_associates) CHECK(woke_up == went_on);
    }
}

TEMPLATE_LIST_TEST_CASE("merge throws where sketches are not compatible, and changes nothing", "", sketch_types) {
    for (const auto& s : samples<TestType>()) {
        CHECK(s.compatible(s));
        for (const auto& stranger : sketch_case<TestType>::strangers()) {
            CHECK_FALSE(s.compatible(stranger));
            CHECK_FALSE(stranger.compatible(s));
            CHECK_FALSE(s == stranger);
            TestType tried = s;
            CHECK_THROWS_AS(tried.merge(stranger), qsketch::incompatible_error);
            CHECK(tried == s);
            CHECK(tried.serialize() == s.serialize());
            TestType other = stranger;
            CHECK_THROWS_AS(other.merge(s), qsketch::incompatible_error);
            CHECK(other == stranger);
        }
    }
}

TEMPLATE_LIST_TEST_CASE("copies are independent, moves and swaps keep the value", "", sketch_types) {
    const TestType a = filled<TestType>(3000, 100'000, 5);
    const TestType b = filled<TestType>(20, 100, 6);
    TestType copy = a;
    support::add(copy, support::skewed_keys(100, 1'000'000, 7));
    CHECK(a == filled<TestType>(3000, 100'000, 5));
    CHECK_FALSE(copy == a);

    TestType source = a;
    TestType moved = std::move(source);
    CHECK(moved == a);
    source = b;
    CHECK(source == b);
    std::swap(moved, source);
    CHECK(moved == b);
    CHECK(source == a);
    TestType& self = source;
    source = self;
    CHECK(source == a);
}

TEMPLATE_LIST_TEST_CASE("questions change nothing", "", sketch_types) {
    using traits = sketch_case<TestType>;
    for (const auto& s : samples<TestType>()) {
        const TestType before = s;
        const auto memory = s.memory_bytes();
        const auto image = s.serialize();
        traits::require_sane(s);
        CHECK(s.memory_bytes() == memory);
        CHECK(s == before);
        CHECK(s.serialize() == image);
    }
    TestType asked = traits::make();
    TestType unasked = asked;
    for (std::uint64_t i = 0; i < 20; ++i) {
        const auto keys = support::skewed_keys(700, 100'000, i);
        support::add(asked, keys);
        support::add(unasked, keys);
        traits::require_sane(asked);
        CHECK(asked.serialize().size() > 0);
    }
    CHECK(asked == unasked);
}

TEMPLATE_LIST_TEST_CASE("a batch is the same as its members one by one", "", sketch_types) {
    for (const std::size_t size : {0u, 1u, 7u, 64u, 65u, 1000u, 30'000u}) {
        const auto keys = support::skewed_keys(size, 200'000, size);
        TestType one_by_one = filled<TestType>(10, 100, 1);
        TestType at_once = one_by_one;
        support::add(one_by_one, keys);
        support::add_batch(at_once, keys);
        sketch_case<TestType>::require_close(at_once, one_by_one);
        if constexpr (!batch_is_singles<TestType>()) continue;
        CHECK(at_once == one_by_one);
        CHECK(at_once.serialize() == one_by_one.serialize());
    }
}

TEMPLATE_LIST_TEST_CASE("memory_bytes counts the object and what it holds", "", sketch_types) {
    for (const auto& s : samples<TestType>()) CHECK(s.memory_bytes() >= sizeof(TestType));
    const auto few = filled<TestType>(1, 10, 1).memory_bytes();
    const auto many = filled<TestType>(20'000, 1'000'000, 1).memory_bytes();
    CHECK(few <= many);
    CHECK(many < 1'000'000);
}
