#include "domain/audience.hpp"

#include "support/catch.hpp"

#include <array>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace qsketch_server;
using namespace std::chrono_literals;

namespace {

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

} // namespace

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
