#include <qsketch/keyed.hpp>
#include <qsketch/sip_hash.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {

std::size_t allocations = 0;
std::size_t allocations_until_failure = 0; // 0: none fails

} // namespace

// Not inlined: compilers take malloc and delete, or new and free, for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++allocations;
    if (allocations_until_failure > 0 && --allocations_until_failure == 0) throw std::bad_alloc();
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

using clock_type = support::mock_clock<>;
using time_point = clock_type::time_point;

template <class Key, class Hash = qsketch::hash>
using numbers = qsketch::keyed<Key, std::uint64_t, Hash, clock_type>;

/// Only so many different hashes: searches are long, and dropping moves many entries.
struct poor_hash {
    std::uint64_t different = 1;
    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept {
        return qsketch::hash()(key) % different * 0x9e3779b97f4a7c15;
    }
};

struct model_entry {
    std::uint64_t value;
    time_point touched;
};
using model = std::map<std::string, model_entry, std::less<>>;

template <class Map>
void require_same(const Map& tested, const model& expected) {
    REQUIRE(tested.size() == expected.size());
    std::vector<std::string> keys;
    for (const auto& [key, e] : expected) {
        keys.push_back(key);
        std::optional<std::uint64_t> value;
        REQUIRE(tested.read(key, [&](const std::uint64_t& v) { value = v; }));
        REQUIRE(value == e.value);
    }
    REQUIRE(tested.page({}, keys.size() + 1) == keys);
    std::map<std::string, std::uint64_t> visited;
    tested.for_each([&](const std::string& key, std::uint64_t v) { REQUIRE(visited.emplace(key, v).second); });
    REQUIRE(visited.size() == expected.size());
    for (const auto& [key, v] : visited) REQUIRE(expected.at(key).value == v);
}

template <class Map>
void compare_with_model(Map&& tested, std::uint64_t distinct, std::uint64_t seed) {
    support::random_bits random(seed);
    model expected;
    for (int i = 0; i < 40'000; ++i) {
        const std::string key = "key " + std::to_string(random.below(distinct));
        const auto known = expected.find(key);
        switch (random.below(16)) {
        case 0:
        case 1:
        case 2:
            REQUIRE(tested.erase(key) == (known != expected.end()));
            if (known != expected.end()) expected.erase(known);
            break;
        case 3: {
            bool called = false;
            REQUIRE(tested.read(key, [&](std::uint64_t v) {
                called = true;
                REQUIRE(v == known->second.value);
            }) == (known != expected.end()));
            REQUIRE(called == (known != expected.end()));
            break;
        }
        case 4: {
            const auto throws = [](std::uint64_t&) { throw std::runtime_error("f"); };
            if (known == expected.end() && expected.size() >= tested.max_keys())
                REQUIRE_FALSE(tested.update_at(time_point(1h), key, throws));
            else
                REQUIRE_THROWS_AS(tested.update_at(time_point(1h), key, throws), std::runtime_error);
            break;
        }
        case 5:
            if (random.below(100) != 0) break;
            if (random.below(4) == 0) {
                tested.clear();
                expected.clear();
            } else {
                const time_point before(std::chrono::milliseconds(random.below(1000)));
                REQUIRE(tested.expire(before) ==
                        std::erase_if(expected, [&](const auto& e) { return e.second.touched < before; }));
            }
            require_same(tested, expected);
            break;
        case 6: {
            const std::uint64_t limit = random.below(20);
            const std::string after = "key " + std::to_string(random.below(distinct));
            const char last = static_cast<char>('0' + random.below(10));
            std::vector<std::string> keys;
            for (auto at = expected.upper_bound(after); at != expected.end() && keys.size() < limit; ++at)
                if (at->first.back() == last) keys.push_back(at->first);
            REQUIRE(tested.page(after, limit, [&](const std::string& k) { return k.back() == last; }) == keys);
            break;
        }
        default: {
            const time_point when(std::chrono::milliseconds(random.below(1000)));
            const bool room = known != expected.end() || expected.size() < tested.max_keys();
            std::uint64_t calls = 0;
            REQUIRE(tested.update_at(when, key, [&](std::uint64_t& v) {
                v += static_cast<std::uint64_t>(i);
                ++calls;
            }) == room);
            REQUIRE(calls == (room ? 1 : 0));
            if (!room) break;
            model_entry& e = expected.try_emplace(key, model_entry{7, when}).first->second;
            e.value += static_cast<std::uint64_t>(i);
            e.touched = std::max(e.touched, when);
        }
        }
        REQUIRE(tested.size() == expected.size());
    }
    require_same(tested, expected);
}

template <class Map>
std::uint64_t value_of(const Map& map, std::string_view key) {
    const auto value = map.read(key, [](std::uint64_t v) { return v; });
    REQUIRE(value);
    return *value;
}

const auto add_one = [](std::uint64_t& v) { ++v; };
const auto fail = [](std::uint64_t& v) {
    ++v;
    throw std::runtime_error("f");
};

} // namespace

TEST_CASE("keyed does what a std::map does") {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
        compare_with_model(numbers<std::string>(100'000, 7), 5000, seed);
        compare_with_model(numbers<std::string>(50, 7), 100, seed);
        compare_with_model(numbers<std::string, poor_hash>(1000, 7, {}, {1}), 60, seed);
        compare_with_model(numbers<std::string, poor_hash>(100, 7, {}, {40}), 150, seed);
    }
}

TEST_CASE("an entry starts as a copy of the prototype, or as what is made for its key") {
    qsketch::keyed<std::string, qsketch::tdigest<>> copies(10, qsketch::tdigest<>(500));
    copies.update("a", [](qsketch::tdigest<>& d) { d.add(1.0); });
    CHECK(copies.read("a", [](const auto& d) { return d.compression(); }) == 500);
    CHECK(copies.read("a", [](const auto& d) { return d.count(); }) == 1u);

    qsketch::keyed<std::uint64_t, std::unique_ptr<std::uint64_t>> made(
        10, [](std::uint64_t key) { return std::make_unique<std::uint64_t>(key * 100); });
    made.update(3, [](auto& p) { ++*p; });
    made.update(3, [](auto& p) { ++*p; });
    CHECK(made.read(3, [](const auto& p) { return *p; }) == 302u);
    CHECK(made.page(2, 5) == std::vector<std::uint64_t>{3});
    CHECK(made.page(3, 5).empty());
}

TEST_CASE("at max_keys new keys are refused, and known ones go on") {
    numbers<std::string> tested(2);
    CHECK(tested.max_keys() == 2);
    CHECK(tested.update("a", add_one));
    CHECK(tested.update("b", add_one));
    CHECK_FALSE(tested.update("c", fail));
    CHECK(tested.update("a", add_one));
    CHECK(value_of(tested, "a") == 2);
    CHECK(tested.size() == 2);
    CHECK(tested.erase("b"));
    CHECK(tested.update("c", add_one));
    CHECK_FALSE(tested.update("b", add_one));
    CHECK(tested.page({}, 9) == std::vector<std::string>{"a", "c"});
    CHECK_THROWS_AS(numbers<std::string>(0), std::invalid_argument);
}

TEST_CASE("a new key whose first update fails stays unknown") {
    numbers<std::string> tested(1);
    CHECK_THROWS_AS(tested.update("a", fail), std::runtime_error);
    CHECK(tested.size() == 0);
    CHECK(tested.page({}, 9).empty());
    CHECK_FALSE(tested.read("a", [](std::uint64_t) {}));
    CHECK(tested.update("b", add_one)); // there is room

    int made = 0;
    qsketch::keyed<std::string, std::uint64_t> fussy(1, [&](const std::string& key) -> std::uint64_t {
        ++made;
        if (key == "bad") throw std::domain_error(key);
        return 5;
    });
    CHECK_THROWS_AS(fussy.update("bad", add_one), std::domain_error);
    CHECK(fussy.size() == 0);
    CHECK(fussy.update("good", add_one));
    CHECK(value_of(fussy, "good") == 6);
    CHECK_FALSE(fussy.update("bad", add_one));
    CHECK(made == 2); // not for a key that there is no room for
}

TEST_CASE("running out of memory changes nothing") {
    for (std::uint64_t i = 0; i < 200; ++i) {
        numbers<std::string, poor_hash> tested(i + 1, 0, {}, {1}); // one shard: its table grows now and then
        for (std::uint64_t k = 0; k < i; ++k) tested.update(std::to_string(k), add_one);
        const std::string key(100, 'k');
        for (std::size_t failing = 1; tested.size() == i; ++failing) {
            bool failed = false;
            allocations_until_failure = failing;
            try {
                tested.update(key, add_one);
            } catch (const std::bad_alloc&) {
                failed = true;
            }
            allocations_until_failure = 0;
            REQUIRE(tested.size() == (failed ? i : i + 1));
            REQUIRE(tested.read(key, [](std::uint64_t) {}) == !failed);
        }
        REQUIRE(tested.size() == i + 1);
        for (std::uint64_t k = 0; k < i; ++k) REQUIRE(value_of(tested, std::to_string(k)) == 1);
    }
}

TEST_CASE("a failed update of a known key leaves the value as it is then, and its time as it was") {
    numbers<std::string> tested(1);
    tested.update_at(time_point(5ms), "a", add_one);
    CHECK_THROWS_AS(tested.update_at(time_point(9ms), "a", fail), std::runtime_error);
    CHECK(value_of(tested, "a") == 2);
    CHECK_THROWS_AS(tested.read("a", [](std::uint64_t) { throw 1; }), int);
    CHECK(tested.update_at(time_point(5ms), "a", add_one)); // the locks are free again
    CHECK(tested.expire(time_point(6ms)) == 1);
}

TEST_CASE("expire goes by the latest time of an update") {
    numbers<std::string> tested(10);
    tested.update_at(time_point(-9ms), "a", add_one);
    tested.update_at(time_point(7ms), "b", add_one);
    tested.update_at(time_point(3ms), "b", add_one);
    CHECK(tested.expire(time_point(-9ms)) == 0);
    CHECK(tested.read("a", [](std::uint64_t) {}));
    CHECK(tested.expire(time_point(7ms)) == 1);
    CHECK(tested.page({}, 9) == std::vector<std::string>{"b"});
    CHECK(tested.expire(time_point(8ms)) == 1);
    CHECK(tested.size() == 0);
    // A later entry of the same key has nothing of the former one.
    tested.update_at(time_point(1ms), "b", add_one);
    CHECK(value_of(tested, "b") == 1);
    CHECK(tested.expire(time_point(2ms)) == 1);
}

TEST_CASE("update takes its time from the clock, once") {
    clock_type::hands hands{time_point(5ms)};
    numbers<std::string> tested(10, 0, clock_type(hands));
    tested.update("a", add_one);
    CHECK(hands.reads == 1);
    CHECK(tested.expire(time_point(5ms)) == 0);
    hands.now = time_point(8ms);
    tested.update("a", add_one);
    CHECK(tested.expire(time_point(8ms)) == 0);
    CHECK(tested.expire(time_point(9ms)) == 1);
    tested.update_at(time_point(8ms), "b", add_one);
    CHECK_FALSE(tested.read("a", [](std::uint64_t) {}));
    CHECK(hands.reads == 2);
}

TEST_CASE("pages in order make up the whole") {
    numbers<std::string> tested(10'000);
    std::vector<std::string> expected;
    for (int i = 0; i < 3000; ++i) expected.push_back(std::string(i % 7 == 0 ? "even " : "odd ") + std::to_string(i));
    for (const auto& key : expected) tested.update(key, add_one);
    tested.update("", add_one);
    expected.emplace_back();
    std::sort(expected.begin(), expected.end());

    for (const std::size_t limit : {1u, 7u, 1000u, 3001u, 4000u}) {
        std::vector<std::string> walked;
        std::vector<std::string> page = tested.page({}, limit);
        for (; !page.empty(); page = tested.page(walked.back(), limit)) {
            CHECK(page.size() <= limit);
            walked.insert(walked.end(), page.begin(), page.end());
        }
        CHECK(walked == expected);
    }
    CHECK(tested.page({}, 0).empty());

    const auto even = [](std::string_view key) { return key.starts_with("even"); };
    std::erase_if(expected, [&](const std::string& key) { return !even(key); });
    CHECK(tested.page({}, 3000, even) == expected);
    expected.erase(expected.begin(), expected.begin() + 4);
    CHECK(tested.page(expected[0], 2, even) == std::vector<std::string>{expected[1], expected[2]});
    CHECK_THROWS_AS(tested.page({}, 9, [](const std::string& key) { return key.empty() ? throw 1 : true; }), int);
    CHECK(tested.update("new", add_one)); // the locks are free again
}

TEST_CASE("a known key is found without allocating") {
    numbers<std::string> tested(10);
    const std::string_view key = "a key that is too long for the inside of a std::string";
    tested.update(key, add_one);
    const std::size_t before = allocations;
    tested.update(key, add_one);
    CHECK(tested.read(key, [](std::uint64_t v) { return v; }) == 2u);
    CHECK_FALSE(tested.read("another key that is too long for the inside of it", [](std::uint64_t) {}));
    tested.erase(key);
    CHECK(allocations == before);
}

TEST_CASE("other keys and hashes") {
    numbers<std::int32_t> integers(100);
    for (const int i : {-5, 3, 2'000'000'000, 0, -2'000'000'000}) integers.update(i, add_one);
    CHECK(integers.page(-5, 2) == std::vector<std::int32_t>{0, 3});
    CHECK(integers.read(-5, [](std::uint64_t v) { return v; }) == 1u);

    numbers<std::string, qsketch::sip_hash> safe(100, 0, {}, qsketch::sip_hash(1, 2));
    for (int i = 0; i < 100; ++i) safe.update(std::to_string(i), add_one);
    CHECK_FALSE(safe.update("one more", add_one));
    CHECK(value_of(safe, "99") == 1);
}

TEST_CASE("memory_bytes counts keys and values, and what they cost on top stays small") {
    numbers<std::string> tested(1'000'000);
    const std::size_t empty = tested.memory_bytes();
    CHECK(empty >= sizeof tested);
    CHECK(empty < 20'000);
    for (const std::size_t n : {1000u, 20'000u, 100'000u}) {
        for (std::size_t i = 0; i < n; ++i) tested.update(std::to_string(i), add_one);
        const std::size_t overhead = (tested.memory_bytes() - empty) / n - sizeof(std::string) - sizeof(std::uint64_t);
        CAPTURE(n, overhead);
        CHECK(overhead > 32);
        CHECK(overhead < 110);
    }
    const std::size_t full = tested.memory_bytes();
    tested.clear();
    CHECK(tested.size() == 0);
    for (std::size_t i = 0; i < 100'000; ++i) tested.update(std::to_string(i), add_one);
    CHECK(tested.memory_bytes() == full); // what was kept has been used again
    const std::string long_key(1000, 'k');
    tested.erase("7");
    tested.update(long_key, add_one);
    CHECK(tested.memory_bytes() >= full + 1000);
    CHECK(tested.memory_bytes() < full + 2000);

    qsketch::keyed<std::string, qsketch::tdigest<>> digests(10);
    digests.update("a", [](auto&) {});
    const std::size_t before = digests.memory_bytes();
    digests.update("a", [](auto& d) { d.add(std::vector<double>(3000, 1.0)); });
    CHECK(digests.memory_bytes() >= before + 3000 * sizeof(double));
}
