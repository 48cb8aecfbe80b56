#include "domain/instant.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s;
    return s.port();
}

std::string metric(const std::string& key, double value, std::int64_t at, const std::string& tags = {}) {
    return R"({"key":")" + key + R"(","value":)" + std::to_string(value) + R"(,"timestamp":)" + std::to_string(at) +
           (tags.empty() ? "" : R"(,"tags":{)" + tags + "}") + "}\n";
}

std::string tags(const std::string& datacenter, const std::string& host) {
    return R"("datacenter":")" + datacenter + R"(","host":")" + host + '"';
}

std::string record(const std::string& key, double value) {
    std::string out(8, '\0');
    const auto size = static_cast<std::uint64_t>(key.size());
    for (unsigned i = 0; i < 8; ++i) out[i] = static_cast<char>(size >> 8 * i);
    out += key;
    const auto bits = std::bit_cast<std::uint64_t>(value);
    for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(bits >> 8 * i);
    return out;
}

reply post_bytes(std::uint16_t port, const std::string& target, const std::string& body) {
    return ask(port, "POST", target, body, "Content-Type: application/octet-stream\r\n");
}

/// The keys of an object, in the order in which they are written.
std::string keys_at(const std::string& text, const std::string& pointer) {
    simdjson::dom::parser parser;
    const simdjson::padded_string padded(text);
    std::string out;
    simdjson::dom::object object;
    if (parser.parse(padded).at_pointer(pointer).get(object) != simdjson::SUCCESS) return "(no object)";
    for (const auto [key, value] : object) out.append(key).append(",");
    return out.substr(0, out.size() - (out.empty() ? 0 : 1));
}

} // namespace

TEST_CASE("Metrics are taken one by one and in batches, and their figures are exact") {
    const auto now = now_ms();
    const reply one = post_json(shared(), "/metrics", metric("cpu", 4, now, tags("us", "web-1")));
    CHECK(one.status == 200);
    CHECK(json_at(one.body, "/success") == "true");
    CHECK(json_at(one.body, "/message") == R"("Metric inserted successfully")");
    CHECK(json_at(one.body, "/worker_node").size() > 2);
    CHECK(post_lines(shared(), "/metrics",
                     metric("cpu", 1, now, tags("us", "web-2")) + metric("cpu", 2, now, tags("eu", "web-3")) +
                         metric("cpu", 3, now) + "{}\n")
              .body.starts_with(R"({"accepted":3,"rejected":1,"errors":[{"line":4,)"));
    const std::string r = get(shared(), "/aggregate?metric=cpu&window=5m&rolling=true").body;
    CHECK(json_at(r, "/metric") == R"("cpu")");
    CHECK(json_at(r, "/aggregations") == R"({"avg":2.5,"min":1,"max":4,"sum":10,"count":4,"p50":2,"p95":4,"p99":4})");
    CHECK(get(shared(), "/aggregate?metric=other&window=5m").status == 404);
    const std::string none =
        get(shared(), "/aggregate?metric=cpu&window=5m&rolling=1&hosts=db-*&agg=avg,count,p9").body;
    CHECK(json_at(none, "/aggregations") == R"({"avg":null,"count":0,"p9":null})");
}

TEST_CASE("Groups, filters, order and limit") {
    const auto now = now_ms();
    std::string body;
    for (int i = 0; i < 12; ++i)
        body +=
            metric("net", i, now, tags(i % 3 == 0 ? "a" : "b", (i % 2 == 0 ? "web-" : "db-") + std::to_string(i % 4)));
    body += metric("net", 100, now);
    REQUIRE(post_lines(shared(), "/metrics", body).status == 200);
    const std::string all = "/aggregate?metric=net&window=1h&rolling=true&agg=sum,count";
    const std::string by_host = get(shared(), all + "&group_by=host").body;
    CHECK(json_at(by_host, "/aggregations") == R"({"sum":166,"count":13})");
    CHECK(json_at(by_host, "/by_host") ==
          R"({"":{"sum":100,"count":1},"db-1":{"sum":15,"count":3},"db-3":{"sum":21,"count":3},)"
          R"("web-0":{"sum":12,"count":3},"web-2":{"sum":18,"count":3}})");
    CHECK(json_at(by_host, "/groups").rfind("(nothing", 0) == 0);
    const auto ordered = [&](const std::string& more) {
        return keys_at(get(shared(), all + "&group_by=host" + more).body, "/by_host");
    };
    CHECK(ordered("&order_by=value:desc") == ",db-3,web-2,db-1,web-0");
    CHECK(ordered("&order_by=sum&limit=2") == "web-0,db-1");
    CHECK(ordered("&order_by=host:desc&limit=3") == "web-2,web-0,db-3");
    CHECK(ordered("&hosts=web-*,db-1") == "db-1,web-0,web-2");
    CHECK(ordered("&tags=host:db-*,datacenter:b&order_by=count:asc") == "db-1,db-3");
    CHECK(ordered("&tags=host:web-0&hosts=web-*") == "web-0");
    CHECK(ordered("&datacenters=c") == "");
    const std::string two =
        get(shared(), all + "&datacenters=a,b&group_by=datacenter,host&order_by=sum:desc&limit=2").body;
    CHECK(keys_at(two, "/by_datacenter") == "b,a");
    CHECK(keys_at(two, "/by_host") == "db-3,web-2");
    CHECK(json_at(two, "/groups") ==
          R"([{"tags":{"datacenter":"b","host":"db-3"},"aggregations":{"sum":18,"count":2}},)"
          R"({"tags":{"datacenter":"b","host":"web-0"},"aggregations":{"sum":12,"count":2}}])");
    const std::string computed =
        post_json(shared(), "/compute", R"({"metric":"net","aggregations":["max"],"group_by":["datacenter","host"]})")
            .body;
    CHECK(json_at(computed, "/results") == R"({"max":100})");
    CHECK(json_at(computed, "/groups") ==
          R"({"":{"":{"max":100}},"a":{"db-1":{"max":9},"db-3":{"max":3},"web-0":{"max":0},"web-2":{"max":6}},)"
          R"("b":{"db-1":{"max":5},"db-3":{"max":11},"web-0":{"max":8},"web-2":{"max":10}}})");
    CHECK(number_at(computed, "/computation_time_ms") >= 0);
}

TEST_CASE("Aligned windows are rows that have every value once") {
    constexpr std::int64_t minute = 60'000;
    constexpr std::int64_t hour = 60 * minute;
    const auto now = now_ms();
    std::string body;
    std::map<std::int64_t, int> per_minute;
    for (int i = 0; i < 2000; ++i) {
        const auto at = now - static_cast<std::int64_t>(i) * 86'000 - 1;
        body += metric("rows", 1, at);
        ++per_minute[at / minute];
    }
    REQUIRE(post_lines(shared(), "/metrics", body).status == 200);
    const std::string from = "&from=" + std::to_string(now - 10 * minute) + "&to=" + std::to_string(now);
    const std::string minutes = get(shared(), "/aggregate?metric=rows&window=1m&agg=count" + from).body;
    const auto first = (now - 10 * minute) / minute;
    int total = 0;
    for (std::int64_t m = first; m <= (now - 1) / minute; ++m) {
        const std::string row = "/series/" + std::to_string(m - first);
        CHECK(number_at(minutes, row + "/aggregations/count") == per_minute[m]);
        CHECK(json_at(minutes, row + "/from").substr(17, 5) == ":00Z\"");
        total += per_minute[m];
    }
    CHECK(json_at(minutes, "/series/12").rfind("(nothing", 0) == 0);
    CHECK(number_at(minutes, "/aggregations/count") == total);
    for (const auto& [window, length] :
         {std::pair("1m", minute), {"5m", 5 * minute}, {"1h", hour}, {"1d", 24 * hour}}) {
        CAPTURE(window);
        // 46 hours: rows of less than an hour become hours beyond the first day.
        const auto begin = (now - 46 * hour) / (24 * hour) * 24 * hour;
        const std::string r = get(shared(), "/aggregate?metric=rows&agg=count&window=" + std::string(window) +
                                                "&from=" + std::to_string(begin))
                                  .body;
        int expected = 0;
        for (const auto& [m, n] : per_minute) expected += m * minute >= begin ? n : 0;
        double sum = 0;
        int rows = 0;
        while (json_at(r, "/series/" + std::to_string(rows)).front() == '{')
            sum += number_at(r, "/series/" + std::to_string(rows++) + "/aggregations/count");
        CHECK(sum == expected);
        CHECK(number_at(r, "/aggregations/count") == expected);
        CHECK(rows >= (now - begin) / (std::max)(length, hour));
        if (length >= hour) CHECK(rows == (now - begin + length - 1) / length);
    }
    // 60 windows if nothing is said; the latest of them, or those with the highest value.
    const std::string latest = get(shared(), "/aggregate?metric=rows&window=1h&agg=count&limit=2").body;
    CHECK(json_at(latest, "/series/1/aggregations/count").size() <= 2);
    CHECK(json_at(latest, "/series/2").rfind("(nothing", 0) == 0);
    const std::string newest =
        get(shared(), "/aggregate?metric=rows&window=1h&agg=count&limit=1&order_by=time:desc").body;
    CHECK(json_at(newest, "/series/0/from") == json_at(latest, "/series/1/from"));
    const std::string oldest = get(shared(), "/aggregate?metric=rows&window=1h&agg=count&order_by=time").body;
    CHECK(json_at(oldest, "/series/59/from") == json_at(latest, "/series/1/from"));
    CHECK(json_at(oldest, "/series/60").rfind("(nothing", 0) == 0);
    const std::string most = get(shared(), "/aggregate?metric=rows&window=1h&agg=count,sum&order_by=sum:desc").body;
    for (int i = 1; i < 60; ++i)
        CHECK(number_at(most, "/series/" + std::to_string(i) + "/aggregations/count") <=
              number_at(most, "/series/" + std::to_string(i - 1) + "/aggregations/count"));
    const std::string grouped = get(shared(), "/aggregate?metric=rows&window=1h&agg=count&group_by=host").body;
    CHECK(json_at(grouped, "/series/30/by_host") == R"({"":)" + json_at(grouped, "/series/30/aggregations") + "}");
}

TEST_CASE("The interval that is covered is stated") {
    const auto now = now_ms() / 1000 * 1000;
    REQUIRE(
        post_lines(shared(), "/metrics", metric("cover", 1, now - 5000) + metric("cover", 2, now - 15'000)).status ==
        200);
    const auto ask_for = [&](std::int64_t from, std::int64_t to) {
        return get(shared(),
                   "/aggregate?metric=cover&agg=sum&from=" + std::to_string(from) + "&to=" + std::to_string(to))
            .body;
    };
    CHECK(number_at(ask_for(now - 15'000, now - 5000), "/aggregations/sum") == 2);
    CHECK(number_at(ask_for(now - 14'000, now - 4000), "/aggregations/sum") == 1);
    CHECK(number_at(ask_for(now - 15'000, now - 4999), "/aggregations/sum") == 3); // whole seconds
    CHECK(number_at(ask_for(now - 14'001, now - 4000), "/aggregations/sum") == 3);
    const std::string r = ask_for(now - 14'001, now - 4000);
    CHECK(json_at(r, "/covered/from").find('.') == std::string::npos);
    CHECK(json_at(post_json(shared(), "/compute",
                            R"({"metric":"cover","aggregations":["sum"],"time_window":{"from":)" +
                                std::to_string(now - 15'000) + R"(,"to":)" + std::to_string(now - 5000) + "}}")
                      .body,
                  "/results") == R"({"sum":2})");
}

TEST_CASE("What is covered ends with the second of now, unless a later time is asked for") {
    const auto now = now_ms();
    REQUIRE(post_lines(shared(), "/metrics", metric("ahead", 1, now) + metric("ahead", 2, now + 240'000)).status ==
            200);
    const auto milliseconds_at = [](const std::string& body, const std::string& pointer) {
        const std::string quoted = json_at(body, pointer);
        const auto at = qsketch_server::parse_instant(std::string_view(quoted).substr(1, quoted.size() - 2));
        REQUIRE(at);
        return at->time_since_epoch().count();
    };
    const std::string ask_for = "/aggregate?metric=ahead&agg=sum";
    const std::string begin = "&from=" + std::to_string(now - 1000);
    for (const std::string& times :
         {std::string("&window=1m"), std::string("&window=5m"), std::string("&window=1h"), std::string("&window=1d"),
          std::string("&window=5m&rolling=true"), begin, "&window=1d" + begin + "&to=" + std::to_string(now)}) {
        CAPTURE(times);
        const std::string r = get(shared(), ask_for + "&order_by=sum:desc" + times).body;
        const auto end = now_ms() / 1000 * 1000 + 1000;
        CHECK(number_at(r, "/aggregations/sum") == 1);
        CHECK(milliseconds_at(r, "/covered/to") <= end);
        CHECK(milliseconds_at(r, "/covered/to") > now);
        if (times.starts_with("&window") && times.find("rolling") == times.npos)
            CHECK(milliseconds_at(r, "/series/0/to") <= end);
    }
    const std::string computed = post_json(shared(), "/compute", R"({"metric":"ahead","aggregations":["sum"]})").body;
    CHECK(number_at(computed, "/results/sum") == 1);
    CHECK(milliseconds_at(computed, "/covered/to") <= now_ms() / 1000 * 1000 + 1000);
    CHECK(milliseconds_at(computed, "/covered/from") < now - 24 * 3'600'000);
    const std::string later =
        get(shared(), ask_for + "&window=1m" + begin + "&to=" + std::to_string(now + 241'000)).body;
    CHECK(number_at(later, "/aggregations/sum") == 3);
    CHECK(milliseconds_at(later, "/covered/to") > now + 240'000);
}

TEST_CASE("Values of tags that hold a comma, a star or a backslash can be told from lists and patterns") {
    const auto now = now_ms();
    REQUIRE(post_lines(shared(), "/metrics",
                       metric("esc", 1, now, R"("host":"a,b")") + metric("esc", 2, now, R"("host":"a")") +
                           metric("esc", 4, now, R"("host":"b")") + metric("esc", 8, now, R"("host":"a*")") +
                           metric("esc", 16, now, R"("host":"a\\b")") + metric("esc", 32, now, R"("host":"a\\")") +
                           metric("esc", 64, now, R"("host":"a\\,b")"))
                .status == 200);
    // %5C is a backslash, %2C a comma.
    for (const auto& [values, sum] : {std::pair("a%5C,b", 1),
                                      {"a,b", 6},
                                      {"a%5C%2Cb", 1},
                                      {"a%5C*", 8},
                                      {"a*", 123},
                                      {"a%5C%5Cb", 16},
                                      {"a%5C%5C,b", 36},
                                      {"a%5C%5C", 32},
                                      {"a%5C", 32},
                                      {"a%5C%5C%5C,b", 64},
                                      {"a%5C%5C*", 112},
                                      {"*%5C,*", 65},
                                      {"*%5C*,*%5C%5Cb", 24},
                                      {"%5Ca", 2},
                                      {"a%5C,*,b", 5}}) {
        CAPTURE(values);
        const std::string all = "/aggregate?metric=esc&window=5m&rolling=true&agg=sum&";
        CHECK(number_at(get(shared(), all + "hosts=" + values).body, "/aggregations/sum") == sum);
        if (std::string_view(values).find("b") == std::string_view::npos)
            CHECK(number_at(get(shared(), all + "tags=host:" + values).body, "/aggregations/sum") == sum);
    }
    CHECK(number_at(get(shared(), "/aggregate?metric=esc&window=5m&rolling=true&agg=sum&tags=host:a%5C,b,host:b").body,
                    "/aggregations/sum") == 5);
}

TEST_CASE("Groups can be ordered by a figure and by a tag of the same name") {
    const auto now = now_ms();
    REQUIRE(post_lines(shared(), "/metrics",
                       metric("names", 1, now, R"("count":"x","value":"1")") +
                           metric("names", 2, now, R"("count":"z","value":"2")") +
                           metric("names", 3, now, R"("count":"y","value":"3")") +
                           metric("names", 4, now, R"("count":"y","value":"3")"))
                .status == 200);
    const auto ordered = [](const std::string& by, const std::string& tag) {
        return keys_at(get(shared(), "/aggregate?metric=names&window=5m&rolling=true&agg=count,sum&group_by=" + tag +
                                         "&order_by=" + by)
                           .body,
                       "/by_" + tag);
    };
    CHECK(ordered("count:desc", "count") == "y,x,z");
    CHECK(ordered("by_count:desc", "count") == "z,y,x");
    CHECK(ordered("by_count", "count") == "x,y,z");
    CHECK(ordered("value:desc", "value") == "3,1,2");
    CHECK(ordered("by_value:desc", "value") == "3,2,1");
    CHECK(get(shared(), "/aggregate?metric=names&window=5m&group_by=value&order_by=by_count").status == 400);
}

TEST_CASE("Inserts come as JSON or as bytes, and their average is over all of them") {
    const directory place;
    const std::vector<std::string> flags = {"--data-dir=" + place.path(), "--durability=commit"};
    {
        const server s(flags);
        const auto p = s.port();
        CHECK(get(p, "/analytics").body ==
              R"({"average":null,"is_partial":false,"total_nodes":1,"responding_nodes":1})");
        CHECK(get(p, "/analytics", "Accept: application/octet-stream\r\n").status == 204);
        CHECK(post_json(p, "/compute", "{}").body == R"({"average":null,"count":0})");
        const reply one = post_json(p, "/insert", R"({"partition_key":"a","value":1,"metadata":{"x":[1,{}]}})");
        CHECK(json_at(one.body, "/success") == "true");
        CHECK(number_at(one.body, "/partition") < 64);
        CHECK(json_at(one.body, "/storage_size").back() == '"');
        CHECK(json_at(post_json(p, "/insert", R"({"partition_key":"a","value":1})").body, "/partition") ==
              json_at(one.body, "/partition"));
        const reply bytes = post_bytes(p, "/insert", record("a", 4) + record("b", 10));
        CHECK(json_at(bytes.body, "/success") == "true");
        CHECK(json_at(bytes.body, "/partition") == json_at(one.body, "/partition"));
        CHECK(json_at(bytes.body, "/accepted") == "2");
        CHECK(post_lines(p, "/insert",
                         R"({"partition_key":"b","value":9})"
                         "\n"
                         R"({"partition_key":"b"})")
                  .status == 200);
        REQUIRE(post_json(p, "/metrics", R"({"key":"a","value":1000})").status == 200); // is no insert
        CHECK(json_at(get(p, "/analytics").body, "/average") == "5");
    }
    const server again(flags);
    const auto p = again.port();
    CHECK(json_at(get(p, "/analytics").body, "/average") == "5");
    CHECK(post_json(p, "/compute", "{}").body == R"({"average":5,"count":5})");
    const reply eight = get(p, "/analytics", "Accept: application/octet-stream\r\n");
    CHECK(eight.header("content-type") == "application/octet-stream");
    CHECK(eight.body == record("", 5).substr(8));
    CHECK(json_at(post_json(p, "/compute", R"({"metric":"a","aggregations":["count","max"]})").body, "/results") ==
          R"({"count":4,"max":1000})");
    CHECK(json_at(post_json(p, "/compute", R"({"metric":"b"})").body, "/results/sum") == "19");
}

TEST_CASE("Bytes that are no records cost what cannot be told apart from them") {
    const auto p = shared();
    const std::string good = record("bytes", 2);
    const auto check = [&](const std::string& body, int status, const char* accepted, const char* rejected,
                           const char* first) {
        CAPTURE(body.size(), first);
        const reply r = post_bytes(p, "/insert", body);
        CHECK(r.status == status);
        CHECK(json_at(r.body, "/accepted") == accepted);
        CHECK(json_at(r.body, "/rejected") == rejected);
        CHECK(json_at(r.body, "/success") == (status == 200 ? "true" : "false"));
        CHECK(json_at(r.body, "/errors/0/error").find(first) != std::string::npos);
    };
    check(good + record("bad key", 1) + good, 200, "2", "1", "bad key");
    check(good + record("nan", std::nan("")) + record("inf", -INFINITY) + good, 200, "2", "2", "nan");
    check(good + good.substr(0, good.size() - 1) + good.substr(good.size() - 1), 200, "2", "0", "(nothing");
    check(good + good.substr(0, good.size() - 1), 200, "1", "1", "record");
    check(good.substr(0, 7), 400, "0", "1", "cut off after 7 bytes");
    check(record("", 1), 400, "0", "1", "key");
    check(record(std::string(257, 'k'), 1), 400, "0", "1", "256");
    check(std::string(64, '\xff'), 400, "0", "1", "18446744073709551615");
    CHECK(json_at(post_bytes(p, "/insert", good + record("bad key", 1)).body, "/errors/0/line") == "2");
    CHECK(post_bytes(p, "/insert", "").status == 400);
}

TEST_CASE("Metrics outlive the process, with the same answers") {
    const directory place;
    const std::vector<std::string> flags = {"--data-dir=" + place.path(), "--durability=commit"};
    const auto now = now_ms();
    const std::string question = "/aggregate?metric=load&from=" + std::to_string(now - 3'000'000) +
                                 "&to=" + std::to_string(now) + "&group_by=host,datacenter&order_by=p50:desc";
    std::string before;
    {
        const server s(flags);
        std::string body;
        for (int i = 0; i < 3000; ++i)
            body += metric("load", i * 7919 % 3001, now - i * 1000 - 1,
                           tags("d" + std::to_string(i % 2), "h" + std::to_string(i % 7)));
        REQUIRE(post_lines(s.port(), "/metrics", body).status == 200);
        before = get(s.port(), question).body;
        CHECK(number_at(before, "/aggregations/count") == 3000);
        s.signal(SIGKILL);
    }
    const server s(flags);
    CHECK(get(s.port(), question).body == before);
}

TEST_CASE("Beyond --max-series new series are refused while old ones go on") {
    const server s({"--max-series=2"});
    const auto p = s.port();
    const auto now = now_ms();
    REQUIRE(post_json(p, "/metrics", metric("m", 1, now, tags("a", "x"))).status == 200);
    REQUIRE(post_json(p, "/metrics", metric("m", 1, now, tags("a", "y"))).status == 200);
    const reply refused = post_json(p, "/metrics", metric("m", 1, now, tags("a", "z")));
    CHECK(refused.status == 429);
    CHECK(json_at(refused.body, "/code") == R"("CARDINALITY_LIMIT")");
    const reply batch = post_lines(p, "/metrics",
                                   metric("m", 1, now, tags("a", "z")) + metric("m", 2, now, tags("a", "y")) +
                                       metric("n", 1, now) + metric("m", 5, now, tags("a", "x")));
    CHECK(json_at(batch.body, "/accepted") == "2");
    CHECK(json_at(batch.body, "/errors/0/line") == "1");
    CHECK(json_at(batch.body, "/errors/1/line") == "3");
    CHECK(post_json(p, "/insert", R"({"partition_key":"n","value":1})").status == 429);
    CHECK(post_bytes(p, "/insert", record("n", 1)).status == 400);
    CHECK(json_at(get(p, "/analytics").body, "/average") == "null");
    // Samples have room of their own.
    CHECK(post_json(p, "/samples", R"({"key":"k","value":1})").status == 200);
    CHECK(json_at(get(p, "/aggregate?metric=m&window=1h&rolling=1&agg=sum,count").body, "/aggregations") ==
          R"({"sum":9,"count":4})");
}
