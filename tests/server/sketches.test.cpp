#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/distributions.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <qsketch/hyperloglog.hpp>
#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

using namespace server_test;

namespace {

std::uint16_t shared() {
    static const server s;
    return s.port();
}

template <class Sketch>
std::string bytes_of(const Sketch& s) {
    const auto image = s.serialize();
    return {reinterpret_cast<const char*>(image.data()), image.size()};
}

qsketch::tdigest<> digest_of(const std::vector<double>& values) {
    qsketch::tdigest<> d;
    d.add(std::span<const double>(values));
    return d;
}

qsketch::tdigest<> fetched(std::uint16_t port, const std::string& key, const std::string& window = "3600") {
    const reply r = get(port, "/v1/sketches/" + key + "?window=" + window);
    REQUIRE(r.status == 200);
    CHECK(r.header("content-type") == "application/octet-stream");
    return qsketch::tdigest<>::deserialize(std::as_bytes(std::span(r.body)));
}

reply merge(std::uint16_t port, const std::string& key, const std::string& image, const std::string& query = {}) {
    return ask(port, "PUT", "/v1/sketches/" + key + "/merge" + (query.empty() ? "" : "?" + query), image,
               "Content-Type: application/octet-stream\r\n");
}

std::string state(std::int64_t at, const std::string& node, int incarnation, int sequence) {
    return "timestamp=" + std::to_string(at) + "&node=" + node + "&incarnation=" + std::to_string(incarnation) +
           "&sequence=" + std::to_string(sequence);
}

double count(std::uint16_t port, const std::string& key, const std::string& window = "3600") {
    return number_at(get(port, "/quantile?q=1&key=" + key + "&window=" + window).body, "/count");
}

} // namespace

TEST_CASE("A window's sketch is what its samples make, and merged elsewhere it is the same samples again") {
    const auto p = shared();
    std::mt19937_64 random(1);
    std::vector<double> values;
    std::string body;
    for (int i = 0; i < 5000; ++i) {
        values.push_back(std::exp(static_cast<double>(random() % 10'000) / 1000));
        body += R"({"key":"source","value":)" + std::to_string(values.back()) + R"(,"timestamp":)" +
                std::to_string(now_ms() - static_cast<std::int64_t>(random() % 60'000)) + "}\n";
    }
    REQUIRE(post_lines(p, "/samples", body).status == 200);
    const auto digest = fetched(p, "source");
    std::sort(values.begin(), values.end());
    CHECK(digest.count() == 5000);
    for (const double q : {0.01, 0.5, 0.99}) CHECK(support::rank_error(values, q, digest.quantile(q)) < 0.004);
    CHECK(merge(p, "copy", bytes_of(digest)).body == R"({"merged":5000})");
    CHECK(fetched(p, "copy").count() == 5000);
    for (const double q : {0.01, 0.5, 0.99})
        CHECK(support::rank_error(values, q, fetched(p, "copy").quantile(q)) < 0.004);
    CHECK((fetched(p, "copy").max)() == (digest.max)());
    CHECK(merge(p, "copy", bytes_of(digest)).status == 200); // without a node, again is more
    CHECK(count(p, "copy") == 10'000);
}

TEST_CASE("A sketch of few values brings them exactly, a large one what it knows") {
    const auto p = shared();
    REQUIRE(merge(p, "few", bytes_of(digest_of({1, 2, 2, 5}))).status == 200);
    CHECK(get(p, "/frequency?key=few&value=2&window=60").body == R"({"estimate":2,"error_bound":0,"confidence":0.99})");
    CHECK(number_at(get(p, "/cdf?key=few&value=2&window=60").body, "/rank") == 0.75);
    std::vector<double> many(1000, 7);
    for (int i = 0; i < 3000; ++i) many.push_back(i * 0.37);
    REQUIRE(merge(p, "many", bytes_of(digest_of(many))).status == 200);
    const std::string seven = get(p, "/frequency?key=many&value=7&window=60").body;
    const double upper = number_at(seven, "/estimate");
    const double lower = upper - number_at(seven, "/error_bound");
    CHECK(lower <= 1000);
    CHECK(upper >= 1000);
    CHECK(lower >= 900);
    CHECK(number_at(get(p, "/topk?key=many&k=1&window=60").body, "/count") == 4000);
    CHECK(json_at(get(p, "/topk?key=many&k=1&window=60").body, "/topk/0/value") == "7");
    REQUIRE(merge(p, "none", bytes_of(qsketch::tdigest<>())).body == R"({"merged":0})");
    CHECK(get(p, "/quantile?key=none&q=1&window=60").status == 404);
    // Of another compression it merges as well.
    qsketch::tdigest<> coarse(20);
    for (int i = 0; i < 1000; ++i) coarse.add(i);
    CHECK(merge(p, "coarse", bytes_of(coarse)).status == 200);
    CHECK(count(p, "coarse") == 1000);
}

TEST_CASE("A sketch counts at its time") {
    const auto p = shared();
    const std::string one = bytes_of(digest_of({1}));
    REQUIRE(merge(p, "timed", one, "timestamp=" + std::to_string(now_ms() - 100'000)).status == 200);
    REQUIRE(merge(p, "timed", one).status == 200);
    CHECK(count(p, "timed", "50") == 1);
    CHECK(count(p, "timed", "200") == 2);
}

TEST_CASE("What a node sends again counts once, later states take the place of earlier ones, lives add up") {
    const directory place;
    const std::vector<std::string> flags = {"--data-dir=" + place.path(), "--durability=commit"};
    const auto at = now_ms() - 20'000;
    const std::string early = bytes_of(digest_of({1, 2}));
    const std::string later = bytes_of(digest_of({1, 2, 3, 4}));
    const auto check = [&](std::uint16_t p, double expected) {
        CHECK(count(p, "edge") == expected);
        CHECK(fetched(p, "edge").count() == static_cast<std::uint64_t>(expected));
    };
    {
        const server s(flags);
        const auto p = s.port();
        REQUIRE(post_json(p, "/samples", R"({"key":"edge","value":9})").status == 200);
        for (int i = 0; i < 3; ++i) REQUIRE(merge(p, "edge", early, state(at, "a", 1, 5)).status == 200);
        check(p, 3);
        REQUIRE(merge(p, "edge", later, state(at, "a", 1, 6)).status == 200);
        check(p, 5);
        REQUIRE(merge(p, "edge", early, state(at, "a", 1, 5)).status == 200); // overtaken
        check(p, 5);
        REQUIRE(merge(p, "edge", early, state(at, "a", 2, 1)).status == 200); // another life
        check(p, 7);
        REQUIRE(merge(p, "edge", early, state(at, "b", 1, 1)).status == 200); // another node
        check(p, 9);
        REQUIRE(merge(p, "edge", early, state(at - 5000, "a", 1, 5)).status == 200); // another second
        check(p, 11);
        CHECK(count(p, "edge", "10") == 1);
        REQUIRE(merge(p, "only%20states", early, state(at, "a", 1, 1)).status == 200);
        CHECK(count(p, "only%20states") == 2);
        s.signal(SIGKILL);
    }
    const server s(flags);
    const auto p = s.port();
    check(p, 11);
    CHECK(count(p, "only%20states") == 2);
    REQUIRE(merge(p, "edge", later, state(at, "a", 1, 6)).status == 200);
    check(p, 11);
    CHECK(number_at(get(p, "/quantile?key=edge&q=0,1&window=60").body, "/estimates/1") == 9);
    CHECK(ask(p, "DELETE", "/keys/edge").status == 204);
    CHECK(get(p, "/quantile?key=edge&q=1&window=60").status == 404);
    REQUIRE(post_json(p, "/samples", R"({"key":"edge","value":9})").status == 200);
    check(p, 1); // and nothing of what was there before
}

TEST_CASE("Bytes that are no sketch, and sketches that do not fit, are told apart") {
    const auto p = shared();
    const std::string good = bytes_of(digest_of({1, 2, 3}));
    const auto refused = [&](const std::string& image, int status, const char* why, const std::string& query = {}) {
        CAPTURE(why);
        const reply r = merge(p, "refused", image, query);
        CHECK(r.status == status);
        CHECK(json_at(r.body, "/error") == "true");
        CHECK(json_at(r.body, "/message").find(why) != std::string::npos);
    };
    refused("", 400, "has 0 bytes");
    refused("hello", 400, "has 5 bytes");
    refused(std::string(100, 'x'), 400, "does not start with the letters QSK");
    refused(good.substr(0, good.size() - 1), 400, "checksum");
    for (std::size_t i = 0; i < good.size(); ++i) {
        std::string damaged = good;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
        CHECK(merge(p, "refused", damaged).status == 400);
    }
    refused(bytes_of(qsketch::hyperloglog<>(14)), 400, "is of kind 3, expected kind 1");
    refused(bytes_of([] {
                qsketch::tdigest<qsketch::k1_scale> d;
                d.add(1);
                return d;
            }()),
            409, "another scale");
    qsketch::tdigest<> huge;
    huge.add(1, std::uint64_t{1} << 41);
    refused(bytes_of(huge), 409, "at most 1099511627776 values");
    qsketch::tdigest<> coarse(50);
    coarse.add(1);
    refused(bytes_of(coarse), 409, "compression 100", state(now_ms(), "n", 1, 1));
    CHECK(ask(p, "PUT", "/v1/sketches/refused/merge", good, "Content-Type: application/json\r\n").status == 415);
    CHECK(get(p, "/quantile?key=refused&q=1&window=60").status == 404);
}

TEST_CASE("However many values sketches claim, rows stay readable") {
    const auto p = shared();
    qsketch::tdigest<> large;
    large.add(1, std::uint64_t{1} << 40);
    const std::string at = "timestamp=" + std::to_string(now_ms() - 5000);
    for (int i = 0; i < 3; ++i) REQUIRE(merge(p, "large", bytes_of(large), at).status == 200);
    CHECK(count(p, "large") == 3.0 * std::pow(2.0, 40));
}

TEST_CASE("--max-series holds for keys that come as sketches") {
    const server s({"--max-series=1"});
    const std::string one = bytes_of(digest_of({1}));
    CHECK(merge(s.port(), "a", one).status == 200);
    CHECK(merge(s.port(), "b", one).status == 429);
    CHECK(merge(s.port(), "b", one, state(now_ms(), "n", 1, 1)).status == 429);
    CHECK(merge(s.port(), "a", one, state(now_ms(), "n", 1, 1)).status == 200);
}

TEST_CASE("A key takes no more values than its queries can add up") {
    const auto p = shared();
    qsketch::tdigest<> heavy;
    heavy.add(1, std::uint64_t{1} << 40);
    const std::string image = bytes_of(heavy);
    const std::string at = "timestamp=" + std::to_string(now_ms());
    constexpr int fitting = 1 << 12;
    for (int i = 0; i < fitting; ++i) REQUIRE(merge(p, "heavy", image, at).status == 200);
    constexpr double all = 0x1p52;
    REQUIRE(count(p, "heavy") == all);
    const reply refused = merge(p, "heavy", image, at);
    CHECK(refused.status == 409);
    CHECK(refused.body.find("must hold at most 4503599627370496 values") != refused.body.npos);
    CHECK(merge(p, "heavy", image, state(now_ms(), "a", 1, 1)).status == 409);
    CHECK(merge(p, "heavy", bytes_of(digest_of({1}))).status == 409);
    CHECK(count(p, "heavy") == all);
    REQUIRE(post_json(p, "/samples", R"({"key":"heavy","value":7})").status == 200);
    CHECK(count(p, "heavy") == all + 1);
}

TEST_CASE("A second of a key has the states of so many lives and no more") {
    const auto p = shared();
    const auto at = now_ms();
    const std::string one = bytes_of(digest_of({1}));
    for (int life = 0; life < 256; ++life) REQUIRE(merge(p, "lives", one, state(at, "a", life, 1)).status == 200);
    const reply refused = merge(p, "lives", one, state(at, "a", 256, 1));
    CHECK(refused.status == 409);
    CHECK(refused.body.find("incarnation: a second of a key has states of at most 256") != refused.body.npos);
    CHECK(merge(p, "lives", one, state(at, "b", 0, 1)).status == 409);
    CHECK(merge(p, "lives", bytes_of(digest_of({1, 2})), state(at, "a", 7, 2)).status == 200); // a known one goes on
    CHECK(merge(p, "lives", one, state(at - 2000, "b", 0, 1)).status == 200);                  // so do other seconds
    CHECK(count(p, "lives") == 258);
}
