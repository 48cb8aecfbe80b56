#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/sanitized.hpp"

#include <sys/resource.h>

#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;

namespace {

std::uint16_t shared() {
    static const server s;
    return s.port();
}

/// Processor time of a process so far, in clock ticks.
long ticks_of(pid_t pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string field;
    long user = 0;
    long system = 0;
    for (int i = 0; i < 13; ++i) in >> field;
    in >> user >> system;
    return user + system;
}

} // namespace

TEST_CASE("Garbage is refused and the next client is served") {
    const std::vector<std::string> garbage = {
        std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), // a TLS greeting
        "GET / HTTP/1.1\n\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "/ GET HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / FTP/1.1\r\n\r\n",
        "G@T / HTTP/1.1\r\n\r\n",
        "GET nowhere HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nA : space\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 24),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /livez HTTP/1.1\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n12345",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n12345",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
        "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\n\r\n",
        "GET /" + std::string(8000, 'x') + " HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nX: " + std::string(17'000, 'x') + "\r\n\r\n",
        std::string(20'000, 'A'),
    };
    for (const std::string& bytes : garbage) {
        INFO(bytes.substr(0, 90));
        connection c(shared());
        c.send(bytes);
        const reply r = c.receive(5s);
        CHECK(r.status >= 400);
        CHECK(r.status < 600);
        CHECK(r.status != 500);
        CHECK(json_at(r.body, "/code").size() > 5);
        c.finish_sending();
        CHECK(c.ends_within(5s));
    }
    std::string many = "GET /livez HTTP/1.1\r\n";
    for (int i = 0; i < 101; ++i) many += "A" + std::to_string(i) + ": b\r\n";
    connection c(shared());
    c.send(many + "\r\n");
    CHECK(c.receive().status == 431);
    CHECK(get(shared(), "/livez").status == 200);
}

TEST_CASE("A body that is not read cannot pass for the next request") {
    connection c(shared());
    const std::string inner = "DELETE /keys/x HTTP/1.1\r\nHost: x\r\n\r\n";
    c.send("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(inner.size()) + "\r\n\r\n" + inner +
           "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(c.receive().status == 200);
    CHECK(json_at(c.receive().body, "/status") == R"("ok")");
    CHECK(c.receive(300ms).status == 0);
}

TEST_CASE("Requests sent in one go are answered in order, ones sent byte by byte are put together") {
    connection c(shared());
    std::string text;
    for (int i = 0; i < 300; ++i)
        text += "GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: n" + std::to_string(i) + "\r\n\r\n";
    c.send(text);
    for (int i = 0; i < 300; ++i) CHECK(c.receive().header("x-request-id") == "n" + std::to_string(i));
    const std::string one = "POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "5;note=1\r\n{\"key\r\n12\r\n\":\"drip\",\"value\":7\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n";
    for (const char byte : one) {
        c.send(std::string_view(&byte, 1));
        std::this_thread::sleep_for(1ms);
    }
    CHECK(c.receive().status == 200);
    CHECK(get(shared(), "/quantile?key=drip&q=1&window=60").body == R"({"estimate":7,"count":1})");
}

TEST_CASE("Expect: 100-continue, HTTP/1.0, absolute targets and clients that stop sending are understood") {
    connection c(shared());
    c.send("POST /samples HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 23\r\n\r\n");
    CHECK(c.receive(5s).status == 100);
    c.send(R"({"key":"exp","value":1})");
    CHECK(c.receive().status == 200);
    connection too_large(shared());
    too_large.send("POST /samples HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n");
    CHECK(too_large.receive().status == 413);
    connection old(shared());
    old.send("GET /livez HTTP/1.0\r\n\r\n");
    CHECK(old.receive().header("connection") == "close");
    CHECK(old.ends_within(5s));
    connection old_kept(shared());
    old_kept.send("GET /livez HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    CHECK(old_kept.receive().header("connection") == "keep-alive");
    connection half(shared());
    half.send("GET http://example.org/livez HTTP/1.1\r\nHost: x\r\n\r\n");
    half.finish_sending();
    CHECK(half.receive().status == 200);
    CHECK(half.ends_within(5s));
}

TEST_CASE("A POST without a body and without its length is answered at once") {
    connection c(shared());
    const auto begin = std::chrono::steady_clock::now();
    c.send("POST /analytics?timestamp=" + std::to_string(now_ms()) + "&user=x&click HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(c.receive().status == 202);
    CHECK(std::chrono::steady_clock::now() - begin < 2s);
}

TEST_CASE("A thousand idle connections and a hundred slow ones hold up nobody and cost next to nothing") {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    const server s({"--threads=2"});
    std::vector<connection> held;
    for (int i = 0; i < 1000; ++i) held.emplace_back(s.port());
    for (int i = 0; i < 500; ++i) held[static_cast<std::size_t>(i)].send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    for (int i = 0; i < 500; ++i) CHECK(held[static_cast<std::size_t>(i)].receive().status == 200);
    std::vector<connection> slow;
    for (int i = 0; i < 100; ++i) {
        slow.emplace_back(s.port());
        slow.back().send(i % 2 == 0 ? "GET /he" : "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    }
    const long before = ticks_of(s.pid());
    for (int round = 0; round < 20; ++round) {
        for (auto& c : slow) c.send("x");
        const auto begin = std::chrono::steady_clock::now();
        CHECK(get(s.port(), "/health").status == 200);
        CHECK(std::chrono::steady_clock::now() - begin < 2s);
        std::this_thread::sleep_for(50ms);
    }
    const long used = ticks_of(s.pid()) - before;
    CHECK(used < ::sysconf(_SC_CLK_TCK) / 2); // of a second at least as long
    for (auto& c : held) CHECK(c.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"));
    for (auto& c : held) CHECK(c.receive().status == 200);
}

TEST_CASE("Beyond --max-connections clients are turned away with 503, and let in when there is room") {
    const server s({"--max-connections=20"});
    std::vector<connection> held;
    for (int i = 0; i < 20; ++i) {
        held.emplace_back(s.port());
        held.back().send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(held.back().receive().status == 200);
    }
    connection more(s.port());
    const reply r = more.receive(5s);
    CHECK(r.status == 503);
    CHECK(r.header("retry-after") == "1");
    // Nine tenths are taken: those that have been idle for two seconds make room.
    std::this_thread::sleep_for(4s);
    CHECK(get(s.port(), "/livez").status == 200);
}

TEST_CASE("What HTTP has and this server has not is the request's fault, not an internal error") {
    for (const auto& [bytes, status] : {std::pair{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
                                        {"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
                                        {"GET /livez HTTP/1.1\r\n\r\n", 400}}) {
        INFO(bytes);
        connection c(shared());
        c.send(bytes);
        const reply r = c.receive(5s);
        CHECK(r.status == status);
        CHECK(json_at(r.body, "/code") == R"("INVALID_REQUEST")");
    }
}

TEST_CASE("Large bodies sent at once take the memory of two that are parsed, and are all answered") {
    if (sanitized) return;
    const server s;
    std::string body = "[{}";
    while (body.size() < (std::size_t{8} << 20) - 8) body += ",{}";
    body += "]";
    std::vector<std::thread> clients;
    std::vector<int> status(8);
    for (int& answered : status) clients.emplace_back([&] { answered = post_json(s.port(), "/samples", body).status; });
    for (std::thread& c : clients) c.join();
    for (const int answered : status) CHECK(answered == 400);
    const long peak_kib = s.kib("VmHWM");
    CAPTURE(peak_kib);
    CHECK(peak_kib > 8 * 8 * 1024 / 4);
    CHECK(peak_kib < (2 * 14 * 8 + 8 * 8 + 8 * 8 + 64) * 1024); // two parsers, the bodies twice, the rest
}

TEST_CASE("The memory of large requests is given back, though their connections stay open") {
    const server s;
    const long before = s.kib("VmRSS");
    const std::string line = "{\"key\":\"k\",\"value\":1}\n";
    std::string body;
    while (body.size() < 1'000'000) body += line;
    std::vector<connection> open;
    for (int i = 0; i < 150; ++i) {
        open.emplace_back(s.port());
        open.back().send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: " +
                         std::to_string(body.size()) + "\r\n\r\n" + body);
        if (i % 50 == 49) // some at once, each with an answer in the end
            for (int j = i - 49; j <= i; ++j) CHECK(open[static_cast<std::size_t>(j)].receive().status == 200);
    }
    if constexpr (sanitized) return; // what a sanitizer takes it keeps
    for (int i = 0; i < 600 && s.kib("VmRSS") > before + 60'000; ++i) std::this_thread::sleep_for(100ms);
    CHECK(s.kib("VmRSS") <= before + 60'000);
    for (connection& c : open) c.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    for (connection& c : open) CHECK(c.receive().status == 200);
}

TEST_CASE("What is only announced of a body takes no memory, nor the room for it") {
    if constexpr (sanitized) return; // which has room for everything
    const server s;
    const long before = s.kib("VmRSS");
    const long room = s.kib("VmData");
    std::vector<connection> open;
    for (int i = 0; i < 100; ++i) {
        open.emplace_back(s.port());
        open.back().send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 16777216\r\n\r\n" +
                         std::string(300'000, ' '));
    }
    for (int i = 0; i < 600 && s.kib("VmRSS") < before + 28'000; ++i) std::this_thread::sleep_for(100ms);
    CHECK(s.kib("VmRSS") >= before + 28'000);
    CHECK(s.kib("VmRSS") <= before + 100'000);
    CHECK(s.kib("VmData") <= room + 300'000);
}

TEST_CASE("A slow body gets the time its size allows, chunked or not", "[.long]") {
    const std::string event = R"({"key":"slow","value":1})";
    const std::string block(65'536, ' ');
    connection chunked(shared());
    connection announced(shared());
    chunked.send("POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    announced.send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                   std::to_string(event.size() + 14 * block.size()) + "\r\n\r\n");
    for (int i = 0; i < 14; ++i) {
        std::this_thread::sleep_for(1s);
        chunked.send("10000\r\n" + block + "\r\n");
        announced.send(block);
    }
    chunked.send("18\r\n" + event + "\r\n0\r\n\r\n");
    announced.send(event);
    CHECK(chunked.receive().status == 200);
    CHECK(announced.receive().status == 200);
    connection dripping(shared());
    dripping.send("POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 10; ++i) {
        dripping.send("1\r\n \r\n");
        std::this_thread::sleep_for(1s);
    }
    CHECK(dripping.receive(5s).status == 408);
}

TEST_CASE("A request that never ends is given up after ten seconds", "[.long]") {
    connection head(shared());
    connection body(shared());
    head.send("GET /livez HT");
    body.send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
    for (int i = 0; i < 9; ++i) {
        std::this_thread::sleep_for(1s);
        head.send("x");
    }
    CHECK(head.receive(5s).status == 408);
    CHECK(body.receive(5s).status == 408);
    CHECK(head.ends_within(6s));
}
