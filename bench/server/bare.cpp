// cpp-httplib by itself, as its documentation shows it: the ceiling that bench/server/run states beside each number.
#include <httplib.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

int main() {
    httplib::Server server;
    server.set_tcp_nodelay(true); // without it, no more than 25 requests a second come through a connection
    server.set_keep_alive_max_count(1'000'000'000);
    server.set_payload_max_length(16u << 20);
    server.new_task_queue = [] { return new httplib::ThreadPool(64); };
    const auto ok = [](const httplib::Request&, httplib::Response& answer) { answer.set_content("ok", "text/plain"); };
    server.Get("/livez", ok);
    server.Post("/samples", ok);
    server.Post("/analytics", ok);
    const int port = server.bind_to_any_port("127.0.0.1");
    std::printf("listening on http://127.0.0.1:%d\n", port);
    std::fflush(stdout);
    return server.listen_after_bind() ? 0 : 1;
}
