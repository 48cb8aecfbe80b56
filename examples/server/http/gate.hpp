#pragma once

#include "http/framing.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace qsketch_server {

/// One whole request as it left the gate, or what the gate refuses in its stead.
struct exchange {
    request_head head;
    std::string body;
    std::string peer;
    bool keep_alive = true;
    std::optional<framing_error> refused;
};

struct gate_limits {
    std::size_t threads;
    std::size_t max_connections;
    std::size_t max_body;
};

/// The sockets: accepts connections, collects whole requests and sends answers.
///
/// A connection costs a descriptor and some hundred bytes until a whole request of it has arrived; only then a thread
/// works for it, and no longer than the answer takes. So clients that are idle, slow, or never finish what they began
/// hold up nobody, and all requests have deadlines. All threads wait on one epoll set in which every descriptor is
/// armed for one event at a time: whoever gets the event owns the connection until it arms it again.
class gate {
public:
    /// Makes the bytes of the answer. Called from many threads at once.
    using answerer = std::function<std::string(exchange&)>;

    gate(gate_limits limits, answerer answer);
    ~gate();
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;

    /// Binds and listens; answers wait until start(). Port 0 picks one. Returns the URL of the place.
    /// Throws std::runtime_error if the host is unknown or the port taken, and, unless `anywhere`, if the host is not
    /// this machine's loopback.
    std::string bind(const std::string& host, std::uint16_t port, bool anywhere);

    void start();

    /// Ends what is over its deadline. To be called a few times a second.
    void sweep();

    /// Accepts nothing more, ends idle connections, lets requests under way be answered, but waits no longer than
    /// `patience` for their clients; then returns with all threads joined.
    void stop(std::chrono::milliseconds patience);

    [[nodiscard]] std::size_t connections() const noexcept { return open_; }

private:
    struct connection;

    void work();
    void accept_all();
    void serve(connection& c);
    /// These three return whether the connection is to be kept.
    bool receive(connection& c);
    bool advance(connection& c);
    bool flush(connection& c);
    bool consume_body(connection& c);
    void answer(connection& c);
    void refuse(connection& c, framing_error error);
    void arm(connection& c);
    void close(connection& c);
    void recount_buffered(connection& c);

    gate_limits limits_;
    answerer answer_;
    std::size_t max_buffered_;
    int epoll_ = -1;
    int listener_ = -1;
    int wake_ = -1;
    int reserve_ = -1; // given up for a moment to turn a client away when descriptors have run out
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> over_ = false;
    std::atomic<std::size_t> open_ = 0;
    std::atomic<std::size_t> buffered_ = 0;
    std::mutex mutex_;
    std::unordered_map<int, std::unique_ptr<connection>> connections_;
    std::vector<std::thread> threads_;
};

} // namespace qsketch_server
