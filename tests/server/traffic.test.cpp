#include "domain/instant.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace server_test;

namespace {

constexpr std::int64_t second = 1000;
constexpr std::int64_t minute = 60 * second;
constexpr std::int64_t hour = 60 * minute;

std::uint16_t shared() {
    static const server s;
    return s.port();
}

std::string path(std::uint64_t id) { return "/api/traffic/" + std::to_string(id); }

std::string view(std::uint32_t user, std::int64_t at, const std::string& url, const std::string& more = {}) {
    return R"({"user_id":)" + std::to_string(user) + R"(,"created_at":)" + std::to_string(at) + R"(,"page_url":")" +
           url + "\"" + more + "}";
}
std::string with_id(std::uint64_t id) { return R"(,"request_id":)" + std::to_string(id); }

reply post(std::uint16_t port, std::uint64_t id, const std::string& body) { return post_json(port, path(id), body); }
reply put(std::uint16_t port, std::uint64_t id, const std::string& body) {
    return ask(port, "PUT", path(id), body, "Content-Type: application/json\r\n");
}
std::string daily(std::uint16_t port, std::uint32_t user) {
    return get(port, "/api/traffic/daily/" + std::to_string(user)).body;
}
std::string id_json(std::uint64_t id) { return R"({"request_id":)" + std::to_string(id) + "}"; }

} // namespace

TEST_CASE("A view is created, replaced and counted, and the next request sees it") {
    const auto now = now_ms();
    CHECK(daily(shared(), 1) == "{}");
    const reply created = post(shared(), 1001, view(1, now, "/a"));
    CHECK(created.status == 201);
    CHECK(created.body == id_json(1001));
    CHECK(created.header("content-type") == "application/json");
    CHECK(daily(shared(), 1) == R"({"/a":1})");
    CHECK(post(shared(), 1002, view(1, now - hour, "/a")).status == 201);
    CHECK(post(shared(), 1003, view(1, now - 23 * hour, "/b?x=1&y=2")).status == 201);
    CHECK(daily(shared(), 1) == R"({"/a":2,"/b?x=1&y=2":1})");
    const reply again = post(shared(), 1001, view(1, now, "/a"));
    CHECK(again.status == 200);
    CHECK(again.body == id_json(1001));
    const reply put_known = put(shared(), 1002, view(1, now - 2 * hour, "/b?x=1&y=2"));
    CHECK(put_known.status == 200);
    CHECK(put_known.body == id_json(1002));
    CHECK(daily(shared(), 1) == R"({"/a":1,"/b?x=1&y=2":2})");
    const reply put_unknown = put(shared(), 1004, view(1, now, "/a"));
    CHECK(put_unknown.status == 404);
    CHECK(json_at(put_unknown.body, "/code") == R"("NOT_FOUND")");
    CHECK(json_at(put_unknown.body, "/message").find("1004") != std::string::npos);
    CHECK(daily(shared(), 1) == R"({"/a":1,"/b?x=1&y=2":2})");
}

TEST_CASE("A view that moves takes its count along, to another page, user or time") {
    const auto now = now_ms();
    CHECK(post(shared(), 2001, view(2, now - minute, "/a")).status == 201);
    CHECK(post(shared(), 2002, view(2, now - minute, "/a")).status == 201);
    CHECK(put(shared(), 2001, view(2, now - minute, "/b")).status == 200);
    CHECK(daily(shared(), 2) == R"({"/a":1,"/b":1})");
    CHECK(post(shared(), 2001, view(3, now - minute, "/b")).status == 200);
    CHECK(daily(shared(), 2) == R"({"/a":1})");
    CHECK(daily(shared(), 3) == R"({"/b":1})");
    CHECK(post(shared(), 2001, view(3, now - 25 * hour, "/b")).status == 200);
    CHECK(daily(shared(), 3) == "{}");
    CHECK(put(shared(), 2001, view(3, now - 23 * hour, "/b")).status == 200);
    CHECK(daily(shared(), 3) == R"({"/b":1})");
}

TEST_CASE("A day is the last 24 hours to the millisecond, and a second ahead of now") {
    const auto now = now_ms();
    CHECK(post(shared(), 3001, view(4, now - 24 * hour, "/gone")).status == 201);
    CHECK(post(shared(), 3002, view(4, now - 24 * hour + 5 * minute, "/old")).status == 201);
    CHECK(post(shared(), 3003, view(4, now_ms() + 900, "/ahead")).status == 201);
    CHECK(daily(shared(), 4) == R"({"/ahead":1,"/old":1})");
    CHECK(post(shared(), 3004, view(4, now_ms() + 10 * second, "/future")).status == 400);
}

TEST_CASE("Users and ids are all those of their types, and pages any text") {
    const auto now = now_ms();
    for (const std::uint64_t id : {std::uint64_t{0}, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
        const reply r = post(shared(), id, view(4294967295u, now, "/x", with_id(id)));
        CHECK(r.status == 201);
        CHECK(r.body == id_json(id));
        CHECK(put(shared(), id, view(0, now, "/y")).status == 200);
    }
    CHECK(daily(shared(), 4294967295u) == "{}");
    CHECK(daily(shared(), 0) == R"({"/y":3})");
    CHECK(post(shared(), 4001, view(5, now, std::string(2048, 'u'))).status == 201);
    CHECK(daily(shared(), 5) == R"({")" + std::string(2048, 'u') + R"(":1})");
    CHECK(post(shared(), 4001, view(5, now, R"(\u0000\n\"\\ \u00e9 \ud83d\ude00)")).status == 200);
    CHECK(daily(shared(), 5) == "{\"\\u0000\\u000a\\\"\\\\ \xc3\xa9 \xf0\x9f\x98\x80\":1}");
    // Beside numbers that are none of a double's too.
    CHECK(
        post(shared(), ~std::uint64_t{0}, view(0, now, "/z", with_id(~std::uint64_t{0}) + R"(,"more":1e999)")).status ==
        200);
    CHECK(daily(shared(), 0) == R"({"/y":2,"/z":1})");
    // Ids are numbers, however they are written.
    CHECK(put(shared(), 4001, view(5, now, "/", R"(,"request_id":"004001")")).status == 200);
    CHECK(ask(shared(), "PUT", "/api/traffic/%3004001", view(5, now, "/2"), "Content-Type: application/json\r\n")
              .status == 200);
    CHECK(daily(shared(), 5) == R"({"/2":1})");
}

TEST_CASE("Times come in all forms") {
    const auto now = now_ms();
    const std::string iso = qsketch_server::iso_time(*qsketch_server::from_millis(now / second * second - hour));
    const std::string bare = iso.substr(0, iso.size() - 1);
    std::uint64_t id = 4100;
    for (const std::string& time : {std::to_string(now), "\"" + std::to_string(now) + "\"", "\"" + iso + "\"",
                                    "\"" + bare + "\"", "\"" + bare + ".25+00:00\""})
        CHECK(post(shared(), id++, R"({"page_url":"/t","user_id":6,"created_at":)" + time + "}").status == 201);
    CHECK(daily(shared(), 6) == R"({"/t":5})");
}

TEST_CASE("Batches keep their good lines, and of one id the last") {
    const auto now = now_ms();
    const reply array = post_json(shared(), "/api/traffic",
                                  "[" + view(7, now, "/a", with_id(5001)) + "," + view(7, now, "/b", with_id(5002)) +
                                      "," + view(7, now, "/c", with_id(5001)) + "]");
    CHECK(array.status == 200);
    CHECK(array.body == R"({"accepted":3,"rejected":0,"errors":[]})");
    CHECK(daily(shared(), 7) == R"({"/b":1,"/c":1})");
    const std::string lines = view(7, now, "/d", with_id(5003)) + "\n\n" + view(7, now, "/d") + "\n{\n" +
                              view(8, now, "/d", with_id(5002)) + "\n" + view(7, now + hour, "/d", with_id(5004)) +
                              "\n" + view(7, now, "/d", R"(,"request_id":"18446744073709551613")") + "\n";
    const reply nd = post_lines(shared(), "/api/traffic", lines);
    CHECK(nd.status == 200);
    CHECK(json_at(nd.body, "/accepted") == "3");
    CHECK(json_at(nd.body, "/rejected") == "3");
    CHECK(json_at(nd.body, "/errors/0/line") == "3");
    CHECK(json_at(nd.body, "/errors/0/error").find("request_id") != std::string::npos);
    CHECK(json_at(nd.body, "/errors/1/line") == "4");
    CHECK(json_at(nd.body, "/errors/2/line") == "6");
    CHECK(daily(shared(), 7) == R"({"/c":1,"/d":2})");
    CHECK(daily(shared(), 8) == R"({"/d":1})");
    CHECK(put(shared(), 18446744073709551613u, view(8, now, "/d")).status == 200);
    CHECK(post_lines(shared(), "/api/traffic", "{}\n[]\n").status == 400);
    // One object is answered as one.
    const reply one = post_json(shared(), "/api/traffic", view(8, now, "/e", with_id(5005)));
    CHECK(one.status == 201);
    CHECK(one.body == id_json(5005));
    CHECK(post_json(shared(), "/api/traffic", view(8, now, "/e", with_id(5005))).status == 200);
    CHECK(daily(shared(), 8) == R"({"/d":2,"/e":1})");
}

TEST_CASE("A batch at an id's path has that id, except for the views that name another") {
    const auto now = now_ms();
    const reply r =
        post(shared(), 6001,
             "[" + view(9, now, "/a") + "," + view(9, now, "/b") + "," + view(9, now, "/c", with_id(6002)) + "]");
    CHECK(r.body == R"({"accepted":3,"rejected":0,"errors":[]})");
    CHECK(daily(shared(), 9) == R"({"/b":1,"/c":1})");
    CHECK(put(shared(), 6001, "[" + view(9, now, "/a") + "]").status == 400);
    const reply other = post(shared(), 6001, view(9, now, "/d", with_id(6003)));
    CHECK(other.status == 400);
    CHECK(json_at(other.body, "/details/fields/0/field") == R"("request_id")");
    CHECK(put(shared(), 6001, view(9, now, "/d", with_id(6003))).status == 400);
    CHECK(put(shared(), 6003, view(9, now, "/d")).status == 404);
    CHECK(daily(shared(), 9) == R"({"/b":1,"/c":1})");
}

TEST_CASE("Writers of the same ids from many connections leave each id counted once") {
    const server s;
    const auto now = now_ms();
    constexpr int ids = 7;
    std::atomic<int> created = 0;
    std::atomic<int> failed = 0;
    std::vector<std::thread> clients;
    for (unsigned c = 0; c < 6; ++c)
        clients.emplace_back([&, c] {
            std::minstd_rand random(c + 1);
            connection keep(s.port());
            for (int i = 0; i < 200; ++i) {
                const bool batch = i % 3 == 0;
                std::string body;
                for (int n = 0; n < (batch ? 4 : 1); ++n)
                    body += view(static_cast<std::uint32_t>(20 + random() % 3),
                                 now - static_cast<std::int64_t>(random() % 5) * hour,
                                 "/" + std::to_string(random() % 4), with_id(random() % ids)) +
                            "\n";
                keep.send("POST /api/traffic HTTP/1.1\r\nHost: x\r\nContent-Type: application/" +
                          std::string(batch ? "x-ndjson" : "json") +
                          "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
                const int status = keep.receive().status;
                created += status == 201 ? 1 : 0;
                failed += status != 200 && status != 201 ? 1 : 0;
            }
        });
    for (auto& c : clients) c.join();
    CHECK(failed == 0);
    CHECK(created <= ids);
    std::uint64_t counted = 0;
    for (std::uint32_t user = 20; user < 23; ++user)
        for (const char* url : {"/0", "/1", "/2", "/3"}) {
            const std::string n = json_at(daily(s.port(), user), std::string("/~1") + (url + 1));
            if (n.rfind("(nothing", 0) != 0) counted += std::stoull(n);
        }
    CHECK(counted == ids);
}

namespace {

/// What the server should know: every view by its id.
class oracle {
public:
    struct known_view {
        std::uint32_t user;
        std::int64_t at;
        std::string url;
    };
    std::map<std::uint64_t, known_view> views;

    [[nodiscard]] std::string daily(std::uint32_t user, std::int64_t from) const {
        std::map<std::string, int> pages;
        for (const auto& [id, v] : views)
            if (v.user == user && v.at > from) ++pages[v.url];
        std::string out = "{";
        for (const auto& [url, n] : pages) out += (out.size() > 1 ? ",\"" : "\"") + url + "\":" + std::to_string(n);
        return out + "}";
    }
};

} // namespace

TEST_CASE("Any mix of new views, replacements, moves, re-sends, batches and restarts is counted exactly") {
    const directory data;
    const std::vector<std::string> flags = {"--durability=commit", "--data-dir=" + data.path()};
    std::optional<server> s;
    s.emplace(flags);
    std::mt19937_64 random(20240120);
    oracle truth;
    const auto now = now_ms();
    constexpr std::uint32_t users = 5;
    const auto any_view = [&] {
        // A tenth is older than a day; none so near the day's border that the time the test takes decides.
        const auto age = random() % 10 == 0 ? 24 * hour + static_cast<std::int64_t>(random() % (72 * hour))
                                            : static_cast<std::int64_t>(random() % (23 * hour));
        return oracle::known_view{static_cast<std::uint32_t>(random() % users), now - age,
                                  "/p" + std::to_string(random() % 6)};
    };
    const auto any_id = [&] { return random() % 3 == 0 ? random() : random() % 60; };
    const auto json = [](const oracle::known_view& v, const std::string& more = {}) {
        return view(v.user, v.at, v.url, more);
    };
    const auto check_all = [&] {
        for (std::uint32_t user = 0; user < users; ++user)
            CHECK(daily(s->port(), user) == truth.daily(user, now - 24 * hour));
    };
    for (int round = 0; round < 6; ++round) {
        for (int step = 0; step < 60; ++step) {
            const std::uint64_t id = any_id();
            const auto v = any_view();
            const bool known = truth.views.contains(id);
            switch (random() % 5) {
            case 0: // PUT
                CHECK(put(s->port(), id, json(v)).status == (known ? 200 : 404));
                if (known) truth.views[id] = v;
                break;
            case 1: { // sent again as it is
                if (truth.views.empty()) break;
                auto at = truth.views.lower_bound(id);
                if (at == truth.views.end()) at = truth.views.begin();
                CHECK(post(s->port(), at->first, json(at->second)).status == 200);
                break;
            }
            case 2: { // a batch, with lines that are wrong and ids that repeat
                std::string body;
                int good = 0;
                int bad = 0;
                for (std::uint64_t n = random() % 40; n > 0; --n) {
                    const std::uint64_t line_id = any_id();
                    const auto line = any_view();
                    if (random() % 8 == 0) {
                        body += view(line.user, now + hour, line.url, with_id(line_id)) + "\n";
                        ++bad;
                    } else {
                        body += json(line, with_id(line_id)) + "\n";
                        truth.views[line_id] = line;
                        ++good;
                    }
                }
                if (good == 0) break;
                const reply r = post_lines(s->port(), "/api/traffic", body);
                CHECK(json_at(r.body, "/accepted") == std::to_string(good));
                CHECK(json_at(r.body, "/rejected") == std::to_string(bad));
                break;
            }
            default:
                CHECK(post(s->port(), id, json(v)).status == (known ? 200 : 201));
                truth.views[id] = v;
            }
            if (step % 10 == 0) check_all();
        }
        check_all();
        const std::string pages = get(s->port(), "/api/traffic/pages?window=86400&k=100").body;
        s->signal(round % 2 == 0 ? SIGKILL : SIGTERM);
        (void)s->wait(std::chrono::seconds(10));
        s.emplace(flags);
        check_all();
        const std::string again = get(s->port(), "/api/traffic/pages?window=86400&k=100").body;
        if (json_at(pages, "/covered") == json_at(again, "/covered")) CHECK(pages == again);
        const auto first = truth.views.begin();
        CHECK(put(s->port(), first->first, json(first->second)).status == 200);
    }
    CHECK(truth.views.size() > 300);
}

namespace {

/// The answer without parameters, which is to be that with these; asked again if a minute has begun in between.
std::string same_as_default(std::uint16_t port, const std::string& parameters) {
    std::string plain;
    std::string explicit_one;
    do {
        plain = get(port, "/api/traffic/pages").body;
        explicit_one = get(port, "/api/traffic/pages?" + parameters).body;
    } while (json_at(plain, "/covered/to") != json_at(explicit_one, "/covered/to"));
    CHECK(plain == explicit_one);
    return plain;
}

} // namespace

TEST_CASE("The pages of a window are the views in what it covers, and their visitors") {
    const server s;
    const auto now = now_ms();
    struct seen {
        std::int64_t at;
        int page;
        std::uint32_t user;
    };
    std::vector<seen> views;
    std::string body;
    std::minstd_rand random(7);
    for (std::uint64_t i = 0; i < 3000; ++i) {
        const auto n = static_cast<int>(random() % 40);
        views.push_back({now - static_cast<std::int64_t>(random() % (20 * hour)), n * n / 40,
                         static_cast<std::uint32_t>(random() % 700)});
        const seen& v = views.back();
        body += view(v.user, v.at, "/" + std::to_string(v.page), with_id(i)) + "\n";
    }
    REQUIRE(json_at(post_lines(s.port(), "/api/traffic", body).body, "/accepted") == "3000");
    REQUIRE(json_at(post_lines(s.port(), "/api/traffic", body).body, "/accepted") == "3000"); // adds nothing
    const auto ms_at = [](const std::string& text, const std::string& pointer) {
        const std::string quoted = json_at(text, pointer);
        return qsketch_server::parse_instant(std::string_view(quoted).substr(1, quoted.size() - 2))
            ->time_since_epoch()
            .count();
    };
    for (const std::int64_t window : {1, 60, 600, 3600, 7200, 7201, 40'000, 86'400}) {
        INFO(window);
        const auto before = now_ms();
        const std::string r = get(s.port(), "/api/traffic/pages?k=100&window=" + std::to_string(window)).body;
        const auto from = ms_at(r, "/covered/from");
        const auto to = ms_at(r, "/covered/to");
        const std::int64_t slot = window <= 7200 ? minute : 10 * minute;
        CHECK(from <= now_ms() - window * second);
        CHECK(from > before - window * second - slot);
        CHECK(to > before);
        CHECK(to <= now_ms() + slot);
        std::map<std::string, std::uint64_t> pages;
        std::set<std::uint32_t> users;
        for (const seen& v : views)
            if (v.at >= from && v.at < to) {
                ++pages["/" + std::to_string(v.page)];
                users.insert(v.user);
            }
        std::uint64_t total = 0;
        std::uint64_t previous = ~std::uint64_t{0};
        for (std::size_t i = 0; i < pages.size(); ++i) {
            const std::string item = "/pages/" + std::to_string(i);
            const std::string quoted = json_at(r, item + "/page_url");
            const auto n = static_cast<std::uint64_t>(number_at(r, item + "/upper"));
            CHECK(pages[quoted.substr(1, quoted.size() - 2)] == n);
            CHECK(number_at(r, item + "/lower") == static_cast<double>(n));
            CHECK(n <= previous);
            previous = n;
            total += n;
        }
        CHECK(json_at(r, "/pages/" + std::to_string(pages.size())).rfind("(nothing", 0) == 0);
        CHECK(json_at(r, "/views") == std::to_string(total));
        CHECK(json_at(r, "/unique_visitors") == std::to_string(users.size()));
        CHECK(number_at(r, "/unique_visitors_lower") <= static_cast<double>(users.size()));
        CHECK(number_at(r, "/unique_visitors_upper") >= static_cast<double>(users.size()));
    }
    // Ten of the last hour, unless it says otherwise.
    const std::string plain = same_as_default(s.port(), "k=10&window=3600");
    CHECK(json_at(plain, "/pages/9/page_url").rfind("(nothing", 0) != 0);
    CHECK(json_at(plain, "/pages/10").rfind("(nothing", 0) == 0);
}

TEST_CASE("What a replaced view has added to the pages of a window stays there") {
    const server s;
    const auto t = now_ms() / minute * minute - 10 * minute;
    const auto pages = [&] { return get(s.port(), "/api/traffic/pages?window=3600").body; };
    CHECK(post(s.port(), 1, view(1, t, "/a")).status == 201);
    CHECK(post(s.port(), 1, view(1, t + 5, "/a")).status == 200); // in the same minute: nothing new
    CHECK(json_at(pages(), "/pages") == R"([{"page_url":"/a","lower":1,"upper":1}])");
    CHECK(post(s.port(), 1, view(2, t, "/a")).status == 200); // another visitor of the same view
    CHECK(json_at(pages(), "/views") == "1");
    CHECK(json_at(pages(), "/unique_visitors") == "2");
    CHECK(put(s.port(), 1, view(2, t, "/b")).status == 200); // another page
    CHECK(json_at(pages(), "/pages") ==
          R"([{"page_url":"/a","lower":1,"upper":1},{"page_url":"/b","lower":1,"upper":1}])");
    CHECK(json_at(pages(), "/unique_visitors") == "2");
    CHECK(post(s.port(), 1, view(2, t - minute, "/b")).status == 200); // another minute
    CHECK(json_at(pages(), "/views") == "3");
    CHECK(json_at(pages(), "/unique_visitors") == "2");
    CHECK(daily(s.port(), 2) == R"({"/b":1})");
}

TEST_CASE("Whole numbers may be written with a fraction of zero or an exponent") {
    const server s;
    const auto now = std::to_string(now_ms());
    CHECK(post_json(s.port(), "/api/traffic",
                    R"({"request_id":2e0,"user_id":70.0,"page_url":"/a","created_at":)" + now + ".0}")
              .status == 201);
    CHECK(daily(s.port(), 70) == R"({"/a":1})");
    const reply half =
        post_json(s.port(), "/api/traffic/3", R"({"user_id":1.5,"page_url":"/a","created_at":)" + now + "}");
    CHECK(half.status == 400);
    CHECK(half.body.find("got 1.5") != half.body.npos);
}

TEST_CASE("--retention bounds the age of views, and --window-retention the windows of pages") {
    const server s({"--retention=2h", "--window-retention=10m"});
    const auto now = now_ms();
    CHECK(post(s.port(), 1, view(1, now - 2 * hour - second, "/a")).status == 400);
    CHECK(post(s.port(), 1, view(1, now - 2 * hour + minute, "/a")).status == 201);
    CHECK(daily(s.port(), 1) == R"({"/a":1})");
    CHECK(json_at(get(s.port(), "/health").body, "/refused/too_old") == "1");
    CHECK(get(s.port(), "/api/traffic/pages?window=601").status == 400);
    CHECK(get(s.port(), "/api/traffic/pages?window=600").status == 200);
    (void)same_as_default(s.port(), "window=600");
}
