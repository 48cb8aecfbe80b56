#pragma once

#include "http/framing.hpp"
#include "http/listener.hpp"
#include "http/places.hpp"
#include "http/rota.hpp"

#include <array>
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

/// What takes longer than a lane may be held: it needs a thread that the lane can spare, and of large requests few are
/// worked on at once.
enum class load : std::uint8_t { slow, large };

/// One whole request as it left the gate, or what the gate refuses in its stead.
struct exchange {
    request_head head;
    std::string body;
    std::string peer;
    bool keep_alive = true;
    std::optional<framing_error> refused;
    std::optional<std::size_t> failed; ///< The route of a request whose changes could not be made durable.
    /// To be called by who answers, before it waits for anything or works for long: another thread then goes on with
    /// the other connections. Further calls return true and do nothing. False: as many as may have stepped aside. Then
    /// it should leave the request `unfinished`; if it goes on, it may hold up others.
    std::function<bool(load what)> step_aside;
    /// Set by who answers in place of an answer, after it was not let aside: it is asked again, perhaps on another
    /// thread, when there is a place, and finds here what it has left. It then is aside.
    std::shared_ptr<void> unfinished;
    /// Set by who answers where the answer is not to be sent at once: it is called with what sends it, to be called
    /// from any thread, once, with another answer in its stead or an empty text.
    std::function<void(std::function<void(std::string instead)> send)> later;
};

struct gate_limits {
    std::size_t threads; ///< How many slow requests may have stepped aside at once; one more for each lane goes on.
    std::size_t large;   ///< How many large ones may, on further threads.
    std::size_t lanes;   ///< At least one.
    std::size_t max_connections;
    std::size_t max_body;
};

struct gate_figures {
    std::size_t open = 0;          ///< Connections there are.
    std::uint64_t turned_away = 0; ///< For lack of room, so far.
    std::size_t buffered = 0;      ///< Bytes of requests and answers under way.
};

/// The sockets: accepts connections, collects whole requests and sends answers.
///
/// A connection costs a descriptor and some hundred bytes until a whole request of it has arrived; only then a thread
/// works for it, and no longer than the answer takes. So clients that are idle, slow, or never finish what they began
/// hold up nobody, and all requests have deadlines. Each connection is in one of a few lanes, about as many as there
/// are cores, each an epoll set that one thread at a time works on. Quick requests are answered then and there; for
/// others the thread takes the connection out of the set, passes the lane on and puts the connection back later. What
/// finds no place for that waits in a queue, without a thread.
class gate {
public:
    /// Makes the bytes of the answer. Called from many threads at once.
    using answerer = std::function<std::string(exchange&)>;
    /// Is the body of this request, of which the head is there, worth waiting for? If not, it is answered without it.
    using body_filter = std::function<bool(const exchange&)>;

    gate(gate_limits limits, answerer answer, body_filter welcome = {});
    ~gate();
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;

    /// listen_on(), with a descriptor that stays the gate's; answers wait until start().
    listening bind(const std::string& host, std::uint16_t port, bool anywhere);

    void start();

    /// Ends what is over its deadline. To be called a few times a second.
    void sweep();

    /// Accepts nothing more, ends idle connections, lets requests under way be answered, but waits no longer than
    /// `patience` for their clients; then returns with all threads joined.
    void stop(std::chrono::milliseconds patience);

    /// Has anything come that no thread has looked at yet?
    [[nodiscard]] bool has_unserved() const;

    [[nodiscard]] gate_figures figures() const noexcept { return {open_, turned_away_, buffered_}; }

private:
    struct connection;

    struct lane;

    void work();
    void accept_all();
    /// Whether the thread still has the connection's lane.
    bool serve(connection& c);
    bool step_aside(connection& c, load what);
    /// With the place that the thread has, for one after the other.
    void serve_queued(connection* c, load what);
    void hold_back(connection& c);
    void send(connection& c, std::string instead);
    void finish(connection& c);
    void put_back(connection& c, bool keep);
    void unwatch(connection& c);
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
    places<connection>& places_of(load what) { return places_[static_cast<std::size_t>(what)]; }

    gate_limits limits_;
    answerer answer_;
    body_filter welcome_;
    std::size_t max_buffered_;
    int listener_ = -1;
    int wake_ = -1;
    int reserve_ = -1; // given up for a moment to turn a client away when descriptors have run out
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> over_ = false;
    std::atomic<std::size_t> open_ = 0;
    std::atomic<std::size_t> buffered_ = 0;
    std::atomic<std::uint64_t> turned_away_ = 0;
    std::atomic<std::size_t> held_back_ = 0;
    std::mutex mutex_;
    std::unordered_map<int, std::unique_ptr<connection>> connections_;
    std::vector<std::unique_ptr<lane>> lanes_;
    std::size_t next_lane_ = 0; // for the next connection
    rota<lane> rota_;
    std::array<places<connection>, 2> places_; // for each load
    std::vector<std::thread> threads_;
};

} // namespace qsketch_server
