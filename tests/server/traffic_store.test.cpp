#include "domain/traffic.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"

#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace qsketch_server;
using namespace std::chrono_literals;

namespace {

const instant now = *parse_instant("2024-01-20T15:30:00.500Z");

/// The store and what is under it, which may be closed and opened again.
struct opened {
    explicit opened(const std::string& path, instant at = now, std::chrono::seconds longest = 24h) {
        traffic_store::add_rules(rules, kept);
        rows.emplace(storage::settings{path, storage::sync::commit}, rules);
        store.emplace(*rows, kept, longest, at);
    }
    std::shared_ptr<traffic_store::horizons> kept = std::make_shared<traffic_store::horizons>();
    std::array<table_rules, table_count> rules;
    std::optional<storage> rows;
    std::optional<traffic_store> store;
};

using counts = std::map<std::string, std::uint64_t>;

counts day(const traffic_store& store, std::uint32_t user, instant at = now) {
    return store.pages_of_user(user, at - 24h, at);
}

std::size_t rows_in(const storage& rows, table where) {
    std::size_t n = 0;
    rows.scan(where, {}, {}, [&](std::string_view, std::string_view) {
        ++n;
        return true;
    });
    return n;
}

std::size_t put(opened& o, std::span<const page_view> views) {
    changes what;
    const std::size_t known = o.store->put(views, what);
    o.rows->commit(std::move(what));
    return known;
}
std::size_t put(opened& o, const page_view& view) { return put(o, {&view, 1}); }

bool replace(opened& o, const page_view& view) {
    changes what;
    const bool known = o.store->replace(view, what);
    o.rows->commit(std::move(what));
    return known;
}

} // namespace

TEST_CASE("A day begins a millisecond after its first and ends with its last") {
    const server_test::directory place;
    opened o(place.path());
    const std::vector<page_view> views = {{1, 7, now - 24h, "/too old"}, {2, 7, now - 24h + 1ms, "/first"},
                                          {3, 7, now, "/last"},          {4, 7, now + 1ms, "/to come"},
                                          {5, 6, now, "/other"},         {~std::uint64_t{0}, 7, now, "/last"}};
    CHECK(put(o, views) == 0);
    CHECK(day(*o.store, 7) == counts{{"/first", 1}, {"/last", 2}});
    CHECK(day(*o.store, 6) == counts{{"/other", 1}});
    CHECK(day(*o.store, 8).empty());
    CHECK(day(*o.store, 7, now + 1ms) == counts{{"/last", 2}, {"/to come", 1}});
}

TEST_CASE("Every view has one row and one entry of its user, however often it is written and moved") {
    const server_test::directory place;
    opened o(place.path());
    for (std::uint64_t i = 0; i < 200; ++i) {
        const std::uint64_t id = i % 10;
        const page_view v{id, static_cast<std::uint32_t>(i % 3), now - std::chrono::minutes(i % 7),
                          "/" + std::to_string(i % 2)};
        CHECK(put(o, v) == (i < 10 ? 0 : 1));
        CHECK(put(o, v) == 1);
    }
    CHECK(rows_in(*o.rows, table::traffic) == 10);
    CHECK(rows_in(*o.rows, table::traffic_by_user) == 10);
    CHECK_FALSE(replace(o, {10, 1, now, "/"}));
    CHECK(replace(o, {9, 1, now, "/"}));
    CHECK(rows_in(*o.rows, table::traffic) == 10);
    CHECK(rows_in(*o.rows, table::traffic_by_user) == 10);
    // Of the views of one call with one id, the last.
    const std::vector<page_view> same = {{20, 5, now, "/a"}, {21, 5, now, "/b"}, {20, 5, now, "/c"}};
    CHECK(put(o, same) == 0);
    CHECK(put(o, same) == 2);
    CHECK(day(*o.store, 5) == counts{{"/b", 1}, {"/c", 1}});
    CHECK(rows_in(*o.rows, table::traffic) == 12);
}

TEST_CASE("Changes that are given up write nothing and let go of their ids") {
    const server_test::directory place;
    opened o(place.path());
    const page_view v{1, 7, now, "/a"};
    {
        changes given_up;
        CHECK(o.store->put({&v, 1}, given_up) == 0);
    }
    CHECK(day(*o.store, 7).empty());
    CHECK(o.store->window(60s, now).pages.empty());
    CHECK(put(o, v) == 0);
    CHECK(o.store->window(60s, now).pages.pages().total() == 1);
}

TEST_CASE("A view that has expired is unknown, though its row may still be there, and stays so") {
    const server_test::directory place;
    std::optional<opened> o(place.path());
    CHECK(put(*o, {1, 7, now - 3h, "/old"}) == 0);
    CHECK(put(*o, {2, 7, now - 1h, "/new"}) == 0);
    o->store->expire_before(now - 2h, now - 24h);
    CHECK(o->store->oldest() == std::chrono::floor<std::chrono::minutes>(now - 2h));
    CHECK(day(*o->store, 7) == counts{{"/new", 1}});
    CHECK_FALSE(replace(*o, {1, 7, now, "/again"}));
    o->store->expire_before(now - 10h, now - 24h); // never back
    CHECK(day(*o->store, 7) == counts{{"/new", 1}});
    o.reset();
    o.emplace(place.path());
    CHECK(o->store->oldest() == std::chrono::floor<std::chrono::minutes>(now - 2h));
    CHECK(day(*o->store, 7) == counts{{"/new", 1}});
    CHECK_FALSE(replace(*o, {1, 7, now, "/again"}));
    CHECK(replace(*o, {2, 7, now, "/new"}));
    // Written anew it is new, and its old entry does not stay behind.
    CHECK(put(*o, {1, 7, now - 30min, "/again"}) == 0);
    CHECK(day(*o->store, 7) == counts{{"/again", 1}, {"/new", 1}});
    CHECK(rows_in(*o->rows, table::traffic_by_user) == 2);
}

TEST_CASE("What the tables let go is what has expired, and rows and entries agree on it") {
    const server_test::directory place;
    opened o(place.path());
    const std::vector<page_view> views = {{1, 7, now - 1ms, "/a"}, {2, 8, now, ""}, {3, 9, now + 24h, "/c"}};
    (void)put(o, views);
    const auto expired = [&](table where) {
        std::vector<bool> out;
        o.rows->scan(where, {}, {}, [&](std::string_view key, std::string_view row) {
            out.push_back(o.rules[static_cast<std::size_t>(where)].expired(key, row));
            return true;
        });
        return out;
    };
    CHECK(expired(table::traffic) == std::vector<bool>{false, false, false});
    o.kept->views = now;
    CHECK(expired(table::traffic) == std::vector<bool>{true, false, false});
    CHECK(expired(table::traffic_by_user) == std::vector<bool>{true, false, false});
    // The first two views are in one minute. A window begins with a slot, which may be ten minutes long.
    o.store->expire_before(instant(), now + 10min - 1s);
    CHECK(expired(table::pages) == std::vector<bool>{false, false});
    o.store->expire_before(instant(), now + 11min);
    CHECK(expired(table::pages) == std::vector<bool>{true, false});
    o.kept->pages = std::chrono::floor<std::chrono::minutes>(now);
    CHECK(expired(table::pages) == std::vector<bool>{false, false});
    o.kept->pages = std::chrono::floor<std::chrono::minutes>(now) + 1ms;
    CHECK(expired(table::pages) == std::vector<bool>{true, false});
    CHECK_THROWS_AS(o.rules[static_cast<std::size_t>(table::traffic)].expired("", "short"), storage_error);
}

TEST_CASE("Windows of pages are the same after a restart, and hold what they say they cover") {
    const server_test::directory place;
    std::optional<opened> o(place.path());
    std::vector<page_view> views;
    for (std::uint64_t i = 0; i < 2000; ++i)
        views.push_back({i, static_cast<std::uint32_t>(i * i % 300), now - std::chrono::seconds(i * 47 % 90'000),
                         "/" + std::to_string(i % 37)});
    for (std::size_t i = 0; i < views.size(); i += 50) (void)put(*o, std::span(views).subspan(i, 50));
    for (int restart = 0; restart < 2; ++restart) {
        for (const std::chrono::seconds length : {1s, 60s, 7200s, 7201s, 43'210s, 86'400s}) {
            const page_window w = o->store->window(length, now);
            CHECK(w.from <= now - length);
            CHECK(w.from > now - length - (length <= 2h ? 1min : 10min));
            CHECK(w.to > now);
            CHECK(w.to <= now + (length <= 2h ? 1min : 10min));
            page_sketch truth;
            for (const page_view& v : views)
                if (v.at >= w.from && v.at < w.to) truth.add({v.url, v.user});
            CHECK(w.pages == truth);
        }
        o.reset();
        o.emplace(place.path());
    }
}

TEST_CASE("A minute's row is folded from the views of many writes, and not by those sent again") {
    const server_test::directory place;
    opened o(place.path());
    for (std::uint64_t round = 0; round < 2; ++round)
        for (std::uint64_t i = 0; i < 30; ++i) (void)put(o, {i, 1, now + 1ms * i, "/" + std::to_string(i % 3)});
    std::size_t rows = 0;
    o.rows->scan(table::pages, {}, {}, [&](std::string_view, std::string_view row) {
        const auto sketch = page_sketch::deserialize(std::as_bytes(std::span(row.data(), row.size())));
        CHECK(sketch.pages().total() == 30);
        CHECK(sketch.pages().lower("/2") == 10);
        CHECK(std::lround(sketch.visitors().estimate()) == 1);
        ++rows;
        return true;
    });
    CHECK(rows == 1);
}

TEST_CASE("A view too old for any window of pages is counted for its user only") {
    const server_test::directory place;
    opened o(place.path(), now, 1h);
    CHECK(put(o, {1, 7, now - 71min, "/old"}) == 0);
    CHECK(rows_in(*o.rows, table::pages) == 0);
    CHECK(put(o, {2, 7, now - 69min, "/new"}) == 0);
    CHECK(rows_in(*o.rows, table::pages) == 1);
    CHECK(day(*o.store, 7) == counts{{"/new", 1}, {"/old", 1}});
}

TEST_CASE("A row of pages is the same whether operands are folded together, onto a row, or combined before") {
    const server_test::directory place;
    opened o(place.path());
    const table_rules& pages = o.rules[static_cast<std::size_t>(table::pages)];
    std::vector<std::string> images;
    for (int part = 0; part < 3; ++part) {
        page_sketch s;
        for (int i = 0; i <= part; ++i) s.add({"/" + std::to_string(i), std::nullopt});
        s.add({std::nullopt, static_cast<std::uint32_t>(part)});
        const auto image = s.serialize();
        images.emplace_back(reinterpret_cast<const char*>(image.data()), image.size());
    }
    const std::vector<std::string_view> all(images.begin(), images.end());
    const std::string together = pages.fold({}, all);
    CHECK(pages.fold(pages.fold({}, std::span(all).first(1)), std::span(all).subspan(1)) == together);
    const auto combined = pages.combine(std::span(all).first(2));
    REQUIRE(combined);
    const std::vector<std::string_view> rest = {*combined, all[2]};
    CHECK(pages.fold({}, rest) == together);
    const auto sum = page_sketch::deserialize(std::as_bytes(std::span(together.data(), together.size())));
    CHECK(sum.pages().lower("/0") == 3);
    CHECK(sum.pages().lower("/2") == 1);
    CHECK(sum.visitors().estimate() > 2.5);
    const std::vector<std::string_view> broken = {all[0], "no image"};
    CHECK_THROWS_AS(pages.fold({}, broken), qsketch::format_error);
}

TEST_CASE("Threads that write the same ids leave one row and one entry of each") {
    const server_test::directory place;
    opened o(place.path());
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 4; ++t)
        threads.emplace_back([&o, t] {
            for (std::uint64_t i = 0; i < 150; ++i) {
                // Two ids a call, in an order that differs, of which some share a stripe.
                const std::uint64_t first = (i + t) % 5 * 512;
                const std::uint64_t other = (i * t) % 7 * 512;
                const auto user = static_cast<std::uint32_t>(i % 3);
                const std::vector<page_view> two = {{first, user, now - 1s * i, "/a"},
                                                    {other, user, now - 2s * i, "/b"}};
                (void)put(o, two);
            }
        });
    for (auto& t : threads) t.join();
    std::uint64_t counted = 0;
    for (std::uint32_t user = 0; user < 3; ++user)
        for (const auto& [url, n] : day(*o.store, user)) counted += n;
    CHECK(counted == rows_in(*o.rows, table::traffic));
    CHECK(counted == rows_in(*o.rows, table::traffic_by_user));
    CHECK(counted == 7);
}
