#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <string>
#include <vector>

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s({"--max-body=64KiB"});
    return s.port();
}

struct row {
    const char* method;
    std::string target;
    std::string body;
    const char* type; ///< Of the body.
    int status;
    const char* names; ///< What the message has to mention: the field, or the value.
};

const char* const none = "";
const char* const json = "application/json";
const char* const lines = "application/x-ndjson";

std::string now() { return std::to_string(now_ms()); }
std::string fresh() { return "timestamp=" + now(); }
std::string visit(const std::string& fields) { return "{" + fields + "}"; }
std::string ok_time() { return R"("timestamp":)" + now(); }

/// Requests that change nothing, whatever they ask for.
std::vector<row> malformed() {
    const std::string a = "/analytics?";
    const std::string user_click = "&user=u&click";
    const std::string uc = R"(,"user":"u","type":"click")";
    const std::string kv = R"("key":"k","value":1)";
    const std::string long_key(257, 'k');
    const std::string long_user(1025, 'u');
    return {
        // Family A, the query.
        {"POST", a + "user=u&click", "", none, 400, "timestamp"},
        {"POST", a + fresh() + "&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=" + long_user + "&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=%ff&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=%C0%80&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=%ED%A0%80&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=%zz&click", "", none, 400, "%zz"},
        {"POST", a + fresh() + "&user=%4&click", "", none, 400, "%4"},
        {"POST", a + fresh() + "&user=u", "", none, 400, "neither"},
        {"POST", a + fresh() + "&user=u&click&impression", "", none, 400, "both"},
        {"POST", a + fresh() + "&user=u&click=1", "", none, 400, "click"},
        {"POST", a + fresh() + "&user=u&impression=false", "", none, 400, "impression"},
        {"POST", a + fresh() + "&user=u&user=v&click", "", none, 400, "user"},
        {"POST", a + fresh() + "&user=u&click&click", "", none, 400, "click"},
        {"POST", a + fresh() + "&user=u&=x&click", "", none, 400, "name"},
        {"POST", a + fresh() + user_click, "{}", json, 400, "query"},
        {"POST", a + "timestamp" + user_click, "", none, 400, "timestamp"},
        {"POST", a + "timestamp=abc" + user_click, "", none, 400, "abc"},
        {"POST", a + "timestamp=-1" + user_click, "", none, 400, "-1"},
        {"POST", a + "timestamp=1.5" + user_click, "", none, 400, "1.5"},
        {"POST", a + "timestamp=1e12" + user_click, "", none, 400, "1e12"},
        {"POST", a + "timestamp=0" + user_click, "", none, 400, "retention"},
        {"POST", a + "timestamp=9999999999999999999999" + user_click, "", none, 400, "timestamp"},
        {"POST", a + "timestamp=253402300800000" + user_click, "", none, 400, "timestamp"},
        {"POST", a + "timestamp=2024-02-30T00:00:00Z" + user_click, "", none, 400, "2024-02-30"},
        {"POST", a + "timestamp=2023-02-29" + user_click, "", none, 400, "2023-02-29"},
        {"POST", a + "timestamp=2024-13-01T00:00:00Z" + user_click, "", none, 400, "2024-13"},
        {"POST", a + "timestamp=2024-01-20T24:00:00Z" + user_click, "", none, 400, "T24"},
        {"POST", a + "timestamp=2024-01-20T15:60:00Z" + user_click, "", none, 400, ":60"},
        {"POST", a + "timestamp=2024-01-20T15:30:00Zjunk" + user_click, "", none, 400, "junk"},
        {"POST", a + "timestamp=2024-01-20T15:30:00%2B24:00" + user_click, "", none, 400, "24:00"},
        {"POST", a + "timestamp=2024-01-20T15:30:00Z" + user_click, "", none, 400, "retention"},
        {"POST", a + "timestamp=9999-12-31T23:59:59Z" + user_click, "", none, 400, "5 minutes"},
        {"POST", a + "timestamp=" + std::to_string(now_ms() + 400'000) + user_click, "", none, 400, "5 minutes"},
        {"GET", a + "timestamp=x", "", none, 400, "timestamp"},
        {"GET", a + "timestamp=0", "", none, 400, "retention"},
        {"GET", "/analytics/perworker", "", none, 400, "timestamp"},
        {"GET", "/analytics/allslices?timestamp=x", "", none, 400, "timestamp"},
        {"POST", "/worker?user=u&click", "", none, 400, "slice"},
        {"POST", "/worker?slice=x&user=u&click", "", none, 400, "slice"},
        {"POST", "/worker?slice=0&user=u&click", "", none, 400, "slice"},
        {"POST", "/worker?slice=99999999999999999999&user=u&click", "", none, 400, "slice"},
        {"POST", "/worker?slice=" + std::to_string(now_ms() / 3'600'000) + "&user=u", "", none, 400, "click"},
        {"POST", "/worker?slice=" + std::to_string(now_ms() / 3'600'000) + "&click", "", none, 400, "user"},
        {"POST", "/worker?slice=" + std::to_string(now_ms() / 3'600'000 + 2) + "&user=u&click", "", none, 400, "slice"},
        {"GET", "/worker", "", none, 400, "slice"},
        {"GET", "/workers?slice=1.0", "", none, 400, "slice"},
        // Family A, the body.
        {"POST", "/analytics", "", none, 400, "empty"},
        {"POST", "/analytics", " \n", json, 400, "empty"},
        {"POST", "/analytics", "{", json, 400, "JSON"},
        {"POST", "/analytics", "{}{}", json, 400, "JSON"},
        {"POST", "/analytics", "\xff", json, 400, "JSON"},
        {"POST", "/analytics", "nul", json, 400, "JSON"},
        {"POST", "/analytics", "7", json, 400, "object"},
        {"POST", "/analytics", "\"text\"", json, 400, "object"},
        {"POST", "/analytics", "{}", json, 400, "timestamp"},
        {"POST", "/analytics", visit(ok_time() + R"(,"type":"click")"), json, 400, "user"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":"u")"), json, 400, "type"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":7,"type":"click")"), json, 400, "user"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":null,"type":"click")"), json, 400, "user"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":"","type":"click")"), json, 400, "user"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":"u","type":"Click")"), json, 400, "Click"},
        {"POST", "/analytics", visit(ok_time() + R"(,"user":"u","type":true)"), json, 400, "type"},
        {"POST", "/analytics", visit(ok_time() + "," + ok_time() + uc), json, 400, "twice"},
        {"POST", "/analytics", visit(ok_time() + uc + R"(,"user":"v")"), json, 400, "twice"},
        {"POST", "/analytics", visit(ok_time() + uc + R"(,"type":"click")"), json, 400, "twice"},
        {"POST", "/analytics", visit(ok_time() + uc + R"(,"x":tru)"), json, 400, "JSON"},
        {"POST", "/analytics", visit(R"("timestamp":)" + now() + ".0" + uc), json, 400, "timestamp"},
        {"POST", "/analytics", visit(R"("timestamp":[])" + uc), json, 400, "array"},
        {"POST", "/analytics", visit(R"("timestamp":"")" + uc), json, 400, "timestamp"},
        {"POST", "/analytics", visit(R"("timestamp":-5)" + uc), json, 400, "-5"},
        {"POST", "/analytics", visit(R"("timestamp":99999999999999999999)" + uc), json, 400,
         "got 99999999999999999999"},
        {"POST", "/analytics", "[]", json, 400, "accepted"},
        {"POST", "/analytics", "[1,2]", json, 400, "object"},
        {"POST", "/analytics", "[{},", json, 400, "JSON"},
        {"POST", "/analytics", "{}\n[]\n", lines, 400, "rejected"},
        {"POST", "/analytics", "{}", "text/xml", 415, "text/xml"},
        {"POST", "/analytics", "{}", "multipart/form-data; boundary=x", 415, "multipart"},
        // Family B.
        {"POST", "/samples", "", json, 400, "empty"},
        {"POST", "/samples", "[", json, 400, "JSON"},
        {"POST", "/samples", std::string("{\"key\":\"k\0\",\"value\":1}", 21), json, 400, "JSON"},
        {"POST", "/samples", std::string(2000, '['), json, 400, "JSON"},
        {"POST", "/samples", "null", json, 400, "object"},
        {"POST", "/samples", R"({"value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":"k"})", json, 400, "value"},
        {"POST", "/samples", R"({"key":"","value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":")" + long_key + R"(","value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":"a\nb","value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":"a\u0000b","value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":"\ud800","value":1})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":["k"],"value":1})", json, 400, "key"},
        {"POST", "/samples", R"({"key":"k","value":"1"})", json, 400, "value"},
        {"POST", "/samples", R"({"key":"k","value":null})", json, 400, "value"},
        {"POST", "/samples", R"({"key":"k","value":true})", json, 400, "true"},
        {"POST", "/samples", R"({"key":"k","value":NaN})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":Infinity})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":1e999})", json, 400, "value: must be a finite number, got 1e999"},
        {"POST", "/samples", R"({"key":"k","value":-1e999})", json, 400, "finite number, got -1e999"},
        {"POST", "/samples", R"({"key":1e999,"value":1})", json, 400, "key: must be a string, got 1e999"},
        {"POST", "/samples", R"({"key":99999999999999999999,"value":1})", json, 400, "got 99999999999999999999"},
        {"POST", "/samples", "1e999", json, 400, "object, got 1e999"},
        {"POST", "/samples", R"({"key":"k","value":)" + std::string(400, '9') + "}", json, 400, "finite"},
        {"POST", "/samples", R"({"key":"k","value":1e999.5})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":01e999})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":1e999x})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":99999999999999999999 1})", json, 400, "JSON"},
        {"POST", "/samples", R"({"key":"k","value":01})", json, 400, "JSON"},
        {"POST", "/samples", visit(kv + R"(,"value":2)"), json, 400, "twice"},
        {"POST", "/samples", visit(kv + R"(,"timestamp":"yesterday")"), json, 400, "yesterday"},
        {"POST", "/samples", visit(kv + R"(,"timestamp":null)"), json, 400, "timestamp"},
        {"POST", "/samples", visit(kv + R"(,"timestamp":1.5)"), json, 400, "timestamp"},
        {"POST", "/samples", visit(kv + R"(,"timestamp":1)"), json, 400, "window-retention"},
        {"POST", "/samples", visit(kv + R"(,"timestamp":"2999-01-01")"), json, 400, "5 minutes"},
        {"POST", "/samples", visit(kv), "text/plain", 415, "text/plain"},
        {"GET", "/quantile", "", none, 400, "Missing key, q or window"},
        {"GET", "/quantile?key=k&q=0.5", "", none, 400, "Missing key, q or window"},
        {"GET", "/quantile?key=k&window=5", "", none, 400, "Missing key, q or window"},
        {"GET", "/quantile?q=0.5&window=5", "", none, 400, "Missing key, q or window"},
        {"GET", "/quantile?key=none&q=0.5&window=5", "", none, 404, "Key not found"},
        {"GET", "/quantile?key=kept&q=1.5&window=5", "", none, 400, "from 0 to 1"},
        {"GET", "/quantile?key=kept&q=-0.1&window=5", "", none, 400, "from 0 to 1"},
        {"GET", "/quantile?key=kept&q=25&window=5", "", none, 400, "25"},
        {"GET", "/quantile?key=kept&q=nan&window=5", "", none, 400, "nan"},
        {"GET", "/quantile?key=kept&q=&window=5", "", none, 400, "q"},
        {"GET", "/quantile?key=kept&q=0.5,&window=5", "", none, 400, "q"},
        {"GET", "/quantile?key=kept&q=0.5x&window=5", "", none, 400, "0.5x"},
        {"GET", "/quantile?key=kept&q=0.5&q=0.6&window=5", "", none, 400, "more than once"},
        {"GET", "/quantile?key=kept&q=0.5&window=0", "", none, 400, "window"},
        {"GET", "/quantile?key=kept&q=0.5&window=-5", "", none, 400, "window"},
        {"GET", "/quantile?key=kept&q=0.5&window=86401", "", none, 400, "86400"},
        {"GET", "/quantile?key=kept&q=0.5&window=1.5", "", none, 400, "window"},
        {"GET", "/quantile?key=kept&q=0.5&window=60s", "", none, 400, "60s"},
        {"GET", "/quantile?key=kept&q=0.5&window=5&detail=yes", "", none, 400, "detail"},
        {"GET", "/quantile?key=&q=0.5&window=5", "", none, 400, "key"},
        {"GET", "/quantile?key=%00&q=0.5&window=5", "", none, 400, "key"},
        {"GET", "/cdf?key=kept&window=5", "", none, 400, "Missing key, value or window"},
        {"GET", "/cdf?key=kept&value=inf&window=5", "", none, 400, "inf"},
        {"GET", "/cdf?key=kept&value=1e999&window=5", "", none, 400, "value"},
        {"GET", "/cdf?key=none&value=1&window=5", "", none, 404, "Key not found"},
        {"GET", "/frequency?key=kept", "", none, 400, "Missing key, value or window"},
        {"GET", "/frequency?key=kept&value=x&window=5", "", none, 400, "value"},
        {"GET", "/frequency?key=none&value=1&window=5", "", none, 404, "Key not found"},
        {"GET", "/topk?window=5", "", none, 400, "Missing key or window"},
        {"GET", "/topk?key=kept&k=0&window=5", "", none, 400, "k"},
        {"GET", "/topk?key=kept&k=101&window=5", "", none, 400, "100"},
        {"GET", "/keys?limit=0", "", none, 400, "limit"},
        {"GET", "/keys?limit=x", "", none, 400, "limit"},
        {"DELETE", "/keys/none", "", none, 404, "Key not found"},
        {"DELETE", "/keys/%00", "", none, 400, "key"},
        {"DELETE", "/keys/%f", "", none, 400, "%f"},
        // Neither.
        {"GET", "/nothing", "", none, 404, "/nothing"},
        {"POST", "/", "{}", json, 405, "GET"},
        {"GET", "//", "", none, 404, "//"},
        {"GET", "/analytics/", "", none, 404, "/analytics/"},
        {"GET", "/Analytics?timestamp=1", "", none, 404, "Analytics"},
        {"DELETE", "/keys/", "", none, 404, "/keys/"},
        {"DELETE", "/analytics", "", none, 405, "GET, HEAD"},
        {"PUT", "/samples", "{}", json, 405, "POST"},
        {"GET", "/samples", "", none, 405, "POST"},
        {"POST", "/quantile", "{}", json, 405, "GET"},
        {"BREW", "/health", "", none, 405, "BREW"},
    };
}

std::string state(std::uint16_t port) {
    return get(port, "/analytics/allslices").body + get(port, "/keys").body +
           get(port, "/quantile?key=kept&q=0,0.5,1&window=80000").body;
}

} // namespace

TEST_CASE("Malformed requests are told what is wrong with them and change nothing") {
    REQUIRE(post_json(shared(), "/samples", R"({"key":"kept","value":4})").status == 200);
    REQUIRE(ask(shared(), "POST", "/analytics?" + fresh() + "&user=u&click").status == 202);
    const std::string before = state(shared());
    for (const row& r : malformed()) {
        INFO(r.method << " " << r.target.substr(0, 100) << " " << r.body.substr(0, 100));
        const reply got = ask(shared(), r.method, r.target, r.body,
                              *r.type == '\0' ? "" : std::string("Content-Type: ") + r.type + "\r\n");
        CHECK(got.status == r.status);
        CHECK(got.body.find(r.names) != got.body.npos);
        CHECK(got.header("content-type") == "application/json");
        CHECK_FALSE(got.header("x-request-id").empty());
        if (json_at(got.body, "/accepted") == "0") continue; // a batch has its own form
        const bool sentence = json_at(got.body, "/error") != "true";
        const std::string path = r.target.substr(0, r.target.find('?'));
        const bool family_b = path.rfind("/samples", 0) == 0 || path == "/quantile" || path == "/cdf" ||
                              path == "/frequency" || path == "/topk" || path == "/keys" ||
                              (path.rfind("/keys/", 0) == 0 && path != "/keys/");
        CHECK(sentence == family_b);
        CHECK(json_at(got.body, "/code").size() > 5);
        CHECK(json_at(got.body, "/details").front() == '{');
        CHECK((json_at(got.body, "/message").rfind("(nothing", 0) == 0) == family_b);
    }
    CHECK(state(shared()) == before);
    CHECK(malformed().size() >= 80);
}

TEST_CASE("The field that is wrong is named in the details") {
    const reply a = ask(shared(), "POST", "/analytics?timestamp=soon&user=u&click");
    CHECK(json_at(a.body, "/code") == R"("VALIDATION_ERROR")");
    CHECK(json_at(a.body, "/details/fields/0/field") == R"("timestamp")");
    const reply b = get(shared(), "/quantile?key=k");
    CHECK(json_at(b.body, "/error") == R"("Missing key, q or window")");
    CHECK(json_at(b.body, "/details/fields/1/field") == R"("window")");
}

TEST_CASE("Numbers beyond 64 bits are doubles, and one beyond doubles costs its own line only") {
    const auto p = shared();
    CHECK(post_json(p, "/samples", R"({"key":"wide","value":10000000000000000000000000})").status == 200);
    CHECK(number_at(get(p, "/quantile?key=wide&q=1&window=60").body, "/estimate") == 1e25);
    CHECK(post_json(p, "/samples", R"({"key":"low","value":-9223372036854775809})").status == 200);
    CHECK(number_at(get(p, "/quantile?key=low&q=0&window=60").body, "/estimate") == -9223372036854775808.0);
    CHECK(post_json(p, "/samples", R"({"key":"tiny","value":1e-999,"n":1e999})").status == 200);
    CHECK(number_at(get(p, "/quantile?key=tiny&q=0&window=60").body, "/estimate") == 0);
    // 2^63 and 2^64 - 1 are no int64 and stay themselves beside a number that is refused.
    CHECK(post_json(p, "/samples", R"([{"key":"u","value":18446744073709551615,"x":["1e999\"",1e999]}])").status ==
          200);
    CHECK(number_at(get(p, "/quantile?key=u&q=1&window=60").body, "/estimate") == 18446744073709551615.0);
    CHECK(post_json(p, "/samples", R"({"key":"v","value":9223372036854775808})").status == 200);
    CHECK(number_at(get(p, "/quantile?key=v&q=1&window=60").body, "/estimate") == 9223372036854775808.0);
    const std::string good = R"({"key":"some","value":1,"more":99999999999999999999,"in":{"a":[-1e400]}})";
    const std::string bad = R"({"key":"some","value":1e400})";
    for (const reply& r : {post_json(p, "/samples", "[" + good + "," + bad + "," + good + "]"),
                           post_lines(p, "/samples", good + "\n" + bad + "\n" + good + "\n")}) {
        CHECK(r.status == 200);
        CHECK(json_at(r.body, "/accepted") == "2");
        CHECK(json_at(r.body, "/rejected") == "1");
        CHECK(json_at(r.body, "/errors/0/line") == "2");
        CHECK(json_at(r.body, "/errors/0/error") == R"("value: must be a finite number, got 1e400")");
    }
    CHECK(number_at(get(p, "/quantile?key=some&q=1&window=60").body, "/count") == 4);
}

TEST_CASE("Accept asks for JSON by name, unless its weight is zero") {
    const std::string target = "/analytics?timestamp=" + now();
    for (const char* accept : {"application/json", "text/html, application/json;q=0.1", "Application/JSON ; q=1"})
        CHECK(get(shared(), target, std::string("Accept: ") + accept + "\r\n").header("content-type") ==
              "application/json");
    for (const char* accept : {"application/json;q=0", "application/json; q=0.000, text/plain", "application/jsonx"})
        CHECK(get(shared(), target, std::string("Accept: ") + accept + "\r\n").header("content-type") ==
              "text/plain; charset=utf-8");
}

TEST_CASE("Every answer has a request id, the client's own if that is safe to repeat") {
    CHECK(get(shared(), "/health", "X-Request-Id: abc-123\r\n").header("x-request-id") == "abc-123");
    CHECK(get(shared(), "/nothing", "X-Request-Id: abc-123\r\n").header("x-request-id") == "abc-123");
    const reply odd = get(shared(), "/health", "X-Request-Id: a%0d%0aSet-Cookie:b\r\n");
    CHECK(odd.head.find("Set-Cookie") == odd.head.npos);
    CHECK_FALSE(odd.header("x-request-id").empty());
    CHECK(get(shared(), "/health").header("x-request-id") != get(shared(), "/health").header("x-request-id"));
    CHECK(get(shared(), "/health", "X-Request-Id: " + std::string(200, 'x') + "\r\n").header("x-request-id").size() <
          40);
}

TEST_CASE("A method that a path has not got is 405 with the methods it has") {
    const reply r = ask(shared(), "DELETE", "/analytics");
    CHECK(r.status == 405);
    CHECK(r.header("allow") == "POST, GET, HEAD, OPTIONS");
    CHECK(ask(shared(), "GET", "/keys/a").header("allow") == "DELETE, OPTIONS");
}

TEST_CASE("HEAD is GET without the body, OPTIONS is Allow") {
    const reply whole = get(shared(), "/openapi.yaml");
    const reply head = ask(shared(), "HEAD", "/openapi.yaml");
    CHECK(head.status == 200);
    CHECK(head.header("content-length") == std::to_string(whole.body.size()));
    CHECK(ask(shared(), "HEAD", "/quantile?key=x&q=1&window=1").status == 404);
    const reply options = ask(shared(), "OPTIONS", "/samples");
    CHECK(options.status == 204);
    CHECK(options.header("allow") == "POST, OPTIONS");
    CHECK(ask(shared(), "OPTIONS", "*").status == 204);
    CHECK(ask(shared(), "OPTIONS", "/nothing").status == 404);
}

TEST_CASE("A body beyond --max-body is refused, however it is announced") {
    const std::string large(70'000, ' ');
    const reply r = post_json(shared(), "/samples", large);
    CHECK(r.status == 413);
    CHECK(json_at(r.body, "/code") == R"("PAYLOAD_TOO_LARGE")");
    CHECK(json_at(r.body, "/error") != "true");
    CHECK(json_at(post_json(shared(), "/analytics", large).body, "/error") == "true");
    connection chunked(shared());
    chunked.send("POST /analytics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + large +
                 "\r\n0\r\n\r\n");
    CHECK(chunked.receive().status == 413);
    const std::string fits = R"({"key":"kept","value":4})" + std::string(65'536 - 24, ' ');
    CHECK(post_json(shared(), "/samples", fits).status == 200);
}

TEST_CASE("Ranges are not for what is made anew for every request") {
    const reply r = get(shared(), "/openapi.yaml", "Range: bytes=0-3\r\n");
    CHECK(r.status == 200);
    CHECK(r.body.size() > 1000);
}
