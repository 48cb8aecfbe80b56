#include "domain/instant.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s;
    return s.port();
}

std::string sample_json(const std::string& key, double value, std::int64_t at) {
    return R"({"key":")" + key + R"(","value":)" + std::to_string(value) + R"(,"timestamp":)" + std::to_string(at) +
           "}\n";
}

} // namespace

TEST_CASE("A sample is acknowledged and visible to the next request") {
    const auto before = now_ms();
    const reply r = post_json(shared(), "/samples", R"({"key":"one","value":3.25})");
    CHECK(r.status == 200);
    CHECK(json_at(r.body, "/ack") == "true");
    CHECK(number_at(r.body, "/ingestedAt") >= static_cast<double>(before));
    CHECK(number_at(r.body, "/ingestedAt") <= static_cast<double>(now_ms()));
    CHECK(get(shared(), "/quantile?key=one&q=0.5&window=60").body == R"({"estimate":3.25,"count":1})");
    const std::string list = get(shared(), "/quantile?key=one&q=0,0.50,1&window=60").body;
    CHECK(list == R"({"estimates":{"0":3.25,"0.50":3.25,"1":3.25},"count":1})");
}

TEST_CASE("Quantiles and ranks of many samples stay close to the exact ones, count, min and max are exact") {
    const auto now = now_ms();
    std::vector<double> values;
    std::string body;
    std::uint64_t state = 12345;
    for (int i = 0; i < 20'000; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double u = static_cast<double>(state >> 11) / 9007199254740992.0;
        values.push_back(std::round(100'000 * u * u * u) / 100);
        body += sample_json("cubes", values.back(), now - 1000 * (i % 600));
    }
    const reply posted = post_lines(shared(), "/samples", body);
    CHECK(posted.body == R"({"accepted":20000,"rejected":0,"errors":[]})");
    std::sort(values.begin(), values.end());
    const std::string r = get(shared(), "/quantile?key=cubes&q=0.01,0.5,0.99&window=700&detail=1").body;
    CHECK(json_at(r, "/count") == "20000");
    CHECK(number_at(r, "/min") == values.front());
    CHECK(number_at(r, "/max") == values.back());
    for (const auto& [name, q] : {std::pair{"0.01", 0.01}, {"0.5", 0.5}, {"0.99", 0.99}}) {
        const double x = number_at(r, std::string("/estimates/") + name);
        // Equal values share a range of ranks, and any of it will do.
        const auto [first, last] = std::equal_range(values.begin(), values.end(), x);
        CHECK(static_cast<double>(first - values.begin()) / 20'000 < q + 0.005);
        CHECK(static_cast<double>(last - values.begin()) / 20'000 > q - 0.005);
    }
    const std::string c = get(shared(), "/cdf?key=cubes&value=500&window=700").body;
    const auto truth =
        static_cast<double>(std::upper_bound(values.begin(), values.end(), 500.0) - values.begin()) / 20'000;
    CHECK(std::abs(number_at(c, "/rank") - truth) < 0.005);
}

TEST_CASE("A window reaches back from now in the time of the events, and says what it covers") {
    const auto now = now_ms();
    std::string body;
    for (int age = 1; age <= 100; ++age) body += sample_json("ages", age, now - age * 1000);
    CHECK(post_lines(shared(), "/samples", body).status == 200);
    // A sample may be a second or two too old for its window by the time of the query, and the first second of a
    // window is whole.
    const double count = number_at(get(shared(), "/quantile?key=ages&q=1&window=50").body, "/count");
    CHECK(count >= 45);
    CHECK(count <= 51);
    const std::string r = get(shared(), "/quantile?key=ages&q=0&window=3600&detail=1").body;
    CHECK(json_at(r, "/count") == "100");
    const std::string from = json_at(r, "/covered/from");
    const std::string to = json_at(r, "/covered/to");
    const auto begin = qsketch_server::parse_instant(from.substr(1, from.size() - 2));
    const auto end = qsketch_server::parse_instant(to.substr(1, to.size() - 2));
    REQUIRE(begin);
    REQUIRE(end);
    CHECK(*end - *begin == std::chrono::seconds(3601));
    CHECK(end->time_since_epoch().count() >= now);
    CHECK(get(shared(), "/quantile?key=ages&q=0.5&window=1").status == 200);
}

TEST_CASE("An empty window of a known key has null for an answer") {
    CHECK(post_json(shared(), "/samples", sample_json("old", 5, now_ms() - 3'600'000)).status == 200);
    CHECK(get(shared(), "/quantile?key=old&q=0.5&window=60").body == R"({"estimate":null,"count":0})");
    CHECK(get(shared(), "/cdf?key=old&value=5&window=60").body == R"({"rank":null,"count":0})");
    CHECK(get(shared(), "/topk?key=old&window=60").body == R"({"topk":[],"count":0})");
    CHECK(get(shared(), "/quantile?key=old&q=0.5&window=4000").body == R"({"estimate":5,"count":1})");
}

TEST_CASE("Frequent values are counted exactly while they are few, and between bounds that hold beyond") {
    std::string body;
    const auto now = now_ms();
    for (int i = 0; i < 5000; ++i) body += sample_json("mix", i % 5 < 2 ? 42 : i % 5 == 2 ? 7 : i, now - i % 30 * 1000);
    for (int i = 0; i < 60; ++i) body += sample_json("few", i % 4, now);
    CHECK(json_at(post_lines(shared(), "/samples", body).body, "/accepted") == "5060");
    CHECK(get(shared(), "/frequency?key=few&value=3&window=60").body ==
          R"({"estimate":15,"error_bound":0,"confidence":0.99})");
    const std::string f = get(shared(), "/frequency?key=mix&value=42&window=60").body;
    CHECK(number_at(f, "/estimate") >= 2000);
    CHECK(number_at(f, "/estimate") - number_at(f, "/error_bound") <= 2000);
    CHECK(number_at(f, "/error_bound") <= 5000 / 385.0);
    const std::string top = get(shared(), "/topk?key=mix&k=2&window=60").body;
    CHECK(json_at(top, "/topk/0/value") == "42");
    CHECK(json_at(top, "/topk/1/value") == "7");
    CHECK(number_at(top, "/topk/1/lower") <= 1000);
    CHECK(number_at(top, "/topk/1/upper") >= 1000);
    CHECK(json_at(top, "/topk/2").rfind("(nothing", 0) == 0);
    CHECK(json_at(top, "/count") == "5000");
}

TEST_CASE("Up to 384 different values in a window are counted exactly, and 16 of them can be named") {
    std::string body;
    const auto now = now_ms();
    for (int i = 0; i < 384; ++i) body += sample_json("384", i, now - i % 20 * 1000);
    CHECK(post_lines(shared(), "/samples", body).status == 200);
    const std::string exact = R"({"estimate":1,"error_bound":0,"confidence":0.99})";
    CHECK(get(shared(), "/frequency?key=384&value=5&window=60").body == exact);
    const std::string top = get(shared(), "/topk?key=384&k=100&window=60").body;
    CHECK(json_at(top, "/topk/15/lower") == "1");
    CHECK(json_at(top, "/topk/16").rfind("(nothing", 0) == 0);
    CHECK(get(shared(), "/topk?key=384&k=101&window=60").status == 400);
    CHECK(post_lines(shared(), "/samples", sample_json("384", 384, now)).status == 200);
    CHECK(number_at(get(shared(), "/frequency?key=384&value=5&window=60").body, "/error_bound") > 0);
}

TEST_CASE("Keys are listed in order, page by page, and forgotten on request") {
    const server s;
    std::string body;
    for (const char* key : {"b/2", "a", "b/1", "c", "b/3", "\\u00e9 +"}) body += sample_json(key, 1, now_ms());
    CHECK(post_lines(s.port(), "/samples", body).status == 200);
    CHECK(get(s.port(), "/keys?limit=4").body == R"({"keys":["a","b/1","b/2","b/3"],"next":"b/3"})");
    CHECK(get(s.port(), "/keys?limit=4&after=b/3").body == "{\"keys\":[\"c\",\"\xc3\xa9 +\"],\"next\":null}");
    CHECK(get(s.port(), "/keys?prefix=b/&limit=2&after=b/1").body == R"({"keys":["b/2","b/3"],"next":null})");
    CHECK(ask(s.port(), "DELETE", "/keys/b%2F1").status == 204);
    CHECK(ask(s.port(), "DELETE", "/keys/b/2").status == 204);
    CHECK(ask(s.port(), "DELETE", "/keys/%C3%A9%20+").status == 204);
    CHECK(ask(s.port(), "DELETE", "/keys/b%2F1").status == 404);
    CHECK(get(s.port(), "/keys").body == R"({"keys":["a","b/3","c"],"next":null})");
    CHECK(get(s.port(), "/quantile?key=b/1&q=1&window=9").body ==
          R"({"error":"Key not found","code":"NOT_FOUND","details":{}})");
}

TEST_CASE("Beyond --max-series new keys are refused while old ones go on") {
    const server s({"--max-series=2"});
    CHECK(post_lines(s.port(), "/samples", sample_json("a", 1, now_ms()) + sample_json("b", 1, now_ms())).status ==
          200);
    const reply r = post_json(s.port(), "/samples", R"({"key":"c","value":1})");
    CHECK(r.status == 429);
    CHECK(json_at(r.body, "/code") == R"("CARDINALITY_LIMIT")");
    const reply batch =
        post_lines(s.port(), "/samples", sample_json("a", 2, now_ms()) + sample_json("d", 1, now_ms()) + "{}\n");
    CHECK(batch.status == 200);
    CHECK(json_at(batch.body, "/accepted") == "1");
    CHECK(json_at(batch.body, "/errors/0/line") == "2");
    CHECK(json_at(batch.body, "/errors/1/line") == "3");
    CHECK(post_lines(s.port(), "/samples", sample_json("d", 1, now_ms())).status == 400);
    CHECK(get(s.port(), "/quantile?key=a&q=1&window=60").body == R"({"estimate":2,"count":2})");
    CHECK(ask(s.port(), "DELETE", "/keys/b").status == 204);
    CHECK(post_json(s.port(), "/samples", R"({"key":"c","value":1})").status == 200);
}

TEST_CASE("--window-retention bounds windows and the age of samples") {
    const server s({"--window-retention=10m"});
    CHECK(post_json(s.port(), "/samples", sample_json("k", 1, now_ms() - 601'000)).status == 400);
    CHECK(post_json(s.port(), "/samples", sample_json("k", 1, now_ms() + 305'000)).status == 400);
    CHECK(post_json(s.port(), "/samples", sample_json("k", 2, now_ms() + 295'000)).status == 200);
    CHECK(post_json(s.port(), "/samples", sample_json("k", 3, now_ms() - 595'000)).status == 200);
    CHECK(get(s.port(), "/quantile?key=k&q=1&window=601").status == 400);
    // What is ahead of now neither pushes the oldest out nor is in a window that ends now.
    CHECK(get(s.port(), "/quantile?key=k&q=1&window=600").body == R"({"estimate":3,"count":1})");
    CHECK(json_at(get(s.port(), "/health").body, "/refused/too_old") == "1");
}
