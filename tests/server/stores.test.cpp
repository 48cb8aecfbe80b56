#include "domain/audience.hpp"
#include "domain/series.hpp"

#include "support/catch.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace qsketch_server;
using namespace std::chrono_literals;

namespace {

const instant now = *parse_instant("2024-01-20T15:30:00.500Z");

/// An audience in a store that ends with it.
struct audience_in_memory {
    explicit audience_in_memory(qsketch::sip_hash key) : counts(rows, key) {}

    void count(std::vector<visit>& visits) {
        changes c;
        counts.stage(visits, c);
        rows.commit(std::move(c));
    }

    storage rows{{"", storage::sync::none}, [] {
                     std::array<table_rules, table_count> rules;
                     rules[static_cast<std::size_t>(table::audience)] = audience::rules([] { return INT64_MIN; });
                     return rules;
                 }()};
    audience counts;
};

std::uint64_t count(const series_store& store, std::string_view key, std::chrono::seconds length, instant t = now) {
    const auto found = store.window(key, length, t);
    REQUIRE(found);
    return found->samples.count();
}

} // namespace

TEST_CASE("A window holds every sample of the last seconds and none from beyond what it covers") {
    memory_series store(1h, 10);
    keyed_samples batch{"k", {}};
    std::vector<instant> times;
    for (int i = 0; i < 3000; ++i) {
        times.push_back(now - std::chrono::milliseconds(i * 911 % 3'000'000));
        batch.samples.push_back({times.back(), static_cast<double>(i)});
    }
    REQUIRE(store.add(batch));
    for (const auto length : {1s, 2s, 60s, 777s, 3600s}) {
        const auto found = store.window("k", length, now);
        REQUIRE(found);
        CHECK(found->from <= now - length);
        CHECK(found->from > now - length - 1s);
        CHECK(found->to > now);
        std::uint64_t inside = 0;
        for (const instant t : times) inside += t >= found->from && t < found->to ? 1 : 0;
        CHECK(found->samples.count() == inside);
    }
    CHECK_FALSE(store.window("other", 1s, now));
}

TEST_CASE("Samples ahead of now wait for their time and push out nothing that is inside the retention") {
    memory_series store(60s, 10);
    keyed_samples old{"k", {{now - 60s, 1}}};
    keyed_samples ahead{"k", {{now + 5min, 2}}};
    REQUIRE(store.add(old));
    REQUIRE(store.add(ahead));
    CHECK(count(store, "k", 60s) == 1);
    CHECK(count(store, "k", 60s, now + 5min) == 1);
    CHECK(store.window("k", 60s, now + 5min)->samples.digest().max() == 2);
}

TEST_CASE("Keys beyond the bound are refused, erased and expired ones make room") {
    memory_series store(60s, 2);
    keyed_samples a{"a", {{now, 1}}};
    keyed_samples b{"b", {{now - 50s, 1}}};
    keyed_samples c{"c", {{now, 1}}};
    CHECK(store.add(a));
    CHECK(store.add(b));
    CHECK_FALSE(store.add(c));
    CHECK(store.add(a));
    CHECK(store.size() == 2);
    store.expire_before(now - 10s);
    CHECK(store.size() == 1);
    CHECK(store.add(c));
    CHECK(store.erase("a"));
    CHECK_FALSE(store.erase("a"));
    CHECK(store.keys("", "", 10) == std::vector<std::string>{"c"});
}

TEST_CASE("Samples survive when their key is expired or erased between finding and locking its series") {
    std::function<void(memory_series&)> meanwhile;
    memory_series* self = nullptr;
    memory_series store(60s, 2, [&] {
        if (const auto once = std::exchange(meanwhile, nullptr)) once(*self);
    });
    self = &store;
    keyed_samples old{"k", {{now - 50s, 1}}};
    keyed_samples fresh{"k", {{now, 2}, {now - 1s, 3}}};
    REQUIRE(store.add(old));
    SECTION("expired") {
        meanwhile = [](memory_series& s) { s.expire_before(now - 10s); };
        REQUIRE(store.add(fresh));
        CHECK(count(store, "k", 60s) == 2);
    }
    SECTION("erased") {
        meanwhile = [](memory_series& s) { CHECK(s.erase("k")); };
        REQUIRE(store.add(fresh));
        CHECK(count(store, "k", 60s) == 2);
    }
    SECTION("kept, for what is added is new") {
        meanwhile = [&](memory_series& s) {
            REQUIRE(s.add(fresh));
            s.expire_before(now - 10s);
        };
        keyed_samples more{"k", {{now, 4}}};
        REQUIRE(store.add(more));
        CHECK(count(store, "k", 60s) == 4);
    }
    SECTION("erased, and others take its place") {
        meanwhile = [](memory_series& s) {
            CHECK(s.erase("k"));
            keyed_samples a{"a", {{now, 1}}};
            keyed_samples b{"b", {{now, 1}}};
            CHECK(s.add(a));
            CHECK(s.add(b));
        };
        CHECK_FALSE(store.add(fresh));
        CHECK_FALSE(store.window("k", 60s, now));
        CHECK(store.size() == 2);
        return;
    }
    CHECK(store.keys("", "", 10) == std::vector<std::string>{"k"});
    CHECK(store.size() == 1);
}

TEST_CASE("What was added is found while other threads expire and query the key") {
    constexpr int rounds = 40;
    memory_series store(60s, 10);
    std::atomic<bool> adding = false;
    std::atomic<bool> done = false;
    std::thread expirer([&] {
        while (!done)
            if (adding) store.expire_before(now - 10s);
    });
    std::thread reader([&] {
        while (!done)
            if (adding) (void)store.window("k", 60s, now);
    });
    int lost = 0;
    for (int round = 0; round < rounds; ++round) {
        // In many slots, so that the series is locked for a while.
        keyed_samples old{"k", {{now - 50s, 1}}};
        keyed_samples fresh{"k", {}};
        for (int i = 0; i < 4000; ++i) fresh.samples.push_back({now - std::chrono::seconds(i / 500), i * 0.5});
        if (!store.add(old)) ++lost;
        adding = true;
        if (!store.add(fresh)) ++lost;
        store.expire_before(now - 10s);
        adding = false;
        const auto found = store.window("k", 9s, now);
        if (!found || found->samples.count() != 4000) ++lost;
        (void)store.erase("k");
    }
    done = true;
    expirer.join();
    reader.join();
    CHECK(lost == 0);
}

TEST_CASE("A user has another pseudonym in every slice and under every key, and always the same in one") {
    const audience_in_memory in_one(qsketch::sip_hash(1, 2));
    const audience_in_memory in_other(qsketch::sip_hash(1, 3));
    const audience& one = in_one.counts;
    const audience& other = in_other.counts;
    std::set<std::uint64_t> seen;
    for (std::int64_t slice = -50; slice < 50; ++slice)
        for (const char* user : {"ann", "bob"}) {
            CHECK(one.pseudonym(slice, user) == one.pseudonym(slice, user));
            seen.insert(one.pseudonym(slice, user));
            seen.insert(other.pseudonym(slice, user));
        }
    CHECK(seen.size() == 400);
}

TEST_CASE("Visits are counted by slice from many threads, and slices expire") {
    audience_in_memory store(qsketch::sip_hash(1, 2));
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&store, t] {
            for (int round = 0; round < 20; ++round) {
                std::vector<visit> visits;
                for (int i = 0; i < 100; ++i) {
                    const std::int64_t slice = i % 3;
                    visits.push_back({slice, store.counts.pseudonym(slice, std::to_string(t * 50 + i)), i % 2 == 0});
                }
                store.count(visits);
            }
        });
    for (auto& t : threads) t.join();
    std::map<std::int64_t, std::set<int>> users;
    for (int t = 0; t < 4; ++t)
        for (int i = 0; i < 100; ++i) users[i % 3].insert(t * 50 + i);
    const auto all = store.counts.all();
    REQUIRE(all.size() == 3);
    std::uint64_t total = 0;
    for (const slice_figures& f : all) {
        total += f.clicks + f.impressions;
        CHECK(std::llround(f.unique_users) == static_cast<long long>(users[f.slice].size()));
    }
    CHECK(total == 8000);
    store.counts.expire_before(2);
    CHECK(store.counts.all().size() == 1);
    CHECK(store.counts.figures(1).clicks == 0);
}

TEST_CASE("Slices before the first have negative numbers and begin where they should") {
    const slicing hours{instant(10h), 1h};
    CHECK(hours.slice_of(instant(10h)) == 0);
    CHECK(hours.slice_of(instant(11h - 1ms)) == 0);
    CHECK(hours.slice_of(instant(10h - 1ms)) == -1);
    CHECK(hours.slice_of(instant(9h)) == -1);
    CHECK(hours.start_of(-1) == instant(9h));
}

TEST_CASE("At most one slice in a hundred is off by more than one user up to ten thousand users") {
    audience_in_memory store(qsketch::sip_hash(3, 4));
    constexpr int slices = 400;
    int off = 0;
    std::vector<visit> visits;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
        visits.clear();
        for (int user = 0; user < 10'000; ++user)
            visits.push_back({slice, store.counts.pseudonym(slice, std::to_string(user)), true});
        store.count(visits);
        off += std::abs(std::llround(store.counts.figures(slice).unique_users) - 10'000) > 1 ? 1 : 0;
        store.counts.expire_before(slice + 1);
    }
    CHECK(off <= slices / 100);
}
