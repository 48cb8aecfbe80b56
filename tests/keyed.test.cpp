#include <qsketch/keyed.hpp>
#include <qsketch/sip_hash.hpp>
#include <qsketch/tdigest.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

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
            const auto fail = [](std::uint64_t&) { throw std::runtime_error("f"); };
            if (known == expected.end() && expected.size() >= tested.max_keys())
                REQUIRE_FALSE(tested.update_at(time_point(1h), key, fail));
            else
                REQUIRE_THROWS_AS(tested.update_at(time_point(1h), key, fail), std::runtime_error);
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

} // namespace

TEST_CASE("keyed does what a std::map does") {
    for (const std::uint64_t seed : {1u, 2u, 3u}) {
        compare_with_model(numbers<std::string>(100'000, 7), 5000, seed);
        compare_with_model(numbers<std::string>(50, 7), 100, seed);
        compare_with_model(numbers<std::string, poor_hash>(1000, 7, {}, {1}), 60, seed);
        compare_with_model(numbers<std::string, poor_hash>(100, 7, {}, {40}), 150, seed);
    }
}
