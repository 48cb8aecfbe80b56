#include "domain/audience.hpp"

#include "support/catch.hpp"
#include "support/store.hpp"

#include <qsketch/hyperloglog.hpp>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace qsketch_server;
using namespace server_test;

namespace {

const qsketch::sip_hash key(1, 2);

/// The first slice that has not expired.
std::atomic<std::int64_t> oldest = INT64_MIN;

rule_list audience_rules() {
    rule_list out;
    of(out, table::audience) = audience::rules([] { return oldest.load(); });
    return out;
}

void count(storage& store, audience& counts, std::vector<visit> visits) {
    changes c;
    counts.stage(visits, c);
    store.commit(std::move(c));
}

std::string bytes(std::initializer_list<int> list) {
    std::string out;
    for (const int b : list) out += static_cast<char>(b);
    return out;
}

} // namespace

TEST_CASE("Every visit is counted once, whatever is loaded, dropped and committed meanwhile") {
    storage store({"", storage::sync::none}, audience_rules());
    audience counts(store, key);
    constexpr int threads = 6;
    constexpr std::int64_t slices = 6 * static_cast<std::int64_t>(audience::max_slices);
    std::vector<std::atomic<std::uint64_t>> clicks(slices);
    std::vector<std::thread> clients;
    for (int t = 0; t < threads; ++t)
        clients.emplace_back([&, t] {
            std::mt19937_64 random(static_cast<std::uint64_t>(t));
            for (int round = 0; round < 4000; ++round) {
                std::vector<visit> visits;
                for (std::uint64_t i = 0; i < 1 + random() % 8; ++i) {
                    // Half of them in a few slices that all threads want.
                    const auto slice = static_cast<std::int64_t>(random() % (random() % 2 == 0 ? 4 : slices));
                    ++clicks[static_cast<std::size_t>(slice)];
                    visits.push_back({slice, random(), true});
                }
                count(store, counts, std::move(visits));
                if (round % 500 == t) counts.expire_before(INT64_MIN); // drops what is not in use
            }
        });
    for (auto& c : clients) c.join();
    audience afresh(store, key);
    std::int64_t wrong = 0;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
        const auto expected = clicks[static_cast<std::size_t>(slice)].load();
        for (const audience* a : {&counts, &afresh}) {
            const slice_figures f = a->figures(slice);
            if (f.clicks != expected || std::llround(f.unique_users) != static_cast<long long>(expected)) ++wrong;
        }
    }
    CHECK(wrong == 0);
    std::map<std::int64_t, std::uint64_t> listed;
    for (const slice_figures& f : counts.all()) listed[f.slice] = f.clicks;
    for (std::int64_t slice = 0; slice < slices; ++slice)
        if (listed[slice] != clicks[static_cast<std::size_t>(slice)]) ++wrong;
    CHECK(wrong == 0);
}

TEST_CASE("What is in memory, what is folded from operands and what one sketch of all visits says are the same") {
    std::mt19937_64 random(5);
    for (const std::size_t batch : {std::size_t{1}, std::size_t{1024}, std::size_t{1025}, std::size_t{20'000}}) {
        storage store({"", storage::sync::none}, audience_rules());
        audience counts(store, key);
        qsketch::hyperloglog<> all(slice_counts::precision);
        for (std::size_t sent = 0; sent < 30'000; sent += batch) {
            if (batch == 1 && sent == 3000) break;
            std::vector<visit> visits;
            for (std::size_t i = 0; i < batch; ++i) {
                visits.push_back({7, random(), i % 4 == 0});
                all.add_hash(visits.back().user);
            }
            count(store, counts, std::move(visits));
        }
        const slice_figures held = counts.figures(7);
        const slice_figures folded = audience(store, key).figures(7);
        CHECK(held.unique_users == all.estimate());
        CHECK(folded.unique_users == all.estimate());
        CHECK(folded.clicks == held.clicks);
        CHECK(folded.impressions == held.impressions);
        CHECK(held.unique_users_lower == all.lower_bound(1.96));
        CHECK(held.unique_users_upper == all.upper_bound(1.96));
    }
}

TEST_CASE("Slices are kept in order, also those before the first") {
    storage store({"", storage::sync::none}, audience_rules());
    audience counts(store, key);
    std::vector<visit> visits;
    for (const std::int64_t slice : {std::int64_t{256}, std::int64_t{-1}, std::int64_t{255}, std::int64_t{0},
                                     std::int64_t{-1'000'000}, std::int64_t{1'000'000}})
        visits.push_back({slice, 1, false});
    count(store, counts, visits);
    std::vector<std::int64_t> listed;
    for (const slice_figures& f : counts.all()) listed.push_back(f.slice);
    CHECK(listed == std::vector<std::int64_t>{-1'000'000, -1, 0, 255, 256, 1'000'000});
    counts.expire_before(0);
    CHECK(counts.all().size() == 4);
    CHECK(counts.figures(-1).impressions == 0);
    CHECK(counts.figures(0).impressions == 1);
    counts.expire_before(-1); // a clock that was wrong
    CHECK(counts.figures(-1).impressions == 1);
}

TEST_CASE("Changes that are given up are not counted") {
    storage store({"", storage::sync::none}, audience_rules());
    audience counts(store, key);
    count(store, counts, {{1, 1, true}});
    {
        changes c;
        std::vector<visit> visits = {{1, 2, true}, {2, 2, true}};
        counts.stage(visits, c);
    }
    CHECK(counts.figures(1).clicks == 1);
    CHECK(std::llround(counts.figures(1).unique_users) == 1);
    CHECK(counts.figures(2).clicks == 0);
    CHECK(counts.all().size() == 1);
}

TEST_CASE("An operand is the bytes that the format says") {
    const std::vector<visit> few = {{1, 0x1122334455667788, true}, {1, 2, false}, {1, 3, false}};
    CHECK(slice_counts::operand_for(few) ==
          bytes({1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0}) +
              bytes({0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}));
    const std::vector<visit> many(1025, {1, 5, true});
    qsketch::hyperloglog<> five(slice_counts::precision);
    five.add_hash(5);
    const auto image = five.serialize();
    CHECK(slice_counts::operand_for(many) ==
          bytes({1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}) +
              std::string(reinterpret_cast<const char*>(image.data()), image.size()));
}

TEST_CASE("A row that is none is refused, and changes nothing") {
    const std::vector<visit> visits = {{1, 8, true}, {1, 9, false}};
    slice_counts counts;
    counts.add(slice_counts::operand_for(visits));
    const std::string row = counts.row();
    const std::string operand = slice_counts::operand_for(visits);
    for (const std::string& whole : {row, operand}) {
        for (std::size_t size = 0; size < whole.size(); ++size) {
            if (size >= 17 && (size - 17) % 8 == 0 && whole == operand) continue; // fewer pseudonyms are possible
            CHECK_THROWS_AS(counts.add(whole.substr(0, size)), std::exception);
            CHECK(counts.row() == row);
        }
        std::string other = whole;
        other[16] = 2;
        CHECK_THROWS_AS(counts.add(other), qsketch::format_error);
        CHECK(counts.row() == row);
    }
    const auto coarse = qsketch::hyperloglog<>(12).serialize();
    CHECK_THROWS_AS(
        counts.add(row.substr(0, 17) + std::string(reinterpret_cast<const char*>(coarse.data()), coarse.size())),
        qsketch::incompatible_error);
    CHECK(counts.row() == row);
    storage store({"", storage::sync::none}, audience_rules());
    put(store, table::audience, std::string("\x80\0\0\0\0\0\0\1", 8), "nonsense");
    audience reader(store, key);
    CHECK_THROWS_AS(reader.figures(1), storage_error);
    CHECK_THROWS_AS(count(store, reader, {{1, 1, true}}), storage_error);
    count(store, reader, {{2, 1, true}});
    CHECK(reader.figures(2).clicks == 1);
}
