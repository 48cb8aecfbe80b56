// A client that sends batches and asks for quantiles, for bench/server/run.
//
//     load PORT samples|visits CONNECTIONS SECONDS [KEYS [EVENTS_PER_SECOND [EVENTS]]]
//         batches of 1 MB of NDJSON, until the time is over or so many are acknowledged
//     load PORT quantile SECONDS [KEYS]    one query after the other
//     load PORT keys KEYS                  one sample for each of that many keys
#include "server/support/client.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono;
using clock_type = steady_clock;

constexpr std::size_t body_bytes = 1'000'000;
constexpr std::size_t bodies_kept = 8;
constexpr seconds patience(60);

std::string with_head(std::string_view path, const std::string& body) {
    return "POST " + std::string(path) +
           " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// A request of some 1 MB of lines, each with a time.
class batch {
public:
    batch(std::string_view path, const std::string& body) : request_(with_head(path, body)) {
        constexpr std::string_view name = "\"timestamp\":";
        for (std::size_t at = 0; (at = request_.find(name, at)) != std::string::npos;)
            times_.push_back(at += name.size());
    }
    [[nodiscard]] std::uint64_t events() const noexcept { return times_.size(); }

    /// With times of the last ten seconds.
    [[nodiscard]] const std::string& request() {
        const std::int64_t now = server_test::now_ms();
        for (std::size_t i = 0; i < times_.size(); ++i)
            std::to_chars(&request_[times_[i]], &request_[times_[i]] + time_digits,
                          now - static_cast<std::int64_t>(i * 7919 % 10'000));
        return request_;
    }

private:
    static constexpr std::size_t time_digits = 13;

    std::string request_;
    std::vector<std::size_t> times_; // where they are
};

/// Keys and users are Zipf-like, latencies lognormal.
batch samples(std::uint64_t keys, std::uint64_t seed) {
    support::random_bits random(seed);
    std::string body;
    while (body.size() < body_bytes) {
        char line[160];
        const auto key = static_cast<unsigned>(random.below(random.below(keys) + 1));
        const int size =
            std::snprintf(line, sizeof line, "{\"key\":\"latency.%u\",\"value\":%.3f,\"timestamp\":0000000000000}\n",
                          key, 20 * std::exp(support::normal(random)));
        body.append(line, static_cast<std::size_t>(size));
    }
    return {"/samples", body};
}

batch visits(std::uint64_t users, std::uint64_t seed) {
    support::random_bits random(seed);
    std::string body;
    while (body.size() < body_bytes) {
        char line[160];
        const auto user = static_cast<unsigned>(random.below(random.below(users) + 1));
        const int size =
            std::snprintf(line, sizeof line, "{\"timestamp\":0000000000000,\"user\":\"user%u\",\"type\":\"%s\"}\n",
                          user, random.below(10) == 0 ? "click" : "impression");
        body.append(line, static_cast<std::size_t>(size));
    }
    return {"/analytics", body};
}

double percentile(std::vector<double>& sorted, double q) {
    if (sorted.empty()) return std::nan("");
    return sorted[(std::min)(sorted.size() - 1, static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

void print_latencies(std::vector<double>& ms) {
    std::sort(ms.begin(), ms.end());
    std::printf("p50 %.3f ms, p99 %.3f ms, max %.3f ms", percentile(ms, 0.5), percentile(ms, 0.99), percentile(ms, 1));
}

double since_ms(clock_type::time_point begin) {
    return duration<double, std::milli>(clock_type::now() - begin).count();
}

int send_batches(std::uint16_t port, bool of_samples, unsigned connections, double length, std::uint64_t keys,
                 double pace, double most) {
    std::vector<batch> batches;
    for (std::size_t i = 0; i < bodies_kept; ++i) batches.push_back(of_samples ? samples(keys, i) : visits(keys, i));
    std::atomic<std::uint64_t> acknowledged = 0;
    std::atomic<bool> wrong = false;
    std::vector<std::vector<double>> latencies(connections);
    std::vector<std::thread> threads;
    const auto begin = clock_type::now();
    for (unsigned i = 0; i < connections; ++i)
        threads.emplace_back([&, i] {
            server_test::connection c(port);
            std::vector<batch> own = batches;
            for (std::size_t sent = 0; since_ms(begin) < length * 1000 && static_cast<double>(acknowledged) < most;
                 ++sent) {
                batch& b = own[(i + sent) % own.size()];
                const std::string& request = b.request();
                const auto start = clock_type::now();
                c.send(request);
                const auto answer = c.receive(patience);
                if (answer.status != 200 && answer.status != 202) {
                    std::fprintf(stderr, "%d %s\n", answer.status, answer.body.c_str());
                    wrong = true;
                    return;
                }
                latencies[i].push_back(since_ms(start));
                const double total = static_cast<double>(acknowledged += b.events());
                if (pace > 0)
                    std::this_thread::sleep_until(begin +
                                                  duration_cast<clock_type::duration>(duration<double>(total / pace)));
            }
        });
    for (auto& t : threads) t.join();
    const double took = since_ms(begin) / 1000;
    std::vector<double> all;
    for (const auto& part : latencies) all.insert(all.end(), part.begin(), part.end());
    std::printf("%.0f events/s acknowledged, %.1f MB/s, a batch ", static_cast<double>(acknowledged) / took,
                static_cast<double>(all.size()) / took);
    print_latencies(all);
    std::printf("\n");
    return wrong ? 1 : 0;
}

int ask_quantiles(std::uint16_t port, double length, std::uint64_t keys) {
    support::random_bits random(1);
    server_test::connection c(port);
    std::vector<double> ms;
    for (const auto begin = clock_type::now(); since_ms(begin) < length * 1000;) {
        const std::string key = "latency." + std::to_string(random.below(random.below(keys) + 1));
        const auto start = clock_type::now();
        c.send("GET /quantile?key=" + key + "&q=0.99&window=60 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        const auto answer = c.receive();
        if (answer.status == 404) continue; // so rare a key that no batch has it
        if (answer.status != 200) {
            std::fprintf(stderr, "%d %s\n", answer.status, answer.body.c_str());
            return 1;
        }
        ms.push_back(since_ms(start));
        std::this_thread::sleep_for(milliseconds(1));
    }
    std::printf("%zu queries, ", ms.size());
    print_latencies(ms);
    std::printf("\n");
    return 0;
}

int make_keys(std::uint16_t port, std::uint64_t keys) {
    server_test::connection c(port);
    for (std::uint64_t key = 0; key < keys;) {
        std::string body;
        for (; key < keys && body.size() < body_bytes; ++key)
            body += "{\"key\":\"latency." + std::to_string(key) + "\",\"value\":1.5}\n";
        c.send(with_head("/samples", body));
        if (const auto answer = c.receive(patience); answer.status != 200) {
            std::fprintf(stderr, "%d %s\n", answer.status, answer.body.c_str());
            return 1;
        }
    }
    return 0;
}

} // namespace

int main(int argc, char** argv) try {
    const auto text = [&](int i, const char* fallback) { return std::string(i < argc ? argv[i] : fallback); };
    if (argc < 4) {
        std::fprintf(stderr, "see the first lines of load.cpp\n");
        return 2;
    }
    const auto port = static_cast<std::uint16_t>(std::stoul(text(1, "")));
    const std::string what = text(2, "");
    if (what == "keys") return make_keys(port, std::stoull(text(3, "")));
    if (what == "quantile") return ask_quantiles(port, std::stod(text(3, "")), std::stoull(text(4, "1000")));
    return send_batches(port, what == "samples", static_cast<unsigned>(std::stoul(text(3, ""))),
                        std::stod(text(4, "5")), std::stoull(text(5, "1000")), std::stod(text(6, "0")),
                        std::stod(text(7, "1e18")));
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
