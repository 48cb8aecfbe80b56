#include "http/gate.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace qsketch_server {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto idle_allowance = 60s;
constexpr auto crowded_idle_allowance = 2s; // when nine tenths of the connections are taken
constexpr auto head_allowance = 10s;
constexpr auto body_allowance = 10s;              // and what slowest_body takes
constexpr std::uint64_t slowest_body = 64 * 1024; // bytes a second
constexpr auto answer_allowance = 30s;
constexpr auto linger_allowance = 5s;
constexpr auto last_linger_allowance = 500ms; // when the server is about to end
constexpr std::size_t linger_bytes = std::size_t{256} << 20;
constexpr int backlog = 1024;
constexpr std::size_t read_size = 256 * 1024;
constexpr std::size_t padding = 64; // what simdjson wants to be able to read behind a text
constexpr std::int64_t never = INT64_MAX;

[[nodiscard]] std::int64_t ticks(clock::time_point t) noexcept { return t.time_since_epoch().count(); }

[[nodiscard]] clock::duration time_for_body(std::uint64_t bytes) noexcept {
    return body_allowance + std::chrono::seconds(bytes / slowest_body);
}

[[nodiscard]] std::string system_message() { return std::error_code(errno, std::generic_category()).message(); }

[[nodiscard]] std::string address_of(const sockaddr_storage& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text.data(), text.size());
    else
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
    return text.data();
}

[[nodiscard]] bool is_loopback(const sockaddr* address) noexcept {
    if (address->sa_family == AF_INET)
        return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

} // namespace

struct gate::connection {
    /// What the connection waits for; it decides which deadline runs and what the end of it means.
    enum class stage { idle, request, busy, answer, linger };

    int fd = -1;
    std::atomic<stage> at = stage::idle;
    std::atomic<std::int64_t> since = 0;    // when the stage began
    std::atomic<std::int64_t> deadline = 0; // of the stage
    std::atomic<bool> expired = false;
    std::string in; // received, not used
    std::size_t scanned = 0;
    bool has_head = false;
    bool peer_done = false; // it sends nothing more
    exchange current;
    chunked_decoder chunks;
    std::string out;
    std::size_t sent = 0;
    bool last = false;  // ends with this answer
    bool begun = false; // a head has begun, and its deadline runs
    bool watched = false;
    // The kernel passes a connection on in order, but that is no order the language knows: this is.
    std::atomic<bool> handed_over = false;
    std::size_t counted = 0;
    std::size_t lingered = 0;

    template <class Allowance>
    void enter(stage next, Allowance allowance) {
        const auto now = clock::now();
        since = ticks(now);
        deadline = ticks(now + allowance);
        at = next;
    }
};

gate::gate(gate_limits limits, answerer answer)
    : limits_(limits), answer_(std::move(answer)),
      max_buffered_((std::max)(std::size_t{256} << 20, 4 * limits.max_body)) {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    reserve_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (epoll_ < 0 || wake_ < 0 || reserve_ < 0) throw std::runtime_error("cannot watch sockets: " + system_message());
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
}

gate::~gate() {
    stop(0ms);
    for (const int fd : {epoll_, wake_, reserve_}) ::close(fd);
}

std::string gate::bind(const std::string& host, std::uint16_t port, bool anywhere) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const std::string place = "--host=" + host + " --port=" + std::to_string(port);
    if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found))
        throw std::runtime_error("cannot listen on " + place + ": " + ::gai_strerror(error));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
    for (const addrinfo* a = found; a != nullptr && !anywhere; a = a->ai_next)
        if (!is_loopback(a->ai_addr))
            throw std::runtime_error("--host=" + host +
                                     " is reachable from other machines, and nothing here asks who is "
                                     "asking; add --insecure if that is meant");
    std::string why;
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
        const int fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;
        // Without SO_REUSEPORT, with which a second server would take half of the connections and nobody would notice.
        if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            ::bind(fd, a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd, backlog) == 0) {
            sockaddr_storage bound{};
            socklen_t size = sizeof bound;
            ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
            listener_ = fd;
            const bool v6 = bound.ss_family == AF_INET6;
            const auto chosen = ntohs(v6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                         : reinterpret_cast<sockaddr_in&>(bound).sin_port);
            const std::string address = address_of(bound);
            return "http://" + (v6 ? "[" + address + "]" : address) + ":" + std::to_string(chosen);
        }
        why = system_message();
        if (fd >= 0) ::close(fd);
    }
    throw std::runtime_error("cannot listen on " + place + ": " + why);
}

void gate::start() {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLONESHOT;
    event.data.ptr = this;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
    for (std::size_t i = 0; i < limits_.threads; ++i) threads_.emplace_back([this] { work(); });
}

void gate::work() {
    while (!over_) {
        // One event at a time: a thread busy with one connection must not sit on the events of others.
        epoll_event event{};
        if (::epoll_wait(epoll_, &event, 1, -1) != 1) continue;
        if (event.data.ptr == this)
            accept_all();
        else if (event.data.ptr != nullptr) // the wake-up, which only ends the wait
            serve(*static_cast<connection*>(event.data.ptr));
    }
}

void gate::accept_all() {
    for (int round = 0; round < 64 && !stopping_; ++round) {
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        const int fd = ::accept4(listener_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE) {
                ::close(reserve_);
                ::close(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
                reserve_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
                continue;
            }
            if (errno == EAGAIN || errno == EINVAL || errno == EBADF) break;
            continue; // ECONNABORTED and its like concern that one client
        }
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto made = std::make_unique<connection>();
        connection& c = *made;
        c.fd = fd;
        c.current.peer = address_of(peer);
        c.enter(connection::stage::idle, idle_allowance);
        const bool crowded = ++open_ > limits_.max_connections;
        {
            const std::lock_guard lock(mutex_);
            connections_[fd] = std::move(made);
        }
        if (crowded) {
            refuse(c, {503, "all connections are taken"});
            if (open_ > limits_.max_connections + 64 || !flush(c)) {
                close(c);
                continue;
            }
        }
        arm(c);
    }
    if (stopping_) return;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLONESHOT;
    event.data.ptr = this;
    ::epoll_ctl(epoll_, EPOLL_CTL_MOD, listener_, &event);
}

void gate::serve(connection& c) {
    (void)c.handed_over.exchange(false, std::memory_order_acquire);
    const auto was = c.at.load();
    if (was == connection::stage::idle || was == connection::stage::request) c.at = connection::stage::busy;
    bool keep = true;
    if (was == connection::stage::answer) {
        keep = flush(c);
        if (keep && c.out.empty() && c.at == connection::stage::busy) keep = advance(c);
    } else {
        keep = receive(c);
    }
    recount_buffered(c);
    if (c.at == connection::stage::busy) c.at = was; // nothing had come
    if (keep && stopping_ && c.at == connection::stage::idle) keep = false;
    if (keep)
        arm(c);
    else
        close(c);
}

bool gate::receive(connection& c) {
    static thread_local std::vector<char> buffer(read_size);
    // A bounded number of reads: others wait too. What is left raises the next event.
    for (int round = 0; round < 16; ++round) {
        const ssize_t n = ::recv(c.fd, buffer.data(), buffer.size(), 0);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return false;
            break;
        }
        if (c.at == connection::stage::linger) {
            c.lingered += static_cast<std::size_t>(n);
            if (n == 0 || c.lingered > linger_bytes) return false;
            continue;
        }
        if (n == 0) {
            c.peer_done = true;
            break;
        }
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
        const bool plain_body = c.has_head && !c.current.head.chunked && c.in.empty() &&
                                c.current.body.size() + bytes.size() <= c.current.head.content_length;
        (plain_body ? c.current.body : c.in).append(bytes);
        if (!advance(c)) return false;
        if (!c.out.empty() || bytes.size() < buffer.size()) break;
    }
    if (c.at == connection::stage::linger) return true;
    if (c.peer_done && c.out.empty()) {
        if (!c.expired || (c.in.empty() && !c.has_head)) return false;
        refuse(c, {408, "the request did not arrive in time"});
        return flush(c);
    }
    return true;
}

bool gate::advance(connection& c) {
    using stage = connection::stage;
    while (c.out.empty() && c.at != stage::linger) {
        if (!c.has_head) {
            // An empty line before a request is to be ignored (RFC 9112, 2.2).
            while (c.scanned == 0 && c.in.starts_with("\r\n")) c.in.erase(0, 2);
            if (c.in.empty()) {
                c.in = {};
                c.enter(stage::idle, idle_allowance);
                return true;
            }
            std::optional<framing_error> error;
            const std::size_t size = find_head(c.in, c.scanned, error);
            if (size > 0 && !error) error = parse_head(std::string_view(c.in).substr(0, size), c.current.head);
            if (error) {
                refuse(c, *error);
                break;
            }
            if (size == 0) {
                if (!std::exchange(c.begun, true)) c.enter(stage::request, head_allowance);
                c.at = stage::request;
                return true;
            }
            c.in.erase(0, size);
            c.scanned = 0;
            c.has_head = true;
            c.begun = false;
            const request_head& head = c.current.head;
            if (head.content_length > limits_.max_body) {
                refuse(c, {413, "the body exceeds --max-body"});
                break;
            }
            c.enter(stage::busy, time_for_body(head.content_length));
            if (head.expects_continue && c.in.empty() && (head.content_length > 0 || head.chunked)) {
                constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
                if (::send(c.fd, go_on.data(), go_on.size(), MSG_NOSIGNAL) != ssize_t{go_on.size()}) return false;
            }
        }
        if (!consume_body(c)) {
            if (!c.out.empty()) break;
            // Only what has come tells how long a chunked body is.
            if (c.current.head.chunked) c.deadline = c.since + time_for_body(c.current.body.size()).count();
            c.at = stage::request;
            return true;
        }
        answer(c);
        if (!flush(c)) return false;
    }
    return flush(c);
}

/// Is the body complete?
bool gate::consume_body(connection& c) {
    const request_head& head = c.current.head;
    std::string& body = c.current.body;
    if (head.chunked) {
        c.in.erase(0, c.chunks.feed(c.in, body, limits_.max_body));
        if (c.chunks.overflow())
            refuse(c, {413, "the body exceeds --max-body"});
        else if (c.chunks.broken())
            refuse(c, {400, "the chunked body is malformed"});
        recount_buffered(c);
        if (!c.out.empty()) return false;
        if (buffered_ > max_buffered_) refuse(c, {503, "too many large requests at once"});
        return c.out.empty() && c.chunks.done();
    }
    const auto wanted = static_cast<std::size_t>(head.content_length) - body.size();
    if (wanted > 0 && !c.in.empty()) {
        const std::size_t n = (std::min)(wanted, c.in.size());
        body.append(c.in, 0, n);
        c.in.erase(0, n);
    }
    recount_buffered(c);
    if (buffered_ > max_buffered_ && body.size() < head.content_length)
        refuse(c, {503, "too many large requests at once"});
    return c.out.empty() && body.size() == head.content_length;
}

void gate::answer(connection& c) {
    c.at = connection::stage::busy;
    c.deadline = never;
    c.current.keep_alive = c.current.head.keep_alive && !stopping_ && !c.expired;
    c.current.body.reserve(c.current.body.size() + padding);
    c.out = answer_(c.current);
    c.last = !c.current.keep_alive;
    c.sent = 0;
    c.has_head = false;
    c.current.head = {};
    c.chunks = {};
    if (c.current.body.capacity() > read_size)
        c.current.body = {};
    else
        c.current.body.clear();
}

void gate::refuse(connection& c, framing_error error) {
    c.current.refused = error;
    c.current.keep_alive = false;
    c.out = answer_(c.current);
    c.current.refused.reset();
    c.current.body = {};
    c.in = {};
    c.last = true;
    c.sent = 0;
}

bool gate::flush(connection& c) {
    while (c.sent < c.out.size()) {
        const ssize_t n = ::send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        if (n < 0) {
            if (c.at != connection::stage::answer) c.enter(connection::stage::answer, answer_allowance);
            return true;
        }
        c.sent += static_cast<std::size_t>(n);
    }
    if (c.out.empty()) return true;
    c.out = {};
    c.sent = 0;
    if (c.last) {
        // A close with bytes unread would reset the connection and could take the answer back from the client.
        if (c.peer_done) return false;
        ::shutdown(c.fd, SHUT_WR);
        c.enter(connection::stage::linger, linger_allowance);
        return true;
    }
    c.at = connection::stage::busy;
    return true;
}

void gate::recount_buffered(connection& c) {
    const std::size_t now = c.in.size() + c.current.body.size() + (c.out.size() - c.sent);
    buffered_ += now - c.counted; // wraps, as unsigned differences do
    c.counted = now;
}

void gate::arm(connection& c) {
    epoll_event event{};
    event.events = EPOLLONESHOT | (c.at == connection::stage::answer ? EPOLLOUT : EPOLLIN);
    event.data.ptr = &c;
    const int fd = c.fd;
    const int action = std::exchange(c.watched, true) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    c.handed_over.store(true, std::memory_order_release);
    ::epoll_ctl(epoll_, action, fd, &event); // from here on the connection is another thread's
}

void gate::close(connection& c) {
    const std::lock_guard lock(mutex_);
    buffered_ -= c.counted;
    --open_;
    const int fd = c.fd;
    connections_.erase(fd); // before the descriptor can come back with another connection
    ::close(fd);
}

void gate::sweep() {
    using stage = connection::stage;
    const auto now = clock::now();
    const bool crowded = open_ > limits_.max_connections / 10 * 9;
    const std::lock_guard lock(mutex_);
    for (const auto& [fd, c] : connections_) {
        const stage at = c->at;
        if (at == stage::busy) continue;
        bool late = ticks(now) > c->deadline;
        if (at == stage::idle) late = late || stopping_ || (crowded && ticks(now - crowded_idle_allowance) > c->since);
        if (at == stage::linger) late = late || (stopping_ && ticks(now - last_linger_allowance) > c->since);
        if (!late) continue;
        c->expired = true;
        // The thread that sees the end of the stream closes; only with an answer half sent it is cut off both ways.
        ::shutdown(fd, at == stage::answer || at == stage::linger ? SHUT_RDWR : SHUT_RD);
    }
}

void gate::stop(std::chrono::milliseconds patience) {
    if (over_) return;
    stopping_ = true;
    if (listener_ >= 0) {
        ::epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
        ::shutdown(listener_, SHUT_RDWR); // refuses from now on; closed when no thread can be in accept
    }
    for (const auto end = clock::now() + patience; !threads_.empty() && open_ > 0 && clock::now() < end;) {
        sweep();
        std::this_thread::sleep_for(10ms);
    }
    over_ = true;
    const std::uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) std::abort(); // an eventfd takes a one
    for (std::thread& t : threads_) t.join();
    threads_.clear();
    for (const auto& [fd, c] : connections_) ::close(fd);
    connections_.clear();
    if (listener_ >= 0) ::close(listener_);
    listener_ = -1;
}

} // namespace qsketch_server
