#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <string>

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s({"--max-body=64KiB"});
    return s.port();
}

std::string now() { return std::to_string(now_ms()); }

} // namespace

TEST_CASE("All parameters that are missing are named in the details") {
    const reply r = get(shared(), "/quantile?key=k");
    CHECK(json_at(r.body, "/error") == R"("Missing key, q or window")");
    CHECK(json_at(r.body, "/details/fields/0/field") == R"("q")");
    CHECK(json_at(r.body, "/details/fields/1/field") == R"("window")");
}

TEST_CASE("In a batch mistakes cost their lines only") {
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

TEST_CASE("Numbers too small for doubles are 0, in a query as in a body") {
    CHECK(post_json(shared(), "/samples", R"({"key":"least","value":1e-400})").status == 200);
    for (const char* value : {"1e-400", "-1e-400", "0"}) {
        const reply r = get(shared(), "/frequency?key=least&window=60&value=" + std::string(value));
        CHECK(r.status == 200);
        CHECK(json_at(r.body, "/estimate") == "1");
    }
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
