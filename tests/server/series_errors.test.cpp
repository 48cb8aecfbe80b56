#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <string>
#include <vector>

// What families B and D refuse: status, code and the field that is named, one row a mistake.

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s;
    return s.port();
}

struct row {
    const char* method;
    std::string target;
    std::string body;
    int status;
    const char* code;
    const char* field; ///< In details.fields; empty if the mistake is none of a field's.
};

const char* const validation = "VALIDATION_ERROR";
const char* const invalid = "INVALID_REQUEST";
const char* const absent = "NOT_FOUND";

std::vector<row> mistakes() {
    const std::string metric = R"("key":"m","value":1)";
    const std::string long_name(257, 'n');
    const std::string later = std::to_string(now_ms() + 400'000);
    const std::string sent = "/v1/sketches/k/merge?";
    const std::string time = "timestamp=" + std::to_string(now_ms());
    std::string many_tags;
    for (int i = 0; i < 17; ++i) many_tags += (i == 0 ? "" : ",") + ("\"t" + std::to_string(i)) + "\":\"v\"";
    std::string many_aggregations = "p1";
    for (int i = 2; i < 35; ++i) many_aggregations += ",p" + std::to_string(i);
    const auto aggregate = [](const std::string& more) { return "/aggregate?metric=m&" + more; };
    const std::string hour = "window=1h&";
    return {
        // POST /metrics
        {"POST", "/metrics", "", 400, invalid, ""},
        {"POST", "/metrics", "[1", 400, invalid, ""},
        {"POST", "/metrics", "7", 400, validation, "event"},
        {"POST", "/metrics", "{}", 400, validation, "key"},
        {"POST", "/metrics", R"({"value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":7,"value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":"","value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":"a b","value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":"a/b","value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":"a\u0000","value":1})", 400, validation, "key"},
        {"POST", "/metrics", "{\"key\":\"\xc3\xa9\",\"value\":1}", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":")" + long_name + R"(","value":1})", 400, validation, "key"},
        {"POST", "/metrics", R"({"key":"m"})", 400, validation, "value"},
        {"POST", "/metrics", R"({"key":"m","value":"1"})", 400, validation, "value"},
        {"POST", "/metrics", R"({"key":"m","value":null})", 400, validation, "value"},
        {"POST", "/metrics", R"({"key":"m","value":1e999})", 400, validation, "value"},
        {"POST", "/metrics", R"({"key":"m","value":[1]})", 400, validation, "value"},
        {"POST", "/metrics", R"({"key":"m","value":1,"value":2})", 400, validation, "value"},
        {"POST", "/metrics", "{" + metric + R"(,"timestamp":"soon"})", 400, validation, "timestamp"},
        {"POST", "/metrics", "{" + metric + R"(,"timestamp":1.5})", 400, validation, "timestamp"},
        {"POST", "/metrics", "{" + metric + R"(,"timestamp":null})", 400, validation, "timestamp"},
        {"POST", "/metrics", "{" + metric + R"(,"timestamp":0})", 400, validation, "timestamp"},
        {"POST", "/metrics", "{" + metric + R"(,"timestamp":)" + later + "}", 400, validation, "timestamp"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":"a"})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":["a"]})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":null})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"":"v"}})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a b":"v"}})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{")" + long_name + R"(":"v"}})", 400, validation, "tags"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":1}})", 400, validation, "tags.a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":""}})", 400, validation, "tags.a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":"x\n"}})", 400, validation, "tags.a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":{"b":"c"}}})", 400, validation, "tags.a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":")" + long_name + R"("}})", 400, validation, "tags.a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{"a":"1","a":"2"}})", 400, validation, "a"},
        {"POST", "/metrics", "{" + metric + R"(,"tags":{)" + many_tags + "}}", 400, validation, "tags"},
        // POST /insert
        {"POST", "/insert", "", 400, invalid, ""},
        {"POST", "/insert", R"({"value":1})", 400, validation, "partition_key"},
        {"POST", "/insert", R"({"partition_key":"a b","value":1})", 400, validation, "partition_key"},
        {"POST", "/insert", R"({"partition_key":["a"],"value":1})", 400, validation, "partition_key"},
        {"POST", "/insert", R"({"partition_key":"a"})", 400, validation, "value"},
        {"POST", "/insert", R"({"partition_key":"a","value":true})", 400, validation, "value"},
        {"POST", "/insert", R"({"partition_key":"a","value":1,"timestamp":-1})", 400, validation, "timestamp"},
        {"POST", "/insert", R"({"partition_key":"a","value":1,"metadata":"x"})", 400, validation, "metadata"},
        {"POST", "/insert", R"({"partition_key":"a","value":1,"metadata":null})", 400, validation, "metadata"},
        // GET /aggregate
        {"GET", "/aggregate", "", 400, validation, "metric"},
        {"GET", "/aggregate?metric=&window=1h", "", 400, validation, "metric"},
        {"GET", "/aggregate?metric=a%20b&window=1h", "", 400, validation, "metric"},
        {"GET", "/aggregate?metric=nothing&window=1h", "", 404, absent, ""},
        {"GET", aggregate(""), "", 400, validation, "from"},
        {"GET", aggregate("to=" + std::to_string(now_ms())), "", 400, validation, "from"},
        {"GET", aggregate("from=yesterday"), "", 400, validation, "from"},
        {"GET", aggregate("from=0"), "", 400, validation, "from"},
        {"GET", aggregate("from=" + later), "", 400, validation, "from"},
        {"GET", aggregate("from=" + std::to_string(now_ms()) + "&to=" + std::to_string(now_ms() - 1000)), "", 400,
         validation, "from"},
        {"GET", aggregate("from=" + std::to_string(now_ms() - 1000) + "&to=x"), "", 400, validation, "to"},
        {"GET", aggregate("from=" + std::to_string(now_ms() - 1000) + "&to=" + later), "", 400, validation, "to"},
        {"GET", aggregate("window=2m"), "", 400, validation, "window"},
        {"GET", aggregate("window="), "", 400, validation, "window"},
        {"GET", aggregate(hour + "rolling=maybe"), "", 400, validation, "rolling"},
        {"GET", aggregate("rolling=true"), "", 400, validation, "rolling"},
        {"GET", aggregate(hour + "rolling=true&from=" + std::to_string(now_ms() - 1000)), "", 400, validation, "from"},
        {"GET", aggregate(hour + "agg=median"), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg="), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg=avg,"), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg=p101"), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg=p-1"), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg=pnan"), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "agg=" + many_aggregations), "", 400, validation, "agg"},
        {"GET", aggregate(hour + "tags=host"), "", 400, validation, "tags"},
        {"GET", aggregate(hour + "tags=:x"), "", 400, validation, "tags"},
        {"GET", aggregate(hour + "tags=host:"), "", 400, validation, "tags"},
        {"GET", aggregate(hour + "tags=a%20b:c"), "", 400, validation, "tags"},
        {"GET", aggregate(hour + "tags="), "", 400, validation, "tags"},
        {"GET", aggregate(hour + "hosts="), "", 400, validation, "hosts"},
        {"GET", aggregate(hour + "hosts=a,,b"), "", 400, validation, "hosts"},
        {"GET", aggregate(hour + "datacenters=,"), "", 400, validation, "datacenters"},
        {"GET", aggregate(hour + "group_by="), "", 400, validation, "group_by"},
        {"GET", aggregate(hour + "group_by=a%20b"), "", 400, validation, "group_by"},
        {"GET", aggregate(hour + "group_by=a,a"), "", 400, validation, "group_by"},
        {"GET", aggregate(hour + "group_by=a,b,c,d,e"), "", 400, validation, "group_by"},
        {"GET", aggregate(hour + "order_by=name"), "", 400, validation, "order_by"},
        {"GET", aggregate(hour + "order_by=value:up"), "", 400, validation, "order_by"},
        {"GET", aggregate(hour + "agg=avg&order_by=max"), "", 400, validation, "order_by"},
        {"GET", aggregate(hour + "group_by=a&order_by=time"), "", 400, validation, "order_by"},
        {"GET", aggregate(hour + "limit=0"), "", 400, validation, "limit"},
        {"GET", aggregate(hour + "limit=10001"), "", 400, validation, "limit"},
        {"GET", aggregate(hour + "limit=x"), "", 400, validation, "limit"},
        {"POST", aggregate(hour), "{}", 405, "METHOD_NOT_ALLOWED", ""},
        // POST /compute
        {"POST", "/compute", "", 400, invalid, ""},
        {"POST", "/compute", "[{}]", 400, invalid, ""},
        {"POST", "/compute", "7", 400, validation, "event"},
        {"POST", "/compute", R"({"metric":7})", 400, validation, "metric"},
        {"POST", "/compute", R"({"metric":"a b"})", 400, validation, "metric"},
        {"POST", "/compute", R"({"metric":"nothing"})", 404, absent, ""},
        {"POST", "/compute", R"({"metric":"m","aggregations":"avg"})", 400, validation, "aggregations"},
        {"POST", "/compute", R"({"metric":"m","aggregations":[1]})", 400, validation, "aggregations"},
        {"POST", "/compute", R"({"metric":"m","aggregations":["median"]})", 400, validation, "aggregations"},
        {"POST", "/compute", R"({"metric":"m","group_by":"host"})", 400, validation, "group_by"},
        {"POST", "/compute", R"({"metric":"m","group_by":[""]})", 400, validation, "group_by"},
        {"POST", "/compute", R"({"metric":"m","group_by":["a","a"]})", 400, validation, "group_by"},
        {"POST", "/compute", R"({"metric":"m","time_window":7})", 400, validation, "time_window"},
        {"POST", "/compute", R"({"metric":"m","time_window":{}})", 400, validation, "time_window.from"},
        {"POST", "/compute", R"({"metric":"m","time_window":{"from":0}})", 400, validation, "time_window.from"},
        {"POST", "/compute", R"({"metric":"m","time_window":{"from":")" + std::to_string(now_ms()) + R"("}})", 400,
         validation, "time_window.to"},
        {"POST", "/compute",
         R"({"metric":"m","time_window":{"from":)" + std::to_string(now_ms()) + R"(,"to":)" +
             std::to_string(now_ms() - 5000) + "}}",
         400, validation, "time_window.from"},
        {"POST", "/compute", R"({"metric":"m","time_window":{"from":1,"from":2}})", 400, validation, "from"},
        // Sketches
        {"GET", "/v1/sketches/k", "", 400, validation, "window"},
        {"GET", "/v1/sketches/k?window=0", "", 400, validation, "window"},
        {"GET", "/v1/sketches/k?window=86401", "", 400, validation, "window"},
        {"GET", "/v1/sketches/none?window=60", "", 404, absent, ""},
        {"GET", "/v1/sketches/%00?window=60", "", 400, validation, "key"},
        {"GET", "/v1/sketches/?window=60", "", 404, absent, ""},
        {"PUT", "/v1/sketches/k", "x", 405, "METHOD_NOT_ALLOWED", ""},
        {"PUT", "/v1/sketches//merge", "x", 405, "METHOD_NOT_ALLOWED", ""}, // the key "/merge", which may be asked for
        {"PUT", "/v1/sketches/%07/merge", "x", 400, validation, "key"},
        {"PUT", sent + "timestamp=0", "x", 400, validation, "timestamp"},
        {"PUT", sent + "timestamp=" + later, "x", 400, validation, "timestamp"},
        {"PUT", sent + time + "&incarnation=1", "x", 400, validation, "node"},
        {"PUT", sent + time + "&sequence=1", "x", 400, validation, "node"},
        {"PUT", sent + time + "&node=&incarnation=1&sequence=1", "x", 400, validation, "node"},
        {"PUT", sent + time + "&node=%ff&incarnation=1&sequence=1", "x", 400, validation, "node"},
        {"PUT", sent + time + "&node=" + std::string(256, 'n') + "&incarnation=1&sequence=1", "x", 400, validation,
         "node"},
        {"PUT", sent + "node=n&incarnation=1&sequence=1", "x", 400, validation, "timestamp"},
        {"PUT", sent + time + "&node=n&sequence=1", "x", 400, validation, "incarnation"},
        {"PUT", sent + time + "&node=n&incarnation=-1&sequence=1", "x", 400, validation, "incarnation"},
        {"PUT", sent + time + "&node=n&incarnation=1", "x", 400, validation, "sequence"},
        {"PUT", sent + time + "&node=n&incarnation=1&sequence=1.5", "x", 400, validation, "sequence"},
        {"PUT", sent + time, "x", 400, invalid, ""},
    };
}

std::string state(std::uint16_t port) {
    return get(port, "/aggregate?metric=m&window=1d&agg=count").body + get(port, "/keys").body +
           get(port, "/analytics").body;
}

} // namespace

TEST_CASE("Mistakes in samples' sketches and in metrics are told by status, code and field, and change nothing") {
    const auto p = shared();
    REQUIRE(post_json(p, "/metrics", R"({"key":"m","value":1})").status == 200);
    const std::string before = state(p);
    const auto rows = mistakes();
    CHECK(rows.size() >= 80);
    for (const row& r : rows) {
        INFO(r.method << " " << r.target.substr(0, 100) << " " << r.body.substr(0, 100));
        const bool bytes = std::string(r.method) == "PUT";
        const reply got =
            ask(p, r.method, r.target, r.body,
                bytes ? "Content-Type: application/octet-stream\r\n" : "Content-Type: application/json\r\n");
        CHECK(got.status == r.status);
        CHECK(json_at(got.body, "/error") == "true");
        CHECK(json_at(got.body, "/code") == '"' + std::string(r.code) + '"');
        if (*r.field == '\0')
            CHECK(json_at(got.body, "/details/fields").rfind("(nothing", 0) == 0);
        else
            CHECK(json_at(got.body, "/details/fields/0/field") == '"' + std::string(r.field) + '"');
    }
    CHECK(state(p) == before);
}

TEST_CASE("In a batch the same mistakes cost their lines only") {
    const auto p = shared();
    const std::string good = R"({"key":"batch","value":1})";
    const reply r =
        post_json(p, "/metrics", "[" + good + R"(,{"key":"batch","value":1,"tags":{"a":1}},7,)" + good + "]");
    CHECK(r.status == 200);
    CHECK(json_at(r.body, "/accepted") == "2");
    CHECK(json_at(r.body, "/errors/0/line") == "2");
    CHECK(json_at(r.body, "/errors/0/error").find("tags.a: must be a string") != std::string::npos);
    CHECK(json_at(r.body, "/errors/1/line") == "3");
    CHECK(post_lines(p, "/metrics", "{}\n\n{\n").status == 400);
}
