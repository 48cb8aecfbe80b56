#include "unhurried.hpp"

#include "application.hpp"
#include "http/dispatch.hpp"
#include "http/request.hpp"
#include "options.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

using namespace qsketch_server;

namespace {

/// An application that says what it is asked for while it handles a request.
class watched_application {
public:
    watched_application()
        : app_(
              *parse_options(static_cast<int>(arguments.size()), arguments.data()),
              [this] {
                  if (watching_) {
                      small_requests = (std::max)(small_requests, app_.small_requests.load());
                      threads.insert(std::this_thread::get_id());
                  }
                  return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
              },
              [this] { return ++questions > 0; }) {}

    /// How many small requests there are when a query passes its lane on.
    std::size_t small_requests_beside_lane() {
        std::size_t seen = 0;
        request rq;
        rq.method = "GET";
        rq.step_aside = [&](load) {
            seen = app_.small_requests;
            return true;
        };
        CHECK(dispatch(app_, rq, "/quantile?key=none&q=0.5&window=60").status == 404);
        CHECK(app_.small_requests == 0);
        return seen;
    }

    /// The status of the answer to a POST of samples.
    int post(std::string body, std::string content_type) {
        const std::size_t size = body.size();
        body.append(64, ' ');
        request rq;
        rq.method = "POST";
        rq.content_type = std::move(content_type);
        rq.body = std::string_view(body).substr(0, size);
        small_requests = 0;
        questions = 0;
        threads.clear();
        watching_ = true;
        const answer out = dispatch(app_, rq, "/samples");
        watching_ = false;
        CHECK(app_.small_requests == 0);
        return out.status;
    }

    std::size_t small_requests = 0;         ///< At most, when it was looked at.
    std::atomic<std::size_t> questions = 0; ///< Whether anything has come.
    std::set<std::thread::id> threads;

private:
    static constexpr std::array<const char*, 3> arguments = {"qsketch-server", "--durability=none", "--rate-limit=0"};

    bool watching_ = false;
    application app_;
};

std::string lines(int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += "{\"key\":\"checkout.latency\",\"value\":" + std::to_string(i) + "}\n";
    return out;
}

} // namespace

TEST_CASE("Pauses ask once in a stretch whether others wait, and only on a thread that is told whom to ask") {
    int questions = 0;
    const auto work = [] {
        pauses pause(10);
        for (int i = 0; i < 35; ++i) pause.after(1);
        pause.after(100);
    };
    const std::function<bool()> others_wait = [&] { return ++questions % 2 == 0; };
    work();
    CHECK(questions == 0);
    unhurried(work, others_wait);
    CHECK(questions == 4);
    unhurried(work);
    CHECK(questions == 4);
}

TEST_CASE("What is done without hurry returns and throws on the thread that waits for it") {
    CHECK(unhurried([] { return std::this_thread::get_id(); }) != std::this_thread::get_id());
    CHECK_THROWS_AS(unhurried([]() -> int { throw std::invalid_argument("no"); }), std::invalid_argument);
}

TEST_CASE("A query counts as a small request from before others may be given its core") {
    watched_application app;
    CHECK(app.small_requests_beside_lane() == 1);
}

TEST_CASE("Requests that are small count as such while they are worked on; large ones ask whether any do") {
    watched_application app;
    SECTION("one sample") {
        CHECK(app.post(lines(1), "application/json") == 200);
        CHECK(app.small_requests == 1);
        CHECK(app.questions == 0);
        CHECK(app.threads == std::set{std::this_thread::get_id()});
    }
    SECTION("a refused one") { CHECK(app.post("{", "application/json") == 400); }
    SECTION("a batch") {
        CHECK(app.post(lines(1000), "application/x-ndjson") == 200);
        CHECK(app.small_requests == 1);
        CHECK(app.questions == 0);
    }
    SECTION("a large batch") {
        CHECK(app.post(lines(10'000), "application/x-ndjson") == 200);
        CHECK(app.small_requests == 0);
        CHECK(app.questions >= 10'000 / 256);
        CHECK(app.threads.count(std::this_thread::get_id()) == 0);
    }
    SECTION("a large array") {
        std::string array = "[";
        for (int i = 0; i < 10'000; ++i) array += (i == 0 ? "" : ",") + lines(1);
        CHECK(app.post(array + "]", "application/json") == 200);
        CHECK(app.questions >= 10'000 / 256);
    }
}
