#include "storage/unreadable_row.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/store.hpp"

#include <csignal>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;
using qsketch_server::read_row;
using qsketch_server::unreadable_row;

namespace {

/// Is it answered 500 with the name of that row, and is that in the log?
void check_unreadable(const server& s, const std::string& table, const std::string& key, const reply& r) {
    INFO(r.body);
    CHECK(r.status == 500);
    CHECK(json_at(r.body, "/code") == "\"INTERNAL_ERROR\"");
    CHECK(json_at(r.body, "/details/table") == '"' + table + '"');
    CHECK(json_at(r.body, "/details/request_id") == '"' + r.header("x-request-id") + '"');
    std::string in_json;
    for (const char c : key) in_json.append(c == '\\' ? 2 : 1, c);
    CHECK(json_at(r.body, "/details/key") == '"' + in_json + '"');
    CHECK(s.errors().find("the row " + key + " of the table " + table + " cannot be read: ") != std::string::npos);
}

} // namespace

TEST_CASE("What is thrown while a row is read names the row, but for what is no fault of it") {
    using namespace std::string_view_literals;
    CHECK(read_row(table::pages, "k", [] { return 7; }) == 7);
    const auto fail = [] { throw std::runtime_error("why"); };
    try {
        read_row(table::metrics, "a b\0\x7f\xff\\~"sv, fail);
        FAIL("it was read");
    } catch (const unreadable_row& e) {
        CHECK(e.key() == R"(a b\x00\x7f\xff\x5c~)");
        CHECK(e.table_name() == std::string("metrics"));
        CHECK(std::string(e.what()) == R"(the row a b\x00\x7f\xff\x5c~ of the table metrics cannot be read: why)");
    }
    CHECK_THROWS_WITH(read_row(table::pages, "outer", [&] { read_row(table::audience, "inner", fail); }),
                      "the row inner of the table audience cannot be read: why");
    CHECK_THROWS_AS(read_row(table::pages, "k", [] { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST_CASE("Who asks for a row that cannot be read is told which, and everything else is answered") {
    const directory place;
    const std::vector<std::string> in = {"--data-dir", place.path(), "--durability=commit"};
    const std::string now = std::to_string(now_ms());
    const auto sample = [](const char* key) { return R"({"key":")" + std::string(key) + R"(","value":1})"; };
    const std::string visit = "/analytics?timestamp=" + now;
    const std::string view = R"({"user_id":1,"page_url":"/","created_at":)" + now + "}";
    {
        server s(in);
        for (const char* key : {"latency", "fine", "state", "more"})
            REQUIRE(post_json(s.port(), "/samples", sample(key)).status == 200);
        REQUIRE(post_json(s.port(), "/metrics", sample("m")).status == 200);
        REQUIRE(ask(s.port(), "POST", visit + "&user=ann&click").status == 202);
        REQUIRE(post_json(s.port(), "/api/traffic/7", view).status == 201);
        for (const std::string key : {"state", "more"})
            REQUIRE(
                ask(s.port(), "PUT", "/v1/sketches/" + key + "/merge?node=n&incarnation=1&sequence=1&timestamp=" + now,
                    get(s.port(), "/v1/sketches/fine?window=3600").body, "Content-Type: application/octet-stream\r\n")
                    .status == 200);
        s.signal(SIGTERM);
        REQUIRE(s.wait(10s) == 0);
    }
    const auto spoil = [&](table where, const std::string& from, const std::string& operand = {}) {
        rule_list rules; // nothing is folded for good: so little stays in the log
        for (table_rules& r : rules) r.fold = [](auto, auto) { return std::string(); };
        storage rows({place.path()}, rules);
        const auto found = rows_of(rows, where, from);
        REQUIRE(!found.empty());
        put(rows, where, found.front().first, "x");
        changes c;
        if (!operand.empty()) c.merge(where, found.front().first, operand);
        rows.commit(std::move(c));
        return found.front().first;
    };
    CHECK(spoil(table::samples, "sl") == "slatency");
    const std::string state = spoil(table::samples, "ps");
    CHECK(state.starts_with(std::string_view("pstate\0", 7)));
    const std::string more = spoil(table::samples, "p", "y"); // which has to be folded before anything is known of it
    CHECK(more.starts_with(std::string_view("pmore\0", 6)));
    CHECK(spoil(table::metrics, "s").starts_with("sm"));
    CHECK(spoil(table::traffic, {}) == std::string_view("\0\0\0\0\0\0\0\7", 8));
    const std::string slice = spoil(table::audience, {});

    const server s(in);
    const auto quantile = [&](const std::string& key) {
        return get(s.port(), "/quantile?q=0.5&window=3600&key=" + key);
    };
    check_unreadable(s, "samples", "slatency", quantile("latency"));
    check_unreadable(s, "samples", unreadable_row(table::samples, state, "").key(), quantile("state"));
    check_unreadable(s, "samples", unreadable_row(table::samples, more, "").key(), quantile("more"));
    check_unreadable(s, "audience", unreadable_row(table::audience, slice, "").key(), get(s.port(), visit));
    check_unreadable(s, "traffic", R"(\x00\x00\x00\x00\x00\x00\x00\x07)", post_json(s.port(), "/api/traffic/7", view));
    const reply metric = get(s.port(), "/aggregate?metric=m&agg=count&window=1h");
    CHECK(metric.status == 500);
    CHECK(json_at(metric.body, "/details/table") == "\"metrics\"");
    // An operand on it does not help.
    CHECK(post_json(s.port(), "/samples", sample("latency")).status == 200);
    check_unreadable(s, "samples", "slatency", quantile("latency"));

    CHECK(quantile("fine").body == R"({"estimate":1,"count":1})");
    CHECK(get(s.port(), "/metrics").body.find("qsketch_errors_total{code=\"INTERNAL_ERROR\"} 7\n") !=
          std::string::npos);
    CHECK(get(s.port(), "/health").status == 200);
    for (const std::string key : {"latency", "state", "more"}) {
        CHECK(ask(s.port(), "DELETE", "/keys/" + key).status == 204);
        CHECK(post_json(s.port(), "/samples", sample(key.c_str())).status == 200);
        CHECK(quantile(key).body == R"({"estimate":1,"count":1})");
    }
}
