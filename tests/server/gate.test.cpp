#include "http/gate.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace qsketch_server;
using namespace server_test;
using namespace std::chrono_literals;

namespace {

std::string answer_of(const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// A gate on a free port with a thread that sweeps.
class running_gate {
public:
    running_gate(std::size_t threads, std::size_t lanes, gate::answerer answer, std::chrono::milliseconds patience = 5s)
        : gate_({threads, large_at_once, lanes, 1000, 1 << 20}, std::move(answer)), patience_(patience) {
        const std::string url = gate_.bind("127.0.0.1", 0, false).url;
        port_ = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
        gate_.start();
    }
    ~running_gate() { gate_.stop(patience_); }
    static constexpr std::size_t large_at_once = 2;
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    [[nodiscard]] const gate& operator*() const noexcept { return gate_; }

private:
    gate gate_;
    std::chrono::milliseconds patience_;
    std::uint16_t port_ = 0;
};

/// Has those that ask for /wait step aside and wait until they may go on, and answers all with what they ask for.
struct waiting_room {
    explicit waiting_room(std::ptrdiff_t expected) : arrived(expected) {}

    std::string operator()(exchange& x) {
        if (x.head.target == "/wait") {
            x.step_aside(load::slow);
            x.step_aside(load::slow); // means nothing more
            arrived.count_down();
            go_on.wait();
        }
        return answer_of(x.head.target);
    }

    std::latch arrived;
    std::latch go_on{1};
};

/// Has those that ask for /slow or /large wait for a place and then until they may go on, whose bodies begin with their
/// numbers, and answers with the body; others with what they ask for.
struct queueing_room {
    explicit queueing_room(int expected) : go_on(static_cast<std::size_t>(expected)) {}

    std::string operator()(exchange& x) {
        if (x.refused) return answer_of("refused");
        const bool large = x.head.target == "/large";
        if (!large && x.head.target != "/slow") return answer_of(x.head.target);
        const auto what = large ? load::large : load::slow;
        const auto left = std::static_pointer_cast<std::string>(std::exchange(x.unfinished, nullptr));
        const bool again = left != nullptr && *left == x.body;
        const bool aside = x.step_aside(what);
        if (!aside) x.unfinished = std::make_shared<std::string>(x.body);
        {
            const std::lock_guard lock(mutex_);
            if (aside) {
                auto& most = most_at_once[static_cast<std::size_t>(what)];
                most = (std::max)(most, ++at_once_[static_cast<std::size_t>(what)]);
            }
            ++asked;
        }
        if (!aside) return "this is not sent";
        go_on[std::stoul(x.body)].get_future().wait();
        const std::lock_guard lock(mutex_);
        --at_once_[static_cast<std::size_t>(what)];
        return answer_of(again || left == nullptr ? x.body : "something else was left");
    }

    std::atomic<int> asked = 0;
    std::array<int, 2> most_at_once{};
    std::vector<std::promise<void>> go_on;

private:
    std::mutex mutex_;
    std::array<int, 2> at_once_{};
};

int threads_there_are() {
    std::ifstream in("/proc/self/status");
    std::string word;
    while (in >> word && word != "Threads:") {
    }
    int threads = 0;
    in >> threads;
    return threads;
}

double processor_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

} // namespace

TEST_CASE("Who steps aside before waiting holds up no other connection, as long as there are threads") {
    constexpr int waiting = 3;
    waiting_room room(waiting);
    const running_gate g(waiting, 1, std::ref(room));
    std::vector<connection> held;
    for (int i = 0; i < waiting; ++i) {
        held.emplace_back(g.port());
        // What follows is there before the first answer is, and is answered after it by the same thread.
        held.back().send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    room.arrived.wait();
    for (int i = 0; i < 20; ++i) CHECK(get(g.port(), "/quick").body == "/quick");
    room.go_on.count_down();
    for (auto& c : held) {
        CHECK(c.receive().body == "/wait");
        CHECK(c.receive().body == "/next");
        c.send("GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(c.receive().body == "/again");
    }
}

TEST_CASE("A connection that ends or goes on sending while its answer is waited for costs nothing and is not lost") {
    waiting_room room(2);
    const running_gate g(4, 2, std::ref(room));
    auto gone = std::make_unique<connection>(g.port());
    connection eager(g.port());
    gone->send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    eager.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    room.arrived.wait();
    gone.reset();
    for (int i = 0; i < 50; ++i) eager.send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    const double before = processor_seconds();
    std::this_thread::sleep_for(500ms);
    CHECK(processor_seconds() - before < 0.2);
    room.go_on.count_down();
    CHECK(eager.receive().body == "/wait");
    for (int i = 0; i < 50; ++i) CHECK(eager.receive().body == "/" + std::to_string(i));
}

TEST_CASE("What has come and no thread has looked at is known") {
    std::latch arrived(1);
    std::latch go_on(1);
    const running_gate g(1, 1, [&](exchange& x) {
        if (x.head.target == "/first") {
            arrived.count_down();
            go_on.wait(); // with the only lane
        }
        return answer_of(x.head.target);
    });
    connection first(g.port());
    connection second(g.port());
    CHECK(get(g.port(), "/accepted").status == 200);
    first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    arrived.wait();
    CHECK_FALSE((*g).has_unserved());
    second.send("GET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!(*g).has_unserved()) std::this_thread::sleep_for(1ms);
    go_on.count_down();
    CHECK(first.receive().body == "/first");
    CHECK(second.receive().body == "/second");
}

TEST_CASE("All requests that come at once may wait at once, and all are answered") {
    constexpr int clients = 64;
    std::latch everybody(clients);
    const running_gate g(clients, 2, [&](exchange& x) {
        x.step_aside(load::slow);
        everybody.arrive_and_wait(); // for ever, if one thread fewer got here
        return answer_of("done");
    });
    std::vector<connection> held;
    for (int i = 0; i < clients; ++i) held.emplace_back(g.port());
    for (auto& c : held) c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    for (auto& c : held) CHECK(c.receive().body == "done");
}

TEST_CASE("What finds no place waits in its queue without a thread, and holds up nothing that is quick") {
    constexpr int slow = 2; // at once; of large ones as many
    constexpr int waiting = 40;
    queueing_room room(2 * waiting);
    const running_gate g(slow, 1, std::ref(room));
    const auto body_of = [](int i) { return std::to_string(i) + std::string(20'000, 'x'); };
    std::vector<connection> held;
    for (int i = 0; i < 2 * waiting; ++i) {
        held.emplace_back(g.port());
        const std::string body = body_of(i);
        held.back().send((i % 2 == 0 ? "POST /slow" : "POST /large") +
                         (" HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size())) + "\r\n\r\n" +
                         body + "GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
        while (room.asked < i + 1) std::this_thread::sleep_for(1ms); // so that their order is known
    }
    connection quick(g.port());
    for (int i = 0; i < 20; ++i) {
        quick.send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(quick.receive().body == "/quick");
    }
    CHECK((*g).figures().buffered >= 2 * waiting * body_of(0).size());
    CHECK_FALSE((*g).has_unserved());
    for (int i = 0; i < 2 * waiting; ++i) {
        room.go_on[static_cast<std::size_t>(i)].set_value();
        // Of each kind the first that came is the first that is answered.
        CHECK(held[static_cast<std::size_t>(i)].receive().body == body_of(i));
        CHECK(held[static_cast<std::size_t>(i)].receive().body == "/next");
    }
    CHECK(room.asked == 2 * (waiting + waiting - slow));
    CHECK(room.most_at_once == std::array{slow, static_cast<int>(running_gate::large_at_once)});
    for (auto& c : held) c.send("GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    for (auto& c : held) CHECK(c.receive().body == "/again");
    CHECK((*g).figures().buffered == 0);
}

TEST_CASE("When the gate stops, what is still in a queue after its patience is refused, and nobody works on it") {
    constexpr int waiting = 10;
    queueing_room room(waiting);
    auto g = std::make_unique<running_gate>(3, 1, std::ref(room), 0ms);
    std::vector<connection> held;
    for (int i = 0; i < waiting; ++i) {
        held.emplace_back(g->port());
        held.back().send("GET /large HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" + std::to_string(i));
        while (room.asked < i + 1) std::this_thread::sleep_for(1ms);
    }
    const int threads = threads_there_are();
    std::thread stopping([&] { g.reset(); });
    while (threads_there_are() >= threads) std::this_thread::sleep_for(1ms); // those that have nothing to do end
    for (std::size_t i = 0; i < running_gate::large_at_once; ++i) room.go_on[i].set_value();
    stopping.join();
    for (std::size_t i = 0; i < waiting; ++i)
        CHECK(held[i].receive().body == (i < running_gate::large_at_once ? std::to_string(i) : "refused"));
    CHECK(room.asked == waiting);
}

TEST_CASE("A request that had been sent when the gate stops is read to its end") {
    std::latch arrived(1);
    std::latch go_on(1);
    auto g = std::make_unique<running_gate>(1, 1, [&](exchange& x) {
        if (x.head.target == "/first") {
            arrived.count_down();
            go_on.wait(); // with the only lane
        }
        return answer_of(std::to_string(x.body.size()));
    });
    connection first(g->port());
    connection second(g->port());
    CHECK(get(g->port(), "/accepted").status == 200);
    first.send("GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
    arrived.wait();
    constexpr std::size_t size = 1'000'000; // more than the system takes for a server that does not read
    std::thread sending([&] {
        second.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
                    std::string(size, 'x'));
    });
    while (!(**g).has_unserved()) std::this_thread::sleep_for(1ms);
    std::thread stopping([&] { g.reset(); });
    std::this_thread::sleep_for(100ms); // it looks at its connections a hundred times a second
    go_on.count_down();
    CHECK(second.receive().body == std::to_string(size));
    sending.join();
    stopping.join();
}

TEST_CASE("A gate that stops waits for those who have stepped aside") {
    std::latch arrived(1);
    std::atomic<bool> finished = false;
    auto g = std::make_unique<running_gate>(2, 1, [&](exchange& x) {
        x.step_aside(load::slow);
        arrived.count_down();
        std::this_thread::sleep_for(300ms);
        finished = true;
        return answer_of("late");
    });
    connection c(g->port());
    c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    arrived.wait();
    g.reset();
    CHECK(finished);
    CHECK(c.receive().body == "late");
}

TEST_CASE("Answers that are held back wait without a thread, and are sent by whoever is called for them") {
    constexpr std::size_t waiting = 20; // many more than threads
    std::mutex mutex;
    std::vector<std::function<void(std::string)>> senders;
    const running_gate g(1, 1, [&](exchange& x) {
        if (x.head.target != "/quick")
            x.later = [&](auto send) {
                const std::lock_guard lock(mutex);
                senders.push_back(std::move(send));
            };
        return answer_of(x.head.target);
    });
    std::vector<connection> clients;
    for (std::size_t i = 0; i < waiting; ++i) {
        clients.emplace_back(g.port());
        clients.back().send("GET /held" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (std::size_t held = 0; held < waiting; std::this_thread::sleep_for(1ms)) {
        const std::lock_guard lock(mutex);
        held = senders.size();
    }
    // A second request behind one that waits is not even read before that is answered.
    for (auto& c : clients) c.send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    connection other(g.port());
    other.send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(other.receive().body == "/quick");

    for (auto& send : senders) send(answer_of("now"));
    senders.clear();
    for (auto& c : clients) {
        CHECK(c.receive().body == "now");
        CHECK(c.receive().body == "/quick");
    }

    // And two at once, of which the second is answered after the first.
    clients[0].send("GET /again HTTP/1.1\r\nHost: x\r\n\r\nGET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    for (bool held = false; !held; std::this_thread::sleep_for(1ms)) {
        const std::lock_guard lock(mutex);
        held = !senders.empty();
    }
    senders.front()({});
    CHECK(clients[0].receive().body == "/again");
    CHECK(clients[0].receive().body == "/quick");
}

TEST_CASE("The gate does not stop before the answers that are held back have been sent") {
    std::promise<std::function<void(std::string)>> sender;
    std::atomic<bool> sent = false;
    std::thread later;
    {
        const running_gate g(
            1, 1,
            [&](exchange& x) {
                x.later = [&](auto send) { sender.set_value(std::move(send)); };
                return answer_of("held");
            },
            0s);
        connection c(g.port());
        c.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        later = std::thread([&sent, send = sender.get_future().get()] {
            std::this_thread::sleep_for(50ms);
            sent = true;
            send({});
        });
    }
    CHECK(sent);
    later.join();
}
