#include "domain/metrics.hpp"
#include "domain/sample_table.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace qsketch_server;
using namespace std::chrono_literals;
using server_test::directory;

namespace {

const instant now = *parse_instant("2024-01-20T15:30:00.500Z");
const auto levels = sample_table::levels(24h);

std::array<table_rules, table_count> rules() {
    std::array<table_rules, table_count> out;
    out[static_cast<std::size_t>(table::samples)] = sample_table::rules(levels, [] { return now - 24h; });
    out[static_cast<std::size_t>(table::metrics)] = metric_store::rules(metric_store::levels(24h));
    return out;
}

constexpr std::size_t plenty = std::size_t{1} << 30;
/// Batches of so many samples are logged: all, or as the server has it, which is none of those here.
constexpr std::size_t all_logged = 1;
constexpr std::size_t none_logged = 1000;

/// A table on a store of its own, which stays where it is when the table is opened again.
struct opened {
    explicit opened(const std::string& path, std::size_t max_series = 1000, std::size_t memory = plenty,
                    std::size_t least_logged = none_logged)
        : rows({path, storage::sync::async}, rules()),
          samples({table::samples, levels, max_series, memory, {}, least_logged}, rows) {}

    storage rows;
    sample_table samples;
};

struct event {
    std::string key;
    instant at;
    double value;
};

std::shared_ptr<sample_batch> batch_of(const std::vector<event>& events) {
    auto batch = std::make_shared<sample_batch>();
    std::uint64_t line = 0;
    for (const event& e : events) batch->add(++line, e.key, e.at, e.value);
    batch->group_by_series();
    return batch;
}

/// How many groups were refused.
std::size_t add(opened& o, const std::vector<event>& events) {
    changes c;
    const auto refused = o.samples.stage(c, batch_of(events));
    o.rows.commit(std::move(c));
    return refused.size();
}

bool erase(opened& o, const std::string& key) {
    changes c;
    const bool known = o.samples.stage_erase(c, key);
    o.rows.commit(std::move(c));
    return known;
}

void expire(opened& o, instant oldest) {
    changes c;
    o.samples.stage_expiry(c, oldest);
    if (!c.empty()) o.rows.commit(std::move(c));
}

void evict(opened& o) {
    for (std::uint32_t i = 0; i <= sample_table::idle_calls; ++i) o.samples.drop_idle();
    REQUIRE(o.samples.resident_bytes() == 0);
}

/// A table that logs all batches.
struct opened_log : opened {
    explicit opened_log(const std::string& path, std::size_t memory = plenty)
        : opened(path, 1000, memory, all_logged) {}

    [[nodiscard]] std::size_t logged() const {
        std::size_t n = 0;
        rows.scan(table::samples, "b", "c", [&](auto, auto) { return ++n > 0; });
        return n;
    }
};

/// All of the last day up to five minutes from now; nothing for an unknown key.
std::optional<value_totals> totals(sample_table& t, const std::string& key) {
    std::optional<value_totals> out;
    const bool known = t.read(key, [&](const sample_table::view& w) {
        out = w.query(24h, std::chrono::floor<std::chrono::seconds>(now + 5min)).sketch.totals();
    });
    CHECK(known == out.has_value());
    return out;
}

std::uint64_t count(opened& o, const std::string& key) {
    const auto found = totals(o.samples, key);
    return found ? found->count : 0;
}

std::vector<event> random_events(std::mt19937_64& random, std::size_t n, std::size_t keys, std::int64_t seconds) {
    std::vector<event> out;
    for (std::size_t i = 0; i < n; ++i)
        out.push_back({"key " + std::to_string(random() % keys),
                       now - std::chrono::milliseconds(random() % static_cast<std::uint64_t>(seconds * 1000)),
                       static_cast<double>(random() % 1000)});
    return out;
}

/// The samples by key and second.
using exact_samples = std::map<std::string, std::map<std::int64_t, std::vector<double>>>;

void remember(exact_samples& all, const std::vector<event>& events) {
    for (const event& e : events) all[e.key][second_of(e.at)].push_back(e.value);
}

/// Compares windows of many lengths with the samples of the interval that each says it covers.
void check_windows(sample_table& t, const exact_samples& all) {
    for (const auto& [key, seconds] : all) {
        CAPTURE(key);
        for (const auto length : {1s, 2s, 10s, 61s, 777s, 3600s, 30000s, 86400s}) {
            const bool known = t.read(key, [&, &exact = seconds](const sample_table::view& w) {
                const auto got = w.query(length, std::chrono::floor<std::chrono::seconds>(now));
                value_totals expected;
                for (auto at = exact.lower_bound(got.from.time_since_epoch().count());
                     at != exact.end() && at->first < got.to.time_since_epoch().count(); ++at)
                    expected.add(at->second);
                const value_totals totals = got.sketch.totals();
                CHECK(totals.count == expected.count);
                CHECK(totals.sum == expected.sum);
                if (expected.count == 0) return;
                CHECK(totals.min == expected.min);
                CHECK(totals.max == expected.max);
            });
            CHECK(known);
        }
    }
}

} // namespace

TEST_CASE("Windows of every length have what was added, at once, from the store, and after opening it again") {
    const directory place;
    const std::size_t least_logged = GENERATE(none_logged, 300, all_logged);
    std::mt19937_64 random(1);
    exact_samples all;
    for (int round = 0; round < 3; ++round) {
        opened o(place.path(), 1000, plenty, least_logged);
        check_windows(o.samples, all);
        for (int i = 0; i < 20; ++i) {
            const auto events = random_events(random, i % 3 == 0 ? 100 : 500, 7, i % 2 == 0 ? 20 : 80'000);
            remember(all, events);
            CHECK(add(o, events) == 0);
            if (i % 6 == 1) o.samples.settle();
            if (i % 7 == 3) evict(o);
            if (i % 5 == 4) check_windows(o.samples, all);
        }
        check_windows(o.samples, all);
        evict(o);
        check_windows(o.samples, all);
        CHECK(o.samples.size() == 7);
    }
}

TEST_CASE("A series with few samples is exact to the second however old they are") {
    const directory place;
    std::vector<event> events;
    for (int i = 0; i < 100; ++i) events.push_back({"k", now - std::chrono::seconds(i * 859), i * 1.0});
    {
        opened o(place.path());
        REQUIRE(add(o, events) == 0);
    }
    opened o(place.path());
    for (int i = 0; i < 100; ++i)
        o.samples.read("k", [&](const sample_table::view& w) {
            const auto at = std::chrono::floor<std::chrono::seconds>(events[static_cast<std::size_t>(i)].at);
            const auto found = w.query(1s, at);
            CHECK(found.sketch.totals().sum == i);
            CHECK(found.sketch.count() == 1);
            CHECK(w.query(1s, at - 1s).sketch.empty());
        });
}

TEST_CASE("What is staged is seen when it is committed, once, whether the window is in memory or not") {
    const directory place;
    opened o(place.path(), 1000, plenty, GENERATE(none_logged, all_logged));
    REQUIRE(add(o, {{"k", now, 1}}) == 0);
    const bool resident = GENERATE(true, false);
    if (!resident) evict(o);
    {
        changes c;
        REQUIRE(o.samples.stage(c, batch_of({{"k", now, 2}, {"new", now, 5}})).empty());
        CHECK(count(o, "k") == 1);
        CHECK_FALSE(totals(o.samples, "new"));
        o.rows.commit(std::move(c));
    }
    CHECK(count(o, "k") == 2);
    CHECK(totals(o.samples, "new")->sum == 5);
    {
        changes given_up;
        REQUIRE(o.samples.stage(given_up, batch_of({{"k", now, 3}, {"never", now, 5}})).empty());
        CHECK(o.samples.size() == 3);
    }
    CHECK(o.samples.size() == 2);
    CHECK(count(o, "k") == 2);
    CHECK_FALSE(totals(o.samples, "never"));
    evict(o);
    CHECK(totals(o.samples, "k")->sum == 3);
}

TEST_CASE("A window that was asked for while commits were under way is loaded when none is") {
    const directory place;
    opened o(place.path());
    REQUIRE(add(o, {{"k", now, 1}}) == 0);
    evict(o);
    std::atomic<int> staged = 0;
    std::atomic<bool> go = false;
    std::thread writer([&] {
        changes c;
        (void)o.samples.stage(c, batch_of({{"k", now, 2}}));
        ++staged;
        while (!go) std::this_thread::yield();
        o.rows.commit(std::move(c));
    });
    while (staged == 0) std::this_thread::yield();
    CHECK(count(o, "k") == 1);
    CHECK(o.samples.resident_bytes() == 0);
    std::thread reader([&] { CHECK(count(o, "k") == 2); }); // waits for the commit
    go = true;
    writer.join();
    reader.join();
    CHECK(o.samples.resident_bytes() > 0);
    REQUIRE(add(o, {{"k", now, 3}}) == 0);
    CHECK(totals(o.samples, "k")->sum == 6);
}

TEST_CASE("Series beyond the bound are refused, and what makes room is forgetting, or giving up, others") {
    const directory place;
    {
        opened o(place.path(), 2);
        CHECK(add(o, {{"a", now, 1}, {"b", now, 1}, {"c", now, 1}, {"a", now, 2}, {"d", now, 1}}) == 2);
        CHECK(o.samples.names("", "", 10) == std::vector<std::string>{"a", "b"});
        CHECK(add(o, {{"b", now, 1}}) == 0);
        CHECK(erase(o, "a"));
        {
            changes given_up;
            CHECK(o.samples.stage(given_up, batch_of({{"c", now, 1}})).empty());
            changes refused;
            std::thread([&] { CHECK(o.samples.stage(refused, batch_of({{"d", now, 1}})).size() == 1); }).join();
        }
        CHECK(add(o, {{"d", now, 1}}) == 0);
        CHECK(add(o, {{"a", now, 1}}) == 1);
    }
    opened fewer(place.path(), 1); // what is known stays
    CHECK(fewer.samples.size() == 2);
    CHECK(add(fewer, {{"b", now, 1}, {"d", now, 1}}) == 0);
    CHECK(add(fewer, {{"e", now, 1}}) == 1);
    CHECK(count(fewer, "b") == 3);
}

TEST_CASE("A series that is forgotten stays so, and begins anew when samples come") {
    const directory place;
    {
        opened o(place.path());
        REQUIRE(add(o, {{"k", now, 1}, {"other", now, 1}}) == 0);
        if (GENERATE(true, false)) evict(o);
        CHECK(erase(o, "k"));
        CHECK_FALSE(erase(o, "k"));
        CHECK_FALSE(totals(o.samples, "k"));
        CHECK(o.samples.resident_bytes() < 4000);
    }
    {
        opened o(place.path());
        CHECK_FALSE(totals(o.samples, "k"));
        CHECK(count(o, "other") == 1);
        REQUIRE(add(o, {{"k", now, 7}}) == 0);
        CHECK(totals(o.samples, "k")->sum == 7);
    }
    opened o(place.path());
    CHECK(totals(o.samples, "k")->sum == 7);
}

TEST_CASE("Series without samples for long expire, after opening the store again an hour later at most") {
    const directory place;
    {
        opened o(place.path());
        REQUIRE(add(o, {{"old", now - 10h, 1}, {"new", now, 1}, {"both", now - 10h, 1}}) == 0);
        REQUIRE(add(o, {{"both", now, 1}}) == 0);
        expire(o, now - 10h);
        CHECK(o.samples.size() == 3);
        expire(o, now - 10h + 1s);
        CHECK(o.samples.names("", "", 10) == std::vector<std::string>{"both", "new"});
        REQUIRE(add(o, {{"old", now - 10h, 1}}) == 0);
    }
    opened o(place.path());
    expire(o, now - 10h);
    CHECK(o.samples.size() == 3);
    expire(o, now - 9h + 1s);
    CHECK(o.samples.names("", "", 10) == std::vector<std::string>{"both", "new"});
    expire(o, now);
    CHECK(o.samples.size() == 2);
    evict(o);
    expire(o, now + 61min);
    CHECK(o.samples.size() == 0);
}

TEST_CASE("Windows take no more memory than allowed, and what is beyond it is read from the store") {
    const directory place;
    constexpr std::size_t allowed = 200'000;
    opened o(place.path(), 1000, allowed);
    std::vector<event> events;
    for (int key = 0; key < 100; ++key)
        for (int i = 0; i < 50; ++i)
            events.push_back({"key " + std::to_string(key), now - std::chrono::seconds(i * 7), i * 1.0});
    REQUIRE(add(o, events) == 0);
    CHECK(o.samples.resident_bytes() > allowed);
    o.samples.trim();
    CHECK(o.samples.resident_bytes() <= allowed);
    for (int round = 0; round < 3; ++round) {
        for (int key = 0; key < 100; ++key) CHECK(count(o, "key " + std::to_string(key)) == 50);
        CHECK(o.samples.resident_bytes() <= allowed);
        CHECK(o.samples.resident_bytes() > allowed / 2);
        o.samples.trim();
    }
    // A key that is asked for again and again finds room.
    for (int i = 0; i < 100; ++i) {
        o.samples.drop_idle();
        (void)count(o, "key 99");
        o.samples.trim();
    }
    CHECK(o.samples.resident_bytes() > 0);
    REQUIRE(add(o, {{"key 99", now, 1}}) == 0);
    CHECK(count(o, "key 99") == 51);
}

TEST_CASE("An idle series takes less than a kilobyte of memory") {
    const directory place;
    CHECK(sizeof(sample_table) < 20'000);
    opened o(place.path(), 100'000);
    std::vector<event> events;
    for (int key = 0; key < 20'000; ++key) events.push_back({"a key of common length " + std::to_string(key), now, 1});
    REQUIRE(add(o, events) == 0);
    CHECK(o.samples.memory_bytes() < 20'000 * (1024 + o.samples.resident_bytes() / 20'000));
    evict(o);
    CHECK(o.samples.memory_bytes() < 20'000 * 512);
}

TEST_CASE("Samples are counted once while writers, readers and evictions go on beside each other") {
    const directory place;
    constexpr int writers = 3;
    constexpr int rounds = 60;
    constexpr int keys = 5;
    opened o(place.path(), keys + 1, 20'000, GENERATE(none_logged, all_logged));
    std::atomic<int> writing = writers;
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w)
        threads.emplace_back([&, w] {
            std::mt19937_64 random(static_cast<std::uint64_t>(w));
            for (int round = 0; round < rounds; ++round) {
                std::vector<event> events;
                for (int i = 0; i < 20; ++i)
                    events.push_back(
                        {"key " + std::to_string(i % keys), now - std::chrono::seconds(random() % 300), 1});
                changes c;
                (void)o.samples.stage(c, batch_of(events));
                if (round % 10 == 9) continue; // given up
                o.rows.commit(std::move(c));
            }
            --writing;
        });
    threads.emplace_back([&] {
        std::vector<std::uint64_t> seen(keys);
        while (writing > 0)
            for (int key = 0; key < keys; ++key) {
                const auto found = totals(o.samples, "key " + std::to_string(key));
                if (!found) continue;
                auto& before = seen[static_cast<std::size_t>(key)];
                if (found->count < before || found->count % 4 != 0) before = UINT64_MAX; // batches are seen whole
                before = (std::max)(before, found->count);
            }
        for (const std::uint64_t s : seen) CHECK(s <= writers * rounds * 4);
    });
    threads.emplace_back([&] {
        while (writing > 0) {
            o.samples.drop_idle();
            o.samples.trim();
            o.samples.settle();
            (void)erase(o, "not there");
            changes c;
            if (o.samples.stage(c, batch_of({{"comes and goes", now, 1}})).empty()) o.rows.commit(std::move(c));
            (void)erase(o, "comes and goes");
        }
    });
    for (auto& t : threads) t.join();
    for (int round = 0; round < 2; ++round) {
        for (int key = 0; key < keys; ++key)
            CHECK(count(o, "key " + std::to_string(key)) == writers * rounds / 10 * 9 * 4);
        evict(o);
    }
    CHECK_FALSE(totals(o.samples, "comes and goes"));
}

TEST_CASE("A large batch is one row until it is settled, but for what its series are not ready for") {
    const directory place;
    {
        opened_log o(place.path());
        REQUIRE(add(o, {{"k", now, 1}, {"l", now, 2}}) == 0);
        CHECK(o.logged() == 0); // their names had to be written
        REQUIRE(add(o, {{"new", now, 4}, {"k", now, 8}, {"k", now - 1s, 16}, {"l", now + 3h, 32}}) == 0);
        CHECK(o.logged() == 1);
        CHECK(totals(o.samples, "new")->sum == 4);
        CHECK(totals(o.samples, "k")->sum == 25);
        REQUIRE(add(o, {{"k", now, 64}}) == 0);
        CHECK(o.logged() == 2);
    }
    {
        opened_log o(place.path()); // with the log as it was
        CHECK(o.logged() == 2);
        CHECK(totals(o.samples, "k")->sum == 89);
        REQUIRE(add(o, {{"k", now, 128}}) == 0);
        CHECK(o.logged() == 3);
        evict(o);
        CHECK(totals(o.samples, "k")->sum == 217);
        if (GENERATE(true, false)) evict(o);
        o.samples.settle();
        CHECK(o.logged() == 0);
        CHECK(totals(o.samples, "k")->sum == 217);
        evict(o);
        CHECK(totals(o.samples, "k")->sum == 217);
        o.samples.settle();
        CHECK(totals(o.samples, "k")->sum == 217);
    }
    opened_log o(place.path());
    CHECK(totals(o.samples, "k")->sum == 217);
    CHECK(totals(o.samples, "k")->count == 5);
    CHECK(totals(o.samples, "new")->sum == 4);
    o.samples.read("l", [&](const sample_table::view& w) {
        CHECK(w.query(24h, std::chrono::floor<std::chrono::seconds>(now + 3h)).sketch.totals().sum == 34);
    });
    expire(o, now + 2h); // the log must not have kept from the store how new a series is
    CHECK(o.samples.names("", "", 10) == std::vector<std::string>{"l"});
}

TEST_CASE("The log is bounded, be it few names with many samples or the other way around") {
    struct shape {
        std::size_t names;
        std::size_t name_size;
        std::size_t samples; ///< Of each.
    };
    for (const shape& s : {shape{1, 8, 20'000}, shape{1000, 5000, 1}, shape{1000, 250, 1}}) {
        const directory place;
        opened_log o(place.path());
        std::vector<event> events;
        for (std::size_t i = 0; i < s.names; ++i) {
            std::string name = std::to_string(i);
            name.append(s.name_size - name.size(), 'x');
            events.push_back({std::move(name), now, 1});
        }
        REQUIRE(add(o, events) == 0); // of new series: not logged
        const std::size_t without = o.samples.memory_bytes();
        for (std::size_t i = 0, n = events.size(); i < n; ++i)
            for (std::size_t k = 1; k < s.samples; ++k) events.push_back(events[i]);
        const auto batch = batch_of(events);
        const std::size_t text = s.names * s.name_size;
        std::size_t first = 0;
        for (const bool again : {false, true}) {
            std::size_t added = 0;
            std::size_t most = 0;
            std::size_t logged = 0;
            do {
                changes c;
                REQUIRE(o.samples.stage(c, batch).empty());
                o.rows.commit(std::move(c));
                ++added;
                logged = o.logged();
                if (logged == added) most = (std::max)(most, o.samples.memory_bytes() - without);
            } while (logged == added && added < 200);
            CHECK(logged == 1);
            CHECK(most >= (added - 1) * (text + events.size() * sample_batch::sample_bytes));
            if (again) {
                CHECK(added == first);
            } else {
                CHECK(most < (sample_table::settled_at_once + 2 * events.size()) * batch_log::name_bytes_of_a_sample);
                first = added;
                o.samples.settle();
            }
        }
        CHECK(count(o, events.front().key) == 1 + 2 * first * s.samples);
    }
}

TEST_CASE("Samples in the log are those of their second alone") {
    const directory place;
    opened_log o(place.path());
    REQUIRE(add(o, {{"k", now, 1}}) == 0);
    REQUIRE(add(o, {{"k", now - 5s, 2}, {"k", now - 4s, 4}, {"k", now - 4s, 8}, {"k", now - 3s, 16}}) == 0);
    REQUIRE(o.logged() == 1);
    o.samples.read("k", [&](const sample_table::view& w) {
        const auto sum = [&](std::chrono::seconds length, std::chrono::seconds ago) {
            return w.query(length, std::chrono::floor<std::chrono::seconds>(now - ago)).sketch.totals().sum;
        };
        CHECK(sum(1s, 0s) == 1);
        CHECK(sum(1s, 3s) == 16);
        CHECK(sum(1s, 4s) == 12);
        CHECK(sum(2s, 4s) == 14);
        CHECK(sum(5s, 0s) == 29);
        CHECK(sum(100s, 6s) == 0);
    });
}

TEST_CASE("What the log has of a series is forgotten with it, and keeps a series that is in use") {
    const directory place;
    {
        opened_log o(place.path());
        REQUIRE(add(o, {{"k", now - 10h, 1}, {"other", now - 10h, 1}}) == 0);
        REQUIRE(add(o, {{"k", now - 10h, 2}, {"other", now - 10h + 1s, 2}}) == 0);
        REQUIRE(o.logged() == 1);
        SECTION("because it is deleted") { CHECK(erase(o, "k")); }
        SECTION("because it expires") { expire(o, now - 10h + 1s); }
        CHECK(o.logged() == 0);
        CHECK_FALSE(totals(o.samples, "k"));
        CHECK(totals(o.samples, "other")->sum == 3);
        REQUIRE(add(o, {{"k", now, 8}}) == 0);
        CHECK(totals(o.samples, "k")->sum == 8);
    }
    opened_log o(place.path());
    CHECK(totals(o.samples, "k")->sum == 8);
    CHECK(totals(o.samples, "other")->sum == 3);
}

TEST_CASE("A window with samples in the log that is not in memory is read beside a commit under way") {
    const directory place;
    opened_log o(place.path());
    REQUIRE(add(o, {{"k", now, 1}}) == 0);
    evict(o);
    REQUIRE(add(o, {{"k", now, 2}}) == 0);
    std::atomic<bool> staged = false;
    std::atomic<bool> go = false;
    std::thread writer([&] {
        changes c;
        sample_sketch four;
        four.add(4);
        CHECK(o.samples.stage(c, "k", now, four));
        staged = true;
        while (!go) std::this_thread::yield();
        o.rows.commit(std::move(c));
    });
    while (!staged) std::this_thread::yield();
    std::thread reader([&] { CHECK(totals(o.samples, "k")->sum == 7); }); // waits for the commit
    go = true;
    writer.join();
    reader.join();
    CHECK(totals(o.samples, "k")->sum == 7);
}

TEST_CASE("Metrics in the log are found as those in windows are") {
    const directory place;
    storage rows({place.path(), storage::sync::async}, rules());
    metric_store metrics({table::metrics, metric_store::levels(24h), 10, plenty, {}, all_logged}, rows);
    for (int i = 1; i <= 3; ++i) {
        changes c;
        REQUIRE(metrics.table().stage(c, batch_of({{std::string("m\0", 2), now, i * 1.0}})).empty());
        rows.commit(std::move(c));
        if (i == 2) metrics.table().settle();
    }
    metric_query query;
    query.metric = "m";
    query.rows = {{now - 10s, now + 1s}};
    const auto found = metrics.aggregate(query);
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].groups().size() == 1);
    const aggregation sum[] = {*aggregation::named("sum")};
    CHECK(found[0].groups().begin()->second.figures(sum) == std::vector<double>{6});
}

TEST_CASE("A damaged batch in the log is an error by name") {
    const directory place;
    for (const char* row : {"\x05", "\x01k", "\x01k\x02", "\x01k\x02\x02\x01", "\x01k\x02\x01\x01"}) {
        {
            storage rows({place.path(), storage::sync::async}, rules());
            changes c;
            c.put(table::samples, std::string("b\0\0\0\0\0\0\0\x07", 9), row);
            rows.commit(std::move(c));
        }
        try {
            const opened_log o(place.path());
            FAIL_CHECK("it was opened");
        } catch (const storage_error& e) {
            CHECK(std::string(e.what()) == "batch 7: samples in the store are damaged");
        }
    }
}

TEST_CASE("A batch is by series and by time, whatever time it spans") {
    for (const std::int64_t span : {1, 10, 100, 1'000'000'000}) {
        std::mt19937_64 random(7);
        exact_samples expected;
        sample_batch batch;
        for (int i = 0; i < 3000; ++i) {
            const event e{"key " + std::to_string(random() % 5),
                          now - std::chrono::seconds(random() % static_cast<std::uint64_t>(span)), i * 1.0};
            remember(expected, {e});
            batch.add(0, e.key, e.at, e.value);
        }
        batch.group_by_series();
        CHECK(batch.samples() == 3000);
        CHECK_FALSE(batch.find("key 5"));
        for (const auto& [key, seconds] : expected) {
            const auto found = batch.find(key);
            REQUIRE(found);
            const auto group = batch[*found];
            CHECK(group.name == key);
            std::size_t at = 0;
            for (const auto& [second, values] : seconds)
                for (const double value : values) {
                    CHECK(group.seconds[at] == second);
                    CHECK(group.values[at++] == value);
                }
            CHECK(at == group.values.size());
        }
    }
    CHECK_FALSE(sample_batch().find("k"));
}

TEST_CASE("Whatever way operands are combined and folded, the row holds the same samples") {
    const series_rows<sample_sketch> rows(levels);
    std::mt19937_64 random(5);
    for (int round = 0; round < 30; ++round) {
        std::vector<std::string> operands;
        value_totals expected;
        const int dense = round % 3;
        for (int i = 0; i < 40; ++i) {
            std::string& operand = operands.emplace_back(rows.empty_operand());
            record_writer out(operand);
            for (int s = 0; s < 1 + dense; ++s) {
                std::vector<double> values(1 + random() % (dense == 2 ? 400 : 3));
                for (double& v : values) v = static_cast<double>(random() % 100);
                expected.add(values);
                const std::int64_t second = second_of(now) - static_cast<std::int64_t>(random() % 5000);
                if (i % 10 == 0) {
                    sample_sketch sketch;
                    sketch.add(std::span<const double>(values));
                    out.image(second, sketch.serialize());
                } else {
                    out.values(second, values);
                }
            }
        }
        std::optional<std::string> row;
        std::size_t at = 0;
        while (at < operands.size()) {
            const std::size_t n = (std::min)(1 + random() % 9, operands.size() - at);
            const std::vector<std::string_view> some(operands.begin() + static_cast<std::ptrdiff_t>(at),
                                                     operands.begin() + static_cast<std::ptrdiff_t>(at + n));
            at += n;
            const auto view = row ? std::optional<std::string_view>(*row) : std::nullopt;
            if (random() % 2 == 0) {
                row = rows.fold(view, some);
            } else {
                const auto combined = rows.combine(some);
                REQUIRE(combined);
                const std::string_view one[] = {*combined};
                row = rows.fold(view, one);
            }
        }
        const auto window = rows.read(*row);
        const auto got = window.query(24h, std::chrono::floor<std::chrono::seconds>(now)).sketch;
        CHECK(got.totals().count == expected.count);
        CHECK(got.totals().sum == expected.sum);
        CHECK(got.frequencies().count() == expected.count);
        CHECK((row->front() == 'r') == (row->size() <= rows.max_record_row));
    }
}

TEST_CASE("Rows that are damaged are told from others") {
    const series_rows<sample_sketch> rows(levels);
    std::string row = rows.empty_operand();
    const double values[] = {1, 2, 3};
    record_writer(row).values(second_of(now), values);
    sample_sketch sketch;
    sketch.add(4.5);
    record_writer(row).image(second_of(now), sketch.serialize());
    CHECK(rows.read(row).query(1s, std::chrono::floor<std::chrono::seconds>(now)).sketch.count() == 4);
    std::size_t readable = 0;
    for (std::size_t cut = 0; cut < row.size(); ++cut) try {
            (void)rows.read(row.substr(0, cut));
            ++readable;
        } catch (const qsketch::format_error&) {
        }
    CHECK(readable == 2); // none of the records, the first of them
    for (const char* bad : {"", "x", "QSK", "r\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"})
        CHECK_THROWS_AS(rows.read(bad), qsketch::format_error);
}
