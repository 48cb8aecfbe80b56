#include "application.hpp"
#include "http/request.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/small_disk.hpp"
#include "support/store.hpp"

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t hour = 3'600'000;

/// An hour that lies that many hours back.
std::int64_t hour_before(int n) { return now_ms() / hour * hour - n * hour; }

std::string event(std::int64_t at, const std::string& user) {
    return R"({"type":"click","timestamp":)" + std::to_string(at) + R"(,"user":")" + user + "\"}\n";
}

struct figures {
    std::uint64_t users;
    std::uint64_t clicks;
    friend bool operator==(const figures&, const figures&) = default;
};

figures figures_of(std::uint16_t port, std::int64_t at) {
    const std::string body =
        get(port, "/analytics?timestamp=" + std::to_string(at), "Accept: application/json\r\n").body;
    return {static_cast<std::uint64_t>(number_at(body, "/unique_users")),
            static_cast<std::uint64_t>(number_at(body, "/clicks"))};
}

std::vector<std::string> in(const std::string& place, const std::string& durability = "commit") {
    return {"--data-dir", place, "--durability", durability};
}

/// What a server that does not start says.
std::string refusal(std::vector<std::string> arguments) {
    arguments.push_back("--port=0");
    process p(std::move(arguments));
    CHECK(p.line().empty());
    CHECK(p.wait(20s) == 2);
    return p.errors();
}

/// One client that posts events of one kind, which are its own, one request at a time, until the server is gone.
struct client {
    enum class kind { visits, samples, views, values };
    kind is;
    int number;
    std::uint64_t batch; ///< Events a request.
    std::uint64_t acknowledged = 0;
    std::uint64_t sent = 0;

    [[nodiscard]] std::int64_t at() const { return hour_before(2 + number); }
    [[nodiscard]] std::string name() const { return "c" + std::to_string(number); }
    [[nodiscard]] const char* path() const {
        return is == kind::visits    ? "/analytics"
               : is == kind::samples ? "/samples"
               : is == kind::views   ? "/api/traffic"
                                     : "/insert";
    }
    [[nodiscard]] std::string event_of(std::uint64_t i) const {
        switch (is) {
        case kind::visits:
            return event(at(), std::to_string(i));
        case kind::samples:
            return R"({"key":")" + name() + R"(","value":)" + std::to_string(i) + "}\n";
        case kind::views:
            return R"({"request_id":)" + std::to_string((static_cast<std::uint64_t>(number) << 32) + i) +
                   R"(,"user_id":)" + std::to_string(number) + R"(,"page_url":"/","created_at":)" +
                   std::to_string(now_ms()) + "}\n";
        default:
            return R"({"partition_key":")" + name() +
                   R"(","value":1})"
                   "\n";
        }
    }
    [[nodiscard]] std::uint64_t found(std::uint16_t port) const {
        const auto count = [port](const std::string& target, const std::string& pointer) {
            const reply r = get(port, target);
            return r.status == 404 || r.body == "{}" ? 0 : static_cast<std::uint64_t>(number_at(r.body, pointer));
        };
        switch (is) {
        case kind::visits:
            return figures_of(port, at()).clicks;
        case kind::samples:
            return count("/quantile?q=0.5&window=86400&key=" + name(), "/count");
        case kind::views:
            return count("/api/traffic/daily/" + std::to_string(number), "/~1");
        default:
            return count("/aggregate?window=1d&rolling=true&agg=count&metric=" + name(), "/aggregations/count");
        }
    }

    void run(std::uint16_t port) {
        try {
            for (connection c(port);; acknowledged += batch) {
                std::string body;
                for (std::uint64_t i = 0; i < batch; ++i) body += event_of(sent + i);
                const std::string head = std::string("POST ") + path() +
                                         " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                                         "Content-Length: " +
                                         std::to_string(body.size()) + "\r\n\r\n";
                sent += batch;
                if (!c.send(head + body) || c.receive().status != 200) return;
            }
        } catch (const std::runtime_error&) { // cannot connect any more
        }
    }
};

void kill_and_restart(int rounds, const std::string& durability) {
    const directory place;
    std::mt19937 random(7);
    std::vector<client> clients;
    // One, few, and so many that samples and values are logged.
    for (int i = 0; i < 16; ++i)
        clients.push_back({static_cast<client::kind>(i % 4), i, i / 4 == 1 ? 50u : i / 4 == 2 ? 1500u : 1u});
    for (int round = 0; round < rounds; ++round) {
        server s(in(place.path(), durability));
        for (client& c : clients) {
            const std::uint64_t found = c.found(s.port());
            INFO("round " << round << ", " << c.path() << ", batches of " << c.batch);
            // All that was acknowledged, and of the last request of each client everything or nothing.
            CHECK(found >= c.acknowledged);
            CHECK((found == c.acknowledged || found == c.sent));
            CHECK(c.sent - c.acknowledged <= c.batch);
            if (c.is == client::kind::visits)
                CHECK(std::abs(static_cast<double>(figures_of(s.port(), c.at()).users) - static_cast<double>(found)) <=
                      0.03 * static_cast<double>(found) + 1);
            c.acknowledged = c.sent = found;
        }
        std::vector<std::thread> threads;
        for (client& c : clients) threads.emplace_back([&c, port = s.port()] { c.run(port); });
        std::this_thread::sleep_for(std::chrono::milliseconds(random() % 500));
        s.signal(SIGKILL);
        for (std::thread& t : threads) t.join();
    }
    for (const client& c : clients) CHECK(c.acknowledged > 0);
}

} // namespace

TEST_CASE("After kill -9 every acknowledged event is there, and none twice") { kill_and_restart(10, "commit"); }

TEST_CASE("A process that is killed takes nothing along that the system has, without syncs too") {
    kill_and_restart(3, "async");
}

TEST_CASE("After kill -9 every acknowledged event is there, and none twice, a hundred times", "[.long]") {
    kill_and_restart(100, "commit");
}

TEST_CASE("A restart keeps the counts, and knows the users again") {
    const directory place;
    const std::int64_t t = hour_before(3);
    for (const std::string durability : {"commit", "async", "commit"}) {
        server s(in(place.path(), durability));
        const figures before = figures_of(s.port(), t);
        for (const char* user : {"ann", "bob", "cid"})
            CHECK(post_lines(s.port(), "/analytics", event(t, user)).status == 200);
        CHECK(ask(s.port(), "POST", "/worker?slice=" + std::to_string(t / hour) + "&user=ann&click").status == 202);
        CHECK(figures_of(s.port(), t) == figures{3, before.clicks + 4});
        s.signal(SIGTERM);
        CHECK(s.wait(5s) == 0);
    }
    const server s(in(place.path()));
    CHECK(figures_of(s.port(), t) == figures{3, 12});
    CHECK(get(s.port(), "/analytics/allslices").body.find("unique_users,3\nclicks,12\n") != std::string::npos);
    const std::string health = get(s.port(), "/health").body;
    CHECK(json_at(health, "/storage/durability") == R"("commit")");
    CHECK(json_at(health, "/storage/writable") == "true");
    CHECK(number_at(health, "/storage/total_size") > 0);
    CHECK(number_at(health, "/storage/free_space") > 0);
}

TEST_CASE("The key of the pseudonyms is the owner's alone, and the rows are of no use without it") {
    const directory place;
    const std::string key = place.path() + "/pseudonym.key";
    { const server s(in(place.path())); }
    struct stat status {};
    REQUIRE(::stat(key.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
    CHECK(status.st_size == 16);
    SECTION("missing") {
        std::filesystem::remove(key);
        CHECK(refusal(in(place.path())).find(key + " is missing") != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(key));
    }
    SECTION("another") {
        std::ofstream(key) << "0123456789abcdef";
        CHECK(refusal(in(place.path())).find(key + " is not the key") != std::string::npos);
    }
    SECTION("cut short") {
        std::ofstream(key) << "0123456789abcde";
        CHECK(refusal(in(place.path())).find(key + " must have 16 bytes") != std::string::npos);
        return;
    }
    auto repairing = in(place.path());
    repairing.emplace_back("--repair");
    { const server s(repairing); }
    const server s(in(place.path()));
    CHECK(std::filesystem::exists(key));
}

TEST_CASE("A server that cannot have its data ends with status 2 and one line that says why") {
    const directory place;
    const std::string rows = place.path() + "/rows";
    {
        const server first(in(place.path()));
        CHECK(refusal(in(place.path())) ==
              "qsketch-server: --data-dir: " + place.path() + " is in use by another server\n");
        CHECK(get(first.port(), "/livez").status == 200);
    }
    auto other_slices = in(place.path());
    other_slices.emplace_back("--slice=10m");
    CHECK(refusal(other_slices) == "qsketch-server: --data-dir: " + place.path() +
                                       " has slices of 3600000 ms from 1970-01-01T00:00:00Z, and --slice and "
                                       "--first-slice ask for 600000 ms from 1970-01-01T00:00:00Z\n");
    {
        storage store({place.path()}, rule_list());
        put(store, table::meta, "format", "7");
    }
    CHECK(refusal(in(place.path())) ==
          "qsketch-server: --data-dir: " + rows + " has the format 7, this version knows the formats 1 and 2 only\n");
    std::ofstream(rows + "/CURRENT") << "nonsense";
    const std::string damaged = refusal(in(place.path()));
    CHECK(damaged.find("CURRENT") != std::string::npos);
    CHECK(damaged.find('\n') == damaged.size() - 1);
}

TEST_CASE("On a full disk changes are 503 and everything else goes on, and it ends without a restart") {
    const small_disk disk(std::size_t{100} << 20);
    if (!disk.mounted()) {
        WARN("skipped: no filesystem can be mounted here");
        return;
    }
    const std::int64_t t = hour_before(5);
    std::uint64_t kept = 0;
    {
        const server s(in(disk.path() + "/data"));
        const auto post = [&] {
            const reply r =
                ask(s.port(), "POST",
                    "/analytics?timestamp=" + std::to_string(t) + "&user=" + std::to_string(kept) + "&click");
            kept += r.status == 202 ? 1 : 0;
            return r;
        };
        for (int i = 0; i < 10; ++i) REQUIRE(post().status == 202);
        disk.fill();
        reply refused;
        // Larger ones, to get through what the log has been allotted in advance.
        std::string batch;
        for (int i = 0; i < 20'000; ++i) batch += event(t + (i % 2000) * -hour / 4, std::to_string(i));
        for (int i = 0; i < 1000 && refused.status != 503; ++i)
            refused = post_lines(s.port(), "/analytics", event(hour_before(400), "a") + batch);
        CHECK(refused.status == 503);
        CHECK(json_at(refused.body, "/code") == R"("STORAGE_ERROR")");
        CHECK(refused.header("retry-after") == "1");
        const figures before = figures_of(s.port(), t);
        CHECK(post().status == 503);
        CHECK(figures_of(s.port(), t) == before);
        CHECK(get(s.port(), "/readyz").status == 503);
        CHECK(get(s.port(), "/livez").status == 200);
        const reply health = get(s.port(), "/health");
        CHECK(health.status == 503);
        CHECK(json_at(health.body, "/status") == R"("degraded")");
        CHECK(json_at(health.body, "/storage/writable") == "false");
        CHECK(get(s.port(), "/analytics/allslices").status == 200);
        disk.empty();
        CHECK(eventually([&] { return get(s.port(), "/readyz").status == 200; }));
        kept = figures_of(s.port(), t).clicks;
        CHECK(kept == before.clicks);
        CHECK(post().status == 202);
        CHECK(get(s.port(), "/health").status == 200);
        CHECK(figures_of(s.port(), t).clicks == kept);
    }
    const server s(in(disk.path() + "/data"));
    CHECK(figures_of(s.port(), t).clicks == kept);
}

TEST_CASE("A clock that goes back, or ahead for a while, takes nothing along") {
    using namespace qsketch_server;
    const directory place;
    const std::string data_dir = place.path();
    const std::array<const char*, 4> arguments = {"qsketch-server", "--data-dir", data_dir.c_str(), "--retention=10h"};
    const options opts = *parse_options(static_cast<int>(arguments.size()), arguments.data());
    std::atomic<std::int64_t> clock = now_ms();
    const auto make = [&] {
        return std::make_unique<application>(opts, [&] { return instant(std::chrono::milliseconds(clock)); });
    };
    const auto count = [](application& app, std::int64_t slice) {
        visit one{slice, 1, true};
        changes c;
        app.audience.stage({&one, 1}, c);
        app.commit(request{}, std::move(c));
    };
    auto app = make();
    const std::int64_t slice = clock / hour;
    for (const std::int64_t s : {slice, slice - 9}) count(*app, s);
    for (const std::int64_t jump : {-5 * hour, -500 * hour, 20 * hour, 0 * hour}) {
        clock = slice * hour + jump;
        app->expire();
        app.reset();
        app = make();
        app->expire();
        count(*app, slice);
    }
    CHECK(app->audience.figures(slice).clicks == 5);
    CHECK(app->audience.figures(slice - 9).clicks == 1);
    CHECK(app->audience.all().size() == 2);
}

TEST_CASE("After ten million events the server is ready within five seconds, killed or not", "[.long]") {
    const directory place;
    constexpr std::uint64_t batch = 100'000;
    std::uint64_t sent = 0;
    {
        server s(in(place.path()));
        while (sent < 10'000'000) {
            std::string body;
            for (std::uint64_t i = 0; i < batch; ++i, ++sent)
                body += event(hour_before(static_cast<int>(sent % 400)), std::to_string(sent * 7919 % 3'000'017));
            REQUIRE(post_lines(s.port(), "/analytics", body).status == 200);
        }
        s.signal(SIGKILL);
    }
    for (int run = 0; run < 2; ++run) {
        const auto begin = std::chrono::steady_clock::now();
        server s(in(place.path()));
        CHECK(get(s.port(), "/readyz").status == 200);
        CHECK(std::chrono::steady_clock::now() - begin < 5s);
        std::uint64_t clicks = 0;
        const std::string all = get(s.port(), "/analytics/allslices").body;
        for (std::size_t at = 0; (at = all.find("\nclicks,", at)) != all.npos;)
            clicks += std::stoull(all.substr(at += 8));
        CHECK(clicks == sent);
        s.signal(SIGTERM);
        CHECK(s.wait(5s) == 0);
    }
}
