#include "http/rate_limit.hpp"

#include "domain/instant.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <string>
#include <thread>
#include <tuple>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;
using qsketch_server::asker;
using qsketch_server::network_of;
using qsketch_server::rate_limiter;

namespace {

const rate_limiter::clock::time_point start{1000h};

rate_limiter limiter(std::uint32_t of_clients, std::uint32_t of_nodes, std::size_t clients = 100) {
    return rate_limiter({of_clients, of_nodes}, qsketch::sip_hash(1, 2), clients);
}

/// How many requests in a row are let in at one moment.
int burst(rate_limiter& l, const std::string& client, rate_limiter::clock::time_point now, asker who = asker::client) {
    for (int n = 0;; ++n)
        if (l.take(who, client, now) > 0s) return n;
}

} // namespace

TEST_CASE("A minute's requests may come at once, and then one as each share of a minute has gone by") {
    for (const std::uint32_t limit : {1U, 2U, 7U, 60U, 999U, 1000U, 99'999U, 100'000U}) {
        INFO(limit);
        auto l = limiter(limit, 0);
        const auto share = std::chrono::nanoseconds(60s) / limit;
        CHECK(burst(l, "a", start) == static_cast<int>(limit));
        CHECK(l.take(asker::client, "a", start) == share);
        CHECK(l.take(asker::client, "a", start + share - 1ns) == 1ns);
        CHECK(l.take(asker::client, "a", start + share) == 0s);
        CHECK(l.take(asker::client, "a", start + share) == share);
        CHECK(burst(l, "a", start + 3 * share + 1ns) == (limit == 1 ? 1 : 2));
        CHECK(burst(l, "a", start + 1h) == static_cast<int>(limit));
    }
}

TEST_CASE("Clients have buckets of their own, and one for each kind of endpoint") {
    auto l = limiter(3, 5);
    CHECK(burst(l, "a", start) == 3);
    CHECK(burst(l, "b", start) == 3);
    CHECK(burst(l, "a", start, asker::node) == 5);
    CHECK(burst(l, "a", start + 20s) == 1);
    CHECK(burst(l, "b", start + 40s, asker::node) == 5);
    auto nodes_only = limiter(0, 2);
    for (int i = 0; i < 1000; ++i) CHECK(nodes_only.take(asker::client, "a", start) == 0s);
    CHECK(burst(nodes_only, "a", start, asker::node) == 2);
}

TEST_CASE("Times that threads have read in one order and use in another let nobody in twice") {
    auto l = limiter(2, 0);
    CHECK(l.take(asker::client, "a", start + 1s) == 0s);
    CHECK(l.take(asker::client, "a", start) == 1s);
    CHECK(l.take(asker::client, "a", start + 1s) == 0s);
    CHECK(l.take(asker::client, "a", start + 1s) == 30s);
}

TEST_CASE("The clients that are remembered are few, and those beyond share one bucket until others are forgotten") {
    auto l = limiter(4, 0, 2);
    CHECK(burst(l, "a", start) == 4);
    CHECK(burst(l, "b", start) == 4);
    CHECK(l.take(asker::client, "c", start) == 0s);
    CHECK(burst(l, "d", start) == 3);
    CHECK(l.clients() == 2);
    l.expire(start + 60s);
    CHECK(l.clients() == 2);
    CHECK(burst(l, "a", start + 30s) == 2);
    l.expire(start + 61s);
    CHECK(l.clients() == 1);
    CHECK(burst(l, "c", start + 61s) == 4);
    CHECK(burst(l, "d", start + 61s) == 4);
    CHECK(burst(l, "a", start + 61s) == 2);
}

TEST_CASE("A client is an IPv4 address or 64 bits of an IPv6 address") {
    const std::vector<std::pair<std::string, std::string>> rows = {
        {"127.0.0.1", "127.0.0.1"},
        {"10.20.30.40", "10.20.30.40"},
        {"::ffff:10.20.30.40", "10.20.30.40"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
        {"2001:db8:1:2::", "2001:db8:1:2::"},
        {"2001:db8:1:3::1", "2001:db8:1:3::"},
        {"::1", "::"},
    };
    for (const auto& [address, network] : rows) CHECK(network_of(address) == network);
}

TEST_CASE("Who asks too often is told when to come back") {
    const server s({"--rate-limit=2,3"});
    const auto p = s.port();
    const std::string hour = std::to_string(now_ms() / 3'600'000);
    const auto before = now_ms();
    CHECK(post_json(p, "/samples", R"([{"key":"k","value":1},{"key":"k","value":2},{"key":"k","value":3}])").status ==
          200);
    CHECK(ask(p, "DELETE", "/nothing").status == 404);
    for (const auto& [method, target, sentence] :
         std::vector<std::tuple<std::string, std::string, bool>>{{"GET", "/analytics/allslices", false},
                                                                 {"POST", "/samples", true},
                                                                 {"OPTIONS", "/samples", true},
                                                                 {"GET", "/nothing", false}}) {
        INFO(target);
        const reply r = ask(p, method, target);
        CHECK(r.status == 429);
        CHECK(std::stoi(r.header("retry-after")) >= 1);
        CHECK(std::stoi(r.header("retry-after")) <= 30);
        CHECK(json_at(r.body, "/code") == R"("RATE_LIMIT_EXCEEDED")");
        CHECK((json_at(r.body, "/error") == "true") == !sentence);
        CHECK(json_at(r.body, "/details/limit") == "2");
        CHECK(json_at(r.body, "/details/window") == "60");
        const std::string reset = json_at(r.body, "/details/reset_at");
        const auto at = qsketch_server::parse_instant(reset.substr(1, reset.size() - 2));
        REQUIRE(at);
        CHECK(at->time_since_epoch().count() > before);
        CHECK(at->time_since_epoch().count() <= now_ms() + 30'001);
    }
    for (int i = 0; i < 3; ++i) CHECK(get(p, "/worker?slice=" + hour).status == 200);
    CHECK(json_at(get(p, "/worker?slice=" + hour).body, "/details/limit") == "3");
    CHECK(ask(p, "POST", "/worker?user=u&click&slice=" + hour).status == 429);
    for (int i = 0; i < 20; ++i)
        for (const char* path : {"/health", "/livez", "/readyz"}) CHECK(get(p, path).status == 200);
}

TEST_CASE("With tokens each name has its share, and those without a token that is known have their address's") {
    // first-token-0123456789, second-… and third-…; the first two are one client.
    const server s({"--rate-limit=2"},
                   {"QSKETCH_AUTH_TOKENS=a read d10d0f9977f6621d30628f0196c90b206e4c8fe1c698cae08622749b4328b591;"
                    "a read 27f11cd7cbbf36c6d1b8504ef9485ac46f813bc4472d57f1f1026e8103b45444;"
                    "b read caeb1ef868e9ef0ea004b9d3d76ac8bc31652f3d8835d0937d1920db8a282fcc"});
    const auto status = [&](const std::string& token, const std::string& method = "GET") {
        return ask(s.port(), method, "/keys", {},
                   token.empty() ? "" : "Authorization: Bearer " + token + "-token-0123456789\r\n")
            .status;
    };
    CHECK(status("first") == 200);
    CHECK(status("second") == 200);
    CHECK(status("first") == 429);
    CHECK(status("second") == 429);
    CHECK(status("") == 401);
    CHECK(status("fourth") == 401);
    CHECK(status("fifth") == 429);
    CHECK(status("") == 429);
    CHECK(status("third") == 200);
    CHECK(status("third", "POST") == 405);
    CHECK(status("third") == 429);
}

TEST_CASE("Without the flag there is a limit for strangers and none on loopback") {
    const auto limited = [](std::uint16_t port, int requests) {
        connection c(port);
        std::string text;
        for (int i = 0; i < requests; ++i) text += "GET /keys HTTP/1.1\r\nHost: x\r\n\r\n";
        std::thread sender([&] { c.send(text); });
        int refused = 0;
        for (int i = 0; i < requests; ++i) {
            const int status = c.receive().status;
            CHECK((status == 200 || status == 429));
            refused += status == 429;
        }
        sender.join();
        return refused;
    };
    const server local;
    CHECK(limited(local.port(), 3000) == 0);
    process outside({"--host=0.0.0.0", "--insecure", "--port=0"});
    const std::string url = outside.line();
    const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
    const auto begin = std::chrono::steady_clock::now();
    const int refused = limited(port, 3000);
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    CHECK(refused <= 2000);
    CHECK(refused >= 2000 - static_cast<int>(seconds * 1000 / 60) - 1);
    const server off({"--rate-limit=0"});
    CHECK(limited(off.port(), 3000) == 0);
}
