#include "application.hpp"
#include "http/compression.hpp"
#include "http/gate.hpp"
#include "http/server.hpp"
#include "options.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace qsketch_server;
using namespace server_test;
using namespace std::chrono_literals;

namespace {

/// The server in this process, with few threads, and a clock that can hold those up who look at it.
class held_up_server {
public:
    static constexpr int slow = 3; // requests at once
    static constexpr int large = 2;

    held_up_server()
        : app_(*parse_options(static_cast<int>(arguments.size()), arguments.data()),
               [this] {
                   if (to_hold_.load() > 0 && to_hold_.fetch_sub(1) > 0) {
                       ++held_;
                       go_on_.wait();
                   }
                   return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
               }),
          answers_(app_), gate_({slow, large, 1, 1000, app_.opts.max_body}, [this](exchange& x) {
              const std::string out = answers_.respond(x);
              if (x.unfinished) ++waiting;
              return out;
          }) {
        const std::string url = gate_.bind("127.0.0.1", 0, false).url;
        port_ = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
        gate_.start();
    }
    ~held_up_server() {
        if (to_hold_.exchange(0) > 0) release();
        gate_.stop(5s);
    }

    /// Nobody may look at the clock before the next `n` requests, which do so first of all that look.
    void hold(int n) { to_hold_ = n; }
    void await_held(int n) const {
        while (held_ < n) std::this_thread::sleep_for(1ms);
    }
    void await_waiting(int n) const {
        while (waiting < n) std::this_thread::sleep_for(1ms);
    }
    void release() { release_.set_value(); }

    application& app() noexcept { return app_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

    std::atomic<int> waiting = 0; ///< Requests that found no place, so far.

private:
    static constexpr std::array<const char*, 3> arguments = {"qsketch-server", "--durability=none", "--rate-limit=0"};

    std::atomic<int> to_hold_ = 0;
    std::atomic<int> held_ = 0;
    std::promise<void> release_;
    std::shared_future<void> go_on_ = release_.get_future().share();
    application app_;
    responder answers_;
    gate gate_;
    std::uint16_t port_ = 0;
};

std::string lines(const std::string& key, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += "{\"key\":\"" + key + "\",\"value\":" + std::to_string(i) + "}\n";
    return out;
}

std::string post(const std::string& body, const std::string& fields = {}) {
    return "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n" + fields +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

constexpr int events = 8000; // 240 kB, packed 20 kB
constexpr const char* all = "&q=0&window=3600";

} // namespace

TEST_CASE("However many large requests wait, small ones are answered, and all large ones in the end, once each") {
    held_up_server s;
    const std::string body = lines("large", events);
    const std::string packed = gzipped(body);
    REQUIRE(packed.size() > 16 * 1024);
    s.hold(held_up_server::large);
    std::vector<connection> held;
    for (int i = 0; i < held_up_server::large; ++i) {
        held.emplace_back(s.port());
        held.back().send(post(body));
    }
    s.await_held(held_up_server::large);
    constexpr int more = 40; // than threads
    for (int i = 0; i < more; ++i) {
        held.emplace_back(s.port());
        const std::string fields = "X-Request-Id: wait" + std::to_string(i) +
                                   "\r\nIdempotency-Key: " + std::to_string(i / 2) + "\r\n"; // every second is a repeat
        held.back().send(i % 4 < 2 ? post(body, fields) : post(packed, fields + "Content-Encoding: gzip\r\n"));
    }
    s.await_waiting(more);
    for (int i = 0; i < 5; ++i) {
        CHECK(get(s.port(), "/livez").status == 200);
        CHECK(post_json(s.port(), "/samples", R"({"key":"small","value":7})").status == 200);
        CHECK(get(s.port(), "/quantile?key=small" + std::string(all)).body ==
              "{\"estimate\":7,\"count\":" + std::to_string(i + 1) + "}");
    }
    s.release();
    int repeats = 0;
    for (std::size_t i = 0; i < held.size(); ++i) {
        const reply r = held[i].receive();
        CHECK(r.status == 200);
        CHECK(json_at(r.body, "/accepted") == std::to_string(events));
        if (i >= held_up_server::large)
            CHECK(r.header("x-request-id") == "wait" + std::to_string(i - held_up_server::large));
        if (r.header("idempotency-replayed") == "true") ++repeats;
    }
    CHECK(repeats == more / 2);
    CHECK(get(s.port(), "/quantile?key=large" + std::string(all)).body ==
          "{\"estimate\":0,\"count\":" + std::to_string(events * (held_up_server::large + more / 2)) + "}");
    CHECK(s.app().ingested.samples == static_cast<std::uint64_t>(5 + events * (held_up_server::large + more / 2)));
}

TEST_CASE("However many slow requests wait, quick ones are answered") {
    held_up_server s;
    CHECK(post_json(s.port(), "/samples", R"({"key":"k","value":1})").status == 200);
    s.hold(held_up_server::slow);
    std::vector<connection> held;
    for (int i = 0; i < held_up_server::slow; ++i) {
        held.emplace_back(s.port());
        held.back().send("GET /quantile?key=k" + std::string(all) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    s.await_held(held_up_server::slow);
    const std::vector<std::string> others = {
        "GET /quantile?key=k" + std::string(all) + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
        post(lines("batch", 1000)), // of 30 kB
        post(lines("one", 1), "Idempotency-Key: a\r\n"),
        post(gzipped(lines("packed", 1)), "Content-Encoding: gzip\r\n"),
        "POST /worker?slice=" + std::to_string(now_ms() / 3'600'000) + "&user=x&click HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (const std::string& request : others) {
        held.emplace_back(s.port());
        held.back().send(request);
    }
    s.await_waiting(static_cast<int>(others.size()));
    for (int i = 0; i < 5; ++i) {
        CHECK(get(s.port(), "/livez").status == 200);
        CHECK(post_json(s.port(), "/samples", R"({"key":"small","value":7})").status == 200);
    }
    s.release();
    for (auto& c : held) CHECK(c.receive().status / 100 == 2);
    for (const char* key : {"batch", "one", "packed"})
        CHECK(get(s.port(), "/quantile?key=" + std::string(key) + all).status == 200);
}

TEST_CASE("A request that waits is counted against the limit of its client once, and before it waits") {
    held_up_server s;
    constexpr int limit = held_up_server::large + 1;
    s.app().limiter = std::make_unique<rate_limiter>(request_limits{limit, limit}, qsketch::sip_hash(1, 2));
    const std::string body = lines("large", events);
    s.hold(held_up_server::large);
    std::vector<connection> held;
    for (int i = 0; i < limit; ++i) {
        held.emplace_back(s.port());
        held.back().send(post(body));
    }
    s.await_held(held_up_server::large);
    s.await_waiting(1);
    connection one_more(s.port());
    one_more.send(post(body));
    CHECK(one_more.receive().status == 429);
    s.release();
    for (auto& c : held) CHECK(c.receive().status == 200);
}
