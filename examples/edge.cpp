// A process that serves many requests sends no latencies, but a t-digest of each second to a qsketch-server:
//
//     edge http://localhost:8080
//
// What it sends is all it has counted of a second so far. The server keeps the latest state of each sender and second,
// so whatever was not acknowledged is sent again: nothing is lost, nothing counts twice.
#include <qsketch/tdigest.hpp>

#include <httplib.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace {

/// Stands in for a request: milliseconds, most of them few, every hundredth waiting for a disk.
double handle(int request) { return request % 100 == 99 ? 250.0 + request % 7 : 2.0 + request % 10 * 0.1; }

std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

class sender {
public:
    sender(const char* server, std::string node) : server_(server), node_(std::move(node)) {}

    /// The server's answer; empty if there was none.
    std::string send(const std::string& key, std::int64_t second_ms, const qsketch::tdigest<>& digest) {
        const std::string path = httplib::append_query_params("/v1/sketches/" + key + "/merge",
                                                              {{"timestamp", std::to_string(second_ms)},
                                                               {"node", node_},
                                                               {"incarnation", std::to_string(incarnation_)},
                                                               {"sequence", std::to_string(++sequence_)}});
        const auto image = digest.serialize();
        const std::string body(reinterpret_cast<const char*>(image.data()), image.size());
        const auto answer = server_.Put(path, body, "application/octet-stream");
        return answer && answer->status == 200 ? answer->body : std::string();
    }

private:
    httplib::Client server_;
    std::string node_;
    std::int64_t incarnation_ = now_ms(); // each start of the process has another one
    std::int64_t sequence_ = 0;
};

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "edge: wants the server's address\n");
        return 2;
    }
    sender to_server(argv[1], "edge-1");
    const std::int64_t now = now_ms();
    int request = 0;
    for (const int seconds_ago : {2, 1, 0}) {
        const std::int64_t second = now - 1000 * seconds_ago;
        qsketch::tdigest<> latencies;
        for (int i = 0; i < 10'000; ++i) {
            latencies.add(handle(request++));
            if (i == 5'000) to_server.send("latency", second, latencies); // so far; answered or not
        }
        std::string answer;
        for (int attempt = 0; answer.empty() && attempt < 5; ++attempt)
            answer = to_server.send("latency", second, latencies);
        if (answer.empty()) {
            std::fprintf(stderr, "edge: no answer from %s\n", argv[1]);
            return 1;
        }
        std::printf("%zu bytes: %s\n", latencies.serialize().size(), answer.c_str());
    }
}
