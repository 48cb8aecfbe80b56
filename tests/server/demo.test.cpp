#include "demo.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace server_test;
using namespace qsketch_server;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::sys_seconds noon = std::chrono::sys_days(std::chrono::year(2024) / 1 / 20) + 12h;

demo_events events_of(std::chrono::sys_seconds from, std::chrono::seconds length) {
    demo_events out;
    for (auto s = from; s < from + length; s += 1s) {
        add_samples(out, s);
        add_visits_and_views(out, s);
    }
    return out;
}

std::int64_t lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

bool becomes_true(const std::function<bool()>& check) {
    for (const auto end = std::chrono::steady_clock::now() + 30s; std::chrono::steady_clock::now() < end;
         std::this_thread::sleep_for(50ms))
        if (check()) return true;
    return false;
}

double ingested(std::uint16_t port, const std::string& kind) {
    return number_at(get(port, "/health").body, "/ingested/" + kind);
}

} // namespace

TEST_CASE("A second has always the same events, and another second others") {
    const demo_events a = events_of(noon, 10s);
    const demo_events b = events_of(noon, 10s);
    CHECK(a.samples == b.samples);
    CHECK(a.visits == b.visits);
    CHECK(a.views == b.views);
    const demo_events later = events_of(noon + 10s, 10s);
    CHECK(a.samples != later.samples);
    CHECK(a.visits != later.visits);
    CHECK(a.views != later.views);
}

TEST_CASE("There is more load by day than by night, some of it of bad moments") {
    const demo_events day = events_of(noon, 1h);
    const demo_events night = events_of(noon - 10h, 1h);
    CHECK(lines(day.samples) > 3 * lines(night.samples));
    CHECK(lines(day.visits) > 3 * lines(night.visits));
    CHECK(lines(day.views) > 2 * lines(night.views));
    CHECK(lines(night.views) > 100);
    CHECK(lines(day.samples) < 60 * 3600);
    CHECK(day.visits.find(R"("type":"click")") != day.visits.npos);
    CHECK(day.views.find(R"("page_url":"/")") != day.views.npos);
}

TEST_CASE("With --demo every endpoint that the page asks has something to say, and soon more") {
    server s({"--demo", "--log-requests"});
    const auto port = s.port();
    REQUIRE(becomes_true([&] { return s.errors().find("the past is fed") != std::string::npos; }));
    CHECK(get(port, "/keys").body == R"({"keys":["checkout.ms","image.bytes","login.ms","search.ms"],"next":null})");
    for (const std::string key : {"checkout.ms", "image.bytes", "login.ms", "search.ms"}) {
        const std::string q = get(port, "/quantile?key=" + key + "&q=0.5,0.99&window=3600").body;
        CHECK(number_at(q, "/count") > 2000);
        CHECK(number_at(q, "/estimates/0.99") > 1.5 * number_at(q, "/estimates/0.5"));
    }
    const std::string slices = get(port, "/analytics/allslices", "Accept: application/json\r\n").body;
    for (int i = 1; i < 23; ++i) { // the outermost may be of a minute only
        const std::string slice = "/slices/" + std::to_string(i);
        CHECK(number_at(slices, slice + "/unique_users") > 1000);
        CHECK(number_at(slices, slice + "/impressions") > number_at(slices, slice + "/clicks"));
        CHECK(number_at(slices, slice + "/clicks") > 100);
    }
    const std::string pages = get(port, "/api/traffic/pages?window=86400").body;
    CHECK(json_at(pages, "/pages/0/page_url") == R"("/")");
    CHECK(json_at(pages, "/pages/9/page_url").rfind("(nothing", 0) != 0);
    CHECK(number_at(pages, "/unique_visitors") > 5000);
    CHECK(get(port, "/api/traffic/daily/0").body.size() > 20);
    CHECK(json_at(get(port, "/health").body, "/refused/too_old") == "0");
    for (const char* kind : {"samples", "visits", "views"}) {
        const double before = ingested(port, kind);
        CHECK(becomes_true([&] { return ingested(port, kind) > before; }));
    }
    CHECK(s.errors().find("warn") == std::string::npos);
    s.signal(SIGTERM);
    CHECK(s.wait(5s) == 0);
}

TEST_CASE("A demo is ended at once in the midst of its past, and keeps within what is kept") {
    server s({"--demo"});
    s.signal(SIGTERM);
    CHECK(s.wait(5s) == 0);
    const auto start = iso_time(*from_millis(now_ms() - 3'600'000));
    const server brief({"--demo", "--window-retention=2m", "--retention=10m"});
    const server young({"--demo", "--first-slice=" + start});
    for (const server* one : {&brief, &young}) {
        CHECK(becomes_true([&] { return one->errors().find("the past is fed") != std::string::npos; }));
        CHECK(ingested(one->port(), "views") > 20);
        CHECK(json_at(get(one->port(), "/health").body, "/refused/too_old") == "0");
        CHECK(one->errors().find("warn") == std::string::npos);
    }
}

TEST_CASE("A demo that is started again feeds no visit of the past twice") {
    const directory data;
    const std::vector<std::string> flags = {"--demo", "--durability=async", "--data-dir=" + data.path()};
    const auto past_fed = [](const server& s) {
        return becomes_true([&] { return s.errors().find("the past is fed") != std::string::npos; });
    };
    const auto first_hours = [](const server& s) {
        std::string out;
        const std::string slices = get(s.port(), "/analytics/allslices", "Accept: application/json\r\n").body;
        for (int i = 0; i < 23; ++i) out += json_at(slices, "/slices/" + std::to_string(i)) + "\n";
        return out;
    };
    std::optional<server> s(std::in_place, flags);
    REQUIRE(past_fed(*s));
    const std::string before = first_hours(*s);
    s->signal(SIGTERM);
    CHECK(s->wait(5s) == 0);
    s.emplace(flags);
    REQUIRE(past_fed(*s));
    CHECK(first_hours(*s) == before);
}
