#include "http/repeats.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <array>
#include <atomic>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;
using namespace qsketch_server;

namespace {

const std::string json = "Content-Type: application/json\r\n";
const std::string lines = "Content-Type: application/x-ndjson\r\n";

std::string key(const std::string& value) { return "Idempotency-Key: " + value + "\r\n"; }

std::vector<std::string> durable(const directory& place) {
    return {"--durability=commit", "--data-dir=" + place.path()};
}

std::uint16_t shared() {
    static const directory place;
    static const server s(durable(place));
    return s.port();
}

/// An hour of its own for each test.
std::int64_t some_hour() {
    static std::int64_t next = now_ms() / 3'600'000 - 1;
    return next--;
}
std::string time_in(std::int64_t hour) { return "timestamp=" + std::to_string(hour * 3'600'000); }
std::string clicks(std::uint16_t port, std::int64_t hour) {
    const std::string text = get(port, "/analytics?" + time_in(hour)).body;
    const auto at = text.find("clicks,") + 7;
    return text.substr(at, text.find('\n', at) - at);
}

/// A store in memory with the rows of repeats, at a time that the test says.
struct fixture {
    instant now = *parse_instant("2024-01-20T00:00:00Z");
    wall_clock clock = [this] { return now; };
    std::array<table_rules, table_count> rules = [this] {
        std::array<table_rules, table_count> out;
        out[static_cast<std::size_t>(table::requests)] = repeats::rules(clock);
        return out;
    }();
    storage rows{{"", storage::sync::none}, rules};
    repeats all{rows, clock};

    std::optional<answer> known(const std::string& k, std::uint64_t fingerprint = 1) {
        repeats::turn t(all, "place", k, fingerprint);
        return t.known();
    }
    void keep(const std::string& k, const answer& a) {
        repeats::turn t(all, "place", k, 1);
        REQUIRE_FALSE(t.known());
        t.finish(a);
    }
};

} // namespace

TEST_CASE("A repeat is answered as the first was, and counts nothing") {
    const std::int64_t hour = some_hour();
    const std::string at = std::to_string(hour * 3'600'000);
    const std::string visit = R"({"timestamp":)" + at + R"(,"user":"u","type":"click"})";
    struct row {
        std::string target;
        std::string body;
        std::string fields;
        int status;
        int clicks; ///< That one of it counts.
    };
    const std::vector<row> rows = {
        {"/analytics?user=u&click&timestamp=" + at, "", "", 202, 1},
        {"/analytics", visit, json, 202, 1},
        {"/analytics", visit + "\n" + visit + "\n{}\n", lines, 200, 2},
        {"/worker?user=u&click&slice=" + std::to_string(hour), "", "", 202, 1},
        {"/worker?user=u&click&slice=" + std::to_string(hour), "", "Accept: application/json\r\n", 202, 1},
        {"/samples", R"({"key":"one","value":1})", json, 200, 0},
        {"/samples", R"([{"key":"many","value":1},{"key":"many"}])", json, 200, 0},
    };
    int expected = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const row& r = rows[i];
        INFO(r.target << " " << r.body);
        const std::string fields = r.fields + key("first-" + std::to_string(i));
        const reply first = ask(shared(), "POST", r.target, r.body, fields);
        CHECK(first.status == r.status);
        CHECK(first.header("idempotency-replayed").empty());
        expected += r.clicks;
        CHECK(clicks(shared(), hour) == std::to_string(expected));
        ask(shared(), "POST", "/analytics?user=v&click&timestamp=" + at); // which changes what a new answer would say
        ++expected;
        for (int again = 0; again < 3; ++again) {
            const reply repeat = ask(shared(), "POST", r.target, r.body, fields);
            CHECK(repeat.status == first.status);
            CHECK(repeat.body == first.body);
            CHECK(repeat.header("content-type") == first.header("content-type"));
            CHECK(repeat.header("idempotency-replayed") == "true");
            CHECK(repeat.header("x-request-id") != first.header("x-request-id"));
        }
        CHECK(clicks(shared(), hour) == std::to_string(expected));
    }
    for (const auto& [name, count] : {std::pair{"one", 1}, {"many", 1}})
        CHECK(number_at(get(shared(), std::string("/quantile?q=1&window=3600&key=") + name).body, "/count") == count);
}

TEST_CASE("A key that comes with another request is refused and names itself") {
    const std::int64_t hour = some_hour();
    const std::string target = "/analytics?user=u&click&" + time_in(hour);
    CHECK(ask(shared(), "POST", target, {}, key("taken")).status == 202);
    const std::string body = R"({"key":"other","value":1})";
    CHECK(ask(shared(), "POST", "/samples", body, json + key("taken")).status == 200);
    struct row {
        std::string target;
        std::string body;
        std::string fields;
    };
    for (const row& r : std::vector<row>{{"/analytics?user=v&click&" + time_in(hour), "", ""},
                                         {"/analytics?user=u&impression&" + time_in(hour), "", ""},
                                         {"/analytics?user=u&click&" + time_in(hour) + "&x", "", ""},
                                         {"/analytics", R"({"user":"u"})", json},
                                         {"/samples", R"({"key":"other","value":2})", json},
                                         {"/samples", body, lines},
                                         {"/samples", body + "\n", json}}) {
        INFO(r.target << " " << r.body);
        const reply got = ask(shared(), "POST", r.target, r.body, r.fields + key("taken"));
        CHECK(got.status == 422);
        CHECK(json_at(got.body, "/code") == R"("VALIDATION_ERROR")");
        CHECK(json_at(got.body, "/details/fields/0/field") == R"("Idempotency-Key")");
    }
    CHECK(clicks(shared(), hour) == "1");
    CHECK(number_at(get(shared(), "/quantile?q=1&window=3600&key=other").body, "/count") == 1);
}

TEST_CASE("What was refused may be sent again under its key") {
    const std::int64_t hour = some_hour();
    const std::string k = key("second-try");
    CHECK(ask(shared(), "POST", "/analytics?user=u&" + time_in(hour), {}, k).status == 400);
    CHECK(ask(shared(), "POST", "/analytics", "{}\n{}\n", lines + k).status == 400);
    CHECK(ask(shared(), "POST", "/analytics", "{}", "Content-Type: text/xml\r\n" + k).status == 415);
    CHECK(ask(shared(), "POST", "/analytics?user=u&click&" + time_in(hour), {}, k).status == 202);
    CHECK(ask(shared(), "POST", "/analytics?user=u&click&" + time_in(hour), {}, k).status == 202);
    CHECK(clicks(shared(), hour) == "1");
}

TEST_CASE("A key is 1 to 255 characters of visible ASCII, and only what changes something has one") {
    const std::int64_t hour = some_hour();
    const std::string target = "/analytics?user=u&click&" + time_in(hour);
    const std::vector<std::pair<std::string, int>> rows = {
        {"", 400},
        {"a", 202},
        {std::string(255, 'k'), 202},
        {std::string(256, 'k'), 400},
        {"a b", 400},
        {"a\tb", 400},
        {"\xc3\xa4", 400},
        {R"("8e03978e-40d5-43dd-bc93")", 202},
        {"!#$%&'()~", 202},
        {"a,b;c=d", 202},
    };
    int counted = 0;
    for (const auto& [value, status] : rows) {
        INFO(value);
        const reply r = ask(shared(), "POST", target, {}, key(value));
        CHECK(r.status == status);
        if (status == 400) CHECK(json_at(r.body, "/details/fields/0/field") == R"("Idempotency-Key")");
        counted += status == 202;
    }
    CHECK(clicks(shared(), hour) == std::to_string(counted));
    CHECK(ask(shared(), "POST", target, {}, key("b") + key("c")).status == 400);
    CHECK(post_json(shared(), "/samples", R"({"key":"dropped","value":1})").status == 200);
    CHECK(ask(shared(), "DELETE", "/keys/dropped", {}, key("d")).status == 204);
    CHECK(ask(shared(), "DELETE", "/keys/dropped", {}, key("d")).status == 404);
    CHECK(get(shared(), "/keys", key("")).status == 200);
}

TEST_CASE("Keys belong to a token's name") {
    const directory place;
    // first-token-0123456789, second-… and third-…; the first two are one client.
    const server s({"--durability=commit", "--data-dir=" + place.path()},
                   {"QSKETCH_AUTH_TOKENS="
                    "a read,write d10d0f9977f6621d30628f0196c90b206e4c8fe1c698cae08622749b4328b591;"
                    "a read,write 27f11cd7cbbf36c6d1b8504ef9485ac46f813bc4472d57f1f1026e8103b45444;"
                    "b write caeb1ef868e9ef0ea004b9d3d76ac8bc31652f3d8835d0937d1920db8a282fcc"});
    const std::int64_t hour = some_hour();
    const auto post = [&](const std::string& token, const std::string& user) {
        return ask(s.port(), "POST", "/analytics?click&user=" + user + "&" + time_in(hour), {},
                   "Authorization: Bearer " + token + "-token-0123456789\r\n" + key("k"))
            .status;
    };
    CHECK(post("first", "u") == 202);
    CHECK(post("second", "u") == 202);
    CHECK(post("third", "v") == 202);
    CHECK(post("third", "u") == 422);
    CHECK(get(s.port(), "/analytics?" + time_in(hour), "Authorization: Bearer first-token-0123456789\r\n").body ==
          "unique_users,2\nclicks,2\nimpressions,0\n");
}

TEST_CASE("A body is the same packed or not") {
    const std::string body = R"({"key":"packed","value":3})";
    FILE* const pipe = ::popen("printf '%s' '{\"key\":\"packed\",\"value\":3}' | gzip -c", "r");
    REQUIRE(pipe != nullptr);
    std::array<char, 200> packed{};
    const std::size_t size = std::fread(packed.data(), 1, packed.size(), pipe);
    ::pclose(pipe);
    const reply first = ask(shared(), "POST", "/samples", body, json + key("packed"));
    const reply again = ask(shared(), "POST", "/samples", std::string(packed.data(), size),
                            json + "Content-Encoding: gzip\r\n" + key("packed"));
    CHECK(again.body == first.body);
    CHECK(again.header("idempotency-replayed") == "true");
}

TEST_CASE("Requests of one key that come at once count once and are all acknowledged") {
    const std::int64_t hour = some_hour();
    constexpr int clients = 16;
    for (int round = 0; round < 5; ++round) {
        std::vector<connection> held;
        for (int i = 0; i < clients; ++i) held.emplace_back(shared());
        for (auto& c : held)
            c.send("POST /worker?user=u&click&slice=" + std::to_string(hour) + " HTTP/1.1\r\nHost: x\r\n" +
                   key("at-once-" + std::to_string(round)) + "\r\n");
        std::string body;
        int replayed = 0;
        for (auto& c : held) {
            const reply r = c.receive();
            CHECK(r.status == 202);
            if (body.empty()) body = r.body;
            CHECK(r.body == body);
            replayed += r.header("idempotency-replayed") == "true";
        }
        CHECK(replayed == clients - 1);
        CHECK(clicks(shared(), hour) == std::to_string(round + 1));
    }
}

TEST_CASE("What was acknowledged stays known after a crash") {
    const directory place;
    const std::int64_t hour = some_hour();
    std::vector<reply> first;
    const auto send = [&](std::uint16_t port, int i) {
        return ask(port, "POST", "/worker?user=u" + std::to_string(i) + "&click&slice=" + std::to_string(hour), {},
                   key("crash-" + std::to_string(i)));
    };
    {
        server s(durable(place));
        for (int i = 0; i < 20; ++i) first.push_back(send(s.port(), i));
        s.signal(SIGKILL);
        s.wait(5s);
    }
    const server s(durable(place));
    for (int i = 0; i < 20; ++i) {
        const reply again = send(s.port(), i);
        CHECK(again.status == 202);
        CHECK(again.body == first[static_cast<std::size_t>(i)].body);
        CHECK(again.header("idempotency-replayed") == "true");
    }
    CHECK(clicks(s.port(), hour) == "20");
}

TEST_CASE("A key is remembered for a day to the millisecond, and then may be forgotten") {
    fixture f;
    f.keep("k", text_answer(202, "text"));
    f.now += 24h - 1ms;
    const auto found = f.known("k");
    REQUIRE(found);
    CHECK(found->status == 202);
    CHECK(found->body == "text");
    CHECK(found->content_type == "text/plain; charset=utf-8");
    const std::string row = *f.rows.get(table::requests, "place\nk");
    CHECK_FALSE(repeats::rules(f.clock).expired("", row));
    f.now += 1ms;
    CHECK_FALSE(f.known("k"));
    CHECK_FALSE(f.known("k", 2));
    CHECK(repeats::rules(f.clock).expired("", row));
    CHECK(repeats::rules(f.clock).expired("", row.substr(0, 5)));
    f.keep("k", empty_answer(204));
    CHECK(f.known("k")->status == 204);
}

TEST_CASE("A request that is known to have been here, but not how it was answered, is acknowledged") {
    fixture f;
    {
        repeats::turn t(f.all, "place", "k", 1);
        changes what;
        t.join(what, nullptr);
        f.rows.commit(std::move(what));
    }
    REQUIRE(f.known("k"));
    CHECK(f.known("k")->status == 200);
    CHECK(f.known("k")->body.empty());
    CHECK_THROWS_AS(f.known("k", 2), key_used_before);
    {
        repeats::turn t(f.all, "place", "given-up", 1);
        changes what;
        const answer a = empty_answer(202);
        t.join(what, &a);
    }
    CHECK_FALSE(f.known("given-up"));
    {
        repeats::turn t(f.all, "place", "whole", 1);
        changes what;
        const answer a = text_answer(201, "first");
        t.join(what, &a);
        f.rows.commit(std::move(what));
        t.finish(text_answer(201, "second")); // known by then
    }
    CHECK(f.known("whole")->body == "first");
}

TEST_CASE("An answer is kept whole up to 64 KiB, and beyond without its body") {
    fixture f;
    f.keep("fits", text_answer(200, std::string(65'536, 'x')));
    f.keep("too-long", text_answer(200, std::string(65'537, 'x')));
    CHECK(f.known("fits")->body.size() == 65'536);
    CHECK(f.known("too-long")->body.empty());
    CHECK(f.known("too-long")->status == 200);
}

TEST_CASE("Who has the same key waits, who has another one or is elsewhere does not") {
    fixture f;
    std::atomic<bool> through = false;
    int status = 0;
    auto first = std::make_unique<repeats::turn>(f.all, "place", "k", 1);
    const repeats::turn other(f.all, "place", "l", 1);
    const repeats::turn elsewhere(f.all, "another place", "k", 1);
    std::thread second([&] {
        repeats::turn t(f.all, "place", "k", 1);
        through = true;
        status = t.known() ? t.known()->status : 0;
    });
    std::this_thread::sleep_for(100ms);
    CHECK_FALSE(through);
    first->finish(empty_answer(202));
    CHECK_FALSE(through);
    first.reset();
    second.join();
    CHECK(status == 202);
}
