#include "http/gate.hpp"

#include "http/connection.hpp"
#include "http/lane.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
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
constexpr std::size_t read_size = 256 * 1024;
// So that little of a large body has to be moved from behind its head.
constexpr std::size_t first_read_size = 16 * 1024;
constexpr std::size_t padding = 64; // what simdjson wants to be able to read behind a text
constexpr std::int64_t never = INT64_MAX;

[[nodiscard]] clock::duration time_for_body(std::uint64_t bytes) noexcept {
    return body_allowance + std::chrono::seconds(bytes / slowest_body);
}

/// Growing step by step would move a large body twice. So there is room for all of it once a quarter has come: earlier,
/// who only announces much would be given it.
void append(std::string_view bytes, exchange& to) {
    const std::uint64_t size = to.body.size() + bytes.size();
    const std::uint64_t whole = to.head.content_length + padding;
    if (size > to.body.capacity() && whole <= 4 * size) to.body.reserve(static_cast<std::size_t>(whole));
    to.body.append(bytes);
}

[[nodiscard]] bool has_unread(int fd) noexcept {
    char first = 0;
    return ::recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

} // namespace

gate::gate(gate_limits limits, answerer answer, body_filter welcome)
    : limits_(limits), answer_(std::move(answer)), welcome_(std::move(welcome)),
      max_buffered_(bodies_together(limits.max_body)), places_{{places<connection>(limits.threads),
                                                                places<connection>(limits.large)}} {
    wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    reserve_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (wake_ < 0 || reserve_ < 0) throw std::system_error(errno, std::generic_category(), "cannot watch sockets");
    for (std::size_t i = 0; i < limits_.lanes; ++i) {
        lanes_.push_back(std::make_unique<lane>());
        lanes_.back()->watch(wake_, EPOLLIN, nullptr);
    }
}

gate::~gate() {
    stop(0ms);
    for (const int fd : {wake_, reserve_}) ::close(fd);
}

listening gate::bind(const std::string& host, std::uint16_t port, bool anywhere) {
    listening place = listen_on(host, port, anywhere);
    listener_ = place.fd;
    return place;
}

void gate::start() {
    lanes_.front()->watch(listener_, EPOLLIN, this);
    for (const auto& l : lanes_) rota_.pass(*l);
    for (std::size_t i = 0; i < limits_.threads + limits_.large + limits_.lanes; ++i)
        threads_.emplace_back([this] { work(); });
}

void gate::work() {
    rota<lane>::seat seat;
    while (lane* const mine = rota_.take(seat)) {
        for (bool held = true; held;) {
            if (mine->next == mine->count) {
                mine->next = 0;
                mine->count = (std::max)(0, ::epoll_wait(mine->epoll, mine->events.data(), lane::batch, -1));
                continue;
            }
            void* const who = mine->events[static_cast<std::size_t>(mine->next++)].data.ptr;
            if (over_) return;
            if (who == this)
                accept_all();
            else if (who != nullptr) // the wake-up, which only ends the wait
                held = serve(*static_cast<connection*>(who));
        }
    }
}

bool gate::has_unserved() const {
    std::array<pollfd, 64> sets; // that many lanes stand for all of them
    const std::size_t n = (std::min)(lanes_.size(), sets.size());
    for (std::size_t i = 0; i < n; ++i) sets[i] = {lanes_[i]->epoll, POLLIN, 0};
    return ::poll(sets.data(), n, 0) > 0;
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
                ++turned_away_;
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
        c.home = lanes_[next_lane_++ % lanes_.size()].get();
        c.current.peer = address_of(peer);
        c.current.step_aside = [this, &c](load what) { return step_aside(c, what); };
        c.enter(connection::stage::idle, idle_allowance);
        const bool crowded = ++open_ > limits_.max_connections;
        {
            const std::lock_guard lock(mutex_);
            connections_[fd] = std::move(made);
        }
        if (crowded) {
            ++turned_away_;
            refuse(c, {503, "all connections are taken"});
            if (open_ > limits_.max_connections + 64 || !flush(c)) {
                close(c);
                continue;
            }
        }
        arm(c);
    }
}

bool gate::serve(connection& c) {
    (void)c.handed_over.exchange(false, std::memory_order_acquire);
    const auto was = c.at.load();
    if (was == connection::stage::idle || was == connection::stage::request) c.at = connection::stage::busy;
    bool keep = true;
    if (was == connection::stage::answer) {
        if (c.out.empty()) c.at = connection::stage::busy; // sent by send(), and more has come
        keep = flush(c);
        if (keep && c.out.empty() && c.at == connection::stage::busy) keep = advance(c);
    } else {
        keep = receive(c);
    }
    recount_buffered(c);
    const auto aside = std::exchange(c.aside, std::nullopt);
    if (keep && c.current.unfinished) {
        unwatch(c);
        const load what = c.wanted;
        if (!places_of(what).take_or_queue(c)) return true;
        rota_.pass(*c.home);
        serve_queued(&c, what);
        return false;
    }
    if (keep && c.current.later) {
        hold_back(c);
    } else {
        if (c.at == connection::stage::busy) c.at = was; // nothing had come
        put_back(c, keep);
    }
    if (!aside) return true;
    serve_queued(places_of(*aside).pass(), *aside);
    return false;
}

void gate::serve_queued(connection* c, load what) {
    for (; c != nullptr; c = places_of(what).pass()) {
        c->aside = what;
        if (over_) {
            c->current.unfinished.reset();
            refuse(*c, {503, "the server is about to end"});
        } else {
            answer(*c);
        }
        c->aside.reset();
        if (c->current.later)
            hold_back(*c);
        else
            finish(*c);
    }
}

bool gate::step_aside(connection& c, load what) {
    if (c.aside) return true;
    if (!places_of(what).take()) {
        c.wanted = what;
        return false;
    }
    c.aside = what;
    unwatch(c);
    rota_.pass(*c.home);
    return true;
}

/// Takes it out of the set, as a connection that ends is an event even if none is asked for.
void gate::unwatch(connection& c) {
    if (std::exchange(c.watched, 0) != 0) ::epoll_ctl(c.home->epoll, EPOLL_CTL_DEL, c.fd, nullptr);
}

/// From here on the connection is that of the thread that calls send().
void gate::hold_back(connection& c) {
    unwatch(c);
    ++held_back_;
    const auto later = std::exchange(c.current.later, nullptr);
    later([this, &c](std::string instead) { send(c, std::move(instead)); });
}

void gate::send(connection& c, std::string instead) {
    if (!instead.empty()) c.out = std::move(instead);
    finish(c);
    --held_back_;
}

/// Sends the answer of a connection that is not in its set.
void gate::finish(connection& c) {
    const bool keep = flush(c);
    if (keep && c.at == connection::stage::busy) {
        if (c.in.empty())
            c.enter(connection::stage::idle, idle_allowance);
        else // for its lane to go on with
            c.enter(connection::stage::answer, answer_allowance);
    }
    recount_buffered(c);
    put_back(c, keep);
}

/// From here on the connection may be another thread's.
void gate::put_back(connection& c, bool keep) {
    if (keep && !(stopping_ && c.at == connection::stage::idle))
        arm(c);
    else
        close(c);
}

bool gate::receive(connection& c) {
    // Only the pages that are ever received into become memory.
    static thread_local const auto buffer = std::make_unique_for_overwrite<char[]>(read_size);
    // A bounded number of reads: others wait too. What is left raises the next event.
    for (int round = 0; round < 16; ++round) {
        const std::size_t most = c.has_head ? read_size : first_read_size;
        const ssize_t n = ::recv(c.fd, buffer.get(), most, 0);
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
        const std::string_view bytes(buffer.get(), static_cast<std::size_t>(n));
        const bool plain_body = c.has_head && !c.current.head.chunked && c.in.empty() &&
                                c.current.body.size() + bytes.size() <= c.current.head.content_length;
        if (plain_body)
            append(bytes, c.current);
        else
            c.in.append(bytes);
        if (!advance(c)) return false;
        if (!c.out.empty() || c.current.unfinished || bytes.size() < most) break;
    }
    if (c.at == connection::stage::linger || c.current.unfinished) return true;
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
                make_empty(c.in);
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
            if (welcome_ && (head.chunked || head.content_length > c.in.size()) && !welcome_(c.current)) {
                c.current.head.keep_alive = false;
                answer(c);
                make_empty(c.in);
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
        if (c.current.later || c.current.unfinished) return true;
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
        append(std::string_view(c.in).substr(0, n), c.current);
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
    if (c.current.unfinished) {
        make_empty(c.out);
        return;
    }
    c.last = !c.current.keep_alive;
    c.sent = 0;
    c.has_head = false;
    c.current.head = {};
    c.chunks = {};
    make_empty(c.current.body);
    if (c.in.empty()) make_empty(c.in);
}

void gate::refuse(connection& c, framing_error error) {
    c.current.refused = error;
    c.current.keep_alive = false;
    c.out = answer_(c.current);
    c.current.refused.reset();
    make_empty(c.current.body);
    make_empty(c.in);
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
    make_empty(c.out);
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
    const std::uint32_t wanted = c.at == connection::stage::answer ? EPOLLOUT : EPOLLIN;
    const std::uint32_t was = std::exchange(c.watched, wanted);
    c.handed_over.store(true, std::memory_order_release);
    if (was != wanted) c.home->watch(c.fd, wanted, &c, was == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD);
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
    const auto ticks = connection::ticks;
    const auto now = clock::now();
    const bool crowded = open_ > limits_.max_connections / 10 * 9;
    const std::lock_guard lock(mutex_);
    for (const auto& [fd, c] : connections_) {
        const stage at = c->at;
        if (at == stage::busy) continue;
        bool late = ticks(now) > c->deadline;
        if (at == stage::idle) {
            late = late || (crowded && ticks(now - crowded_idle_allowance) > c->since);
            late = late || (stopping_ && !has_unread(fd));
        }
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
        ::epoll_ctl(lanes_.front()->epoll, EPOLL_CTL_DEL, listener_, nullptr);
        ::shutdown(listener_, SHUT_RDWR); // refuses from now on; closed when no thread can be in accept
    }
    for (const auto end = clock::now() + patience; !threads_.empty() && open_ > 0 && clock::now() < end;) {
        sweep();
        std::this_thread::sleep_for(10ms);
    }
    over_ = true;
    rota_.end();
    const std::uint64_t one = 1;
    if (::write(wake_, &one, sizeof one) < 0) std::abort(); // an eventfd takes a one
    for (std::thread& t : threads_) t.join();
    threads_.clear();
    while (held_back_ > 0) std::this_thread::sleep_for(1ms);
    for (const auto& [fd, c] : connections_) ::close(fd);
    connections_.clear();
    if (listener_ >= 0) ::close(listener_);
    listener_ = -1;
}

} // namespace qsketch_server
