#include "http/metrics.hpp"

#include "routes.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;

namespace {

/// The samples of a page by name and labels, as `name{a="b"}`.
std::map<std::string, double> samples_of(const std::string& page) {
    std::map<std::string, double> out;
    std::istringstream in(page);
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line.front() == '#') continue;
        const auto space = line.rfind(' ');
        REQUIRE(space != line.npos);
        const auto [at, fresh] = out.emplace(line.substr(0, space), std::stod(line.substr(space + 1)));
        CHECK(fresh);
    }
    return out;
}

std::map<std::string, double> page_of(const server& s) { return samples_of(get(s.port(), "/metrics").body); }

/// The value, or 0: a counter that has not counted yet need not be there.
double value(const std::map<std::string, double>& page, const std::string& name) {
    const auto at = page.find(name);
    return at == page.end() ? 0 : at->second;
}

std::string requests(const std::string& method, const std::string& route, const std::string& status) {
    return "qsketch_requests_total{method=\"" + method + "\",route=\"" + route + "\",status=\"" + status + "\"}";
}

} // namespace

TEST_CASE("Requests are counted by route and status, errors by code, events by family") {
    const server s;
    const auto p = s.port();
    const std::string time = "timestamp=" + std::to_string(now_ms());
    const std::string hour = std::to_string(now_ms() / 3'600'000);
    for (int i = 0; i < 3; ++i) CHECK(ask(p, "POST", "/analytics?user=u&click&" + time).status == 202);
    CHECK(ask(p, "POST", "/analytics?user=u&click&timestamp=0").status == 400);
    CHECK(ask(p, "POST", "/worker?user=u&click&slice=" + hour).status == 202);
    CHECK(post_json(p, "/samples", R"({"key":"k","value":1})").status == 200);
    CHECK(post_lines(p, "/samples", "{\"key\":\"k\",\"value\":1}\n{\"key\":\"l\",\"value\":1}\n{}\n").status == 200);
    CHECK(post_lines(p, "/samples", "{}\n{}\n").status == 400);
    for (int i = 0; i < 2; ++i) CHECK(get(p, "/quantile?key=none&q=1&window=1").status == 404);
    CHECK(ask(p, "HEAD", "/keys").status == 200);
    CHECK(ask(p, "DELETE", "/keys/l").status == 204);
    CHECK(ask(p, "DELETE", "/keys/l").status == 404);
    CHECK(get(p, "/no/such/path").status == 404);
    CHECK(ask(p, "PUT", "/samples").status == 405);
    CHECK(ask(p, "OPTIONS", "/samples").status == 204);
    CHECK(ask(p, "POST", "/samples", "x", "Content-Encoding: br\r\n").status == 415);
    connection broken(p);
    broken.send("nonsense\r\n\r\n");
    CHECK(broken.receive().status == 400);
    const auto page = page_of(s);
    CHECK(value(page, requests("POST", "/analytics", "2xx")) == 3);
    CHECK(value(page, requests("POST", "/analytics", "4xx")) == 1);
    CHECK(value(page, requests("POST", "/worker", "2xx")) == 1);
    CHECK(value(page, requests("POST", "/samples", "2xx")) == 2);
    CHECK(value(page, requests("POST", "/samples", "4xx")) == 2);
    CHECK(value(page, requests("GET", "/quantile", "4xx")) == 2);
    CHECK(value(page, requests("GET", "/keys", "2xx")) == 1);
    CHECK(value(page, requests("DELETE", "/keys/{key}", "2xx")) == 1);
    CHECK(value(page, requests("DELETE", "/keys/{key}", "4xx")) == 1);
    CHECK(value(page, requests("other", "other", "4xx")) == 3);
    CHECK(value(page, requests("other", "other", "2xx")) == 1);
    CHECK(value(page, requests("GET", "/metrics", "2xx")) == 0); // this one is not over yet
    CHECK(value(page_of(s), requests("GET", "/metrics", "2xx")) == 1);
    CHECK(value(page, R"(qsketch_errors_total{code="NOT_FOUND"})") == 4);
    CHECK(value(page, R"(qsketch_errors_total{code="VALIDATION_ERROR"})") == 1);
    CHECK(value(page, R"(qsketch_errors_total{code="INVALID_REQUEST"})") == 1);
    CHECK(value(page, R"(qsketch_errors_total{code="METHOD_NOT_ALLOWED"})") == 1);
    CHECK(value(page, R"(qsketch_errors_total{code="UNSUPPORTED_MEDIA_TYPE"})") == 1);
    CHECK(value(page, R"(qsketch_events_total{family="audience"})") == 4);
    CHECK(value(page, R"(qsketch_events_total{family="samples"})") == 3);
    CHECK(value(page, "qsketch_events_too_old_total") == 1);
    CHECK(value(page, R"(qsketch_series{family="samples"})") == 1);
    CHECK(value(page, "qsketch_connections") >= 1);
    CHECK(get(p, "/metrics").body.find("no/such") == std::string::npos);
}

TEST_CASE("Events are told by /metrics and by /health alike, also those that are fed by --demo") {
    const server s({"--demo"});
    const auto p = s.port();
    const std::string now = std::to_string(now_ms());
    CHECK(post_lines(p, "/metrics", "{\"key\":\"m\",\"value\":1}\n{\"key\":\"m\",\"value\":1}\n{}\n").status == 200);
    CHECK(post_json(p, "/insert", R"({"partition_key":"m","value":1})").status == 200);
    const std::pair<const char*, const char*> names[] = {
        {"audience", "visits"}, {"samples", "samples"}, {"traffic", "views"}, {"metrics", "metrics"}};
    for (const auto& [family, kind] : names) {
        INFO(family);
        const auto told = [&, family = family] {
            return value(page_of(s), "qsketch_events_total{family=\"" + std::string(family) + "\"}");
        };
        const auto health = [&, kind = kind] {
            return number_at(get(p, "/health").body, "/ingested/" + std::string(kind));
        };
        double before = told();
        for (int i = 0; i < 500 && before == 0; ++i, before = told()) std::this_thread::sleep_for(20ms);
        CHECK(before > 0);
        const double between = health(); // the demo goes on meanwhile
        CHECK(between >= before);
        CHECK(told() >= between);
    }
    CHECK(value(page_of(s), R"(qsketch_events_total{family="metrics"})") == 3);
}

TEST_CASE("What is refused for asking too often, and who is turned away, is counted") {
    const server s({"--rate-limit=2", "--max-connections=20"});
    std::vector<connection> held;
    for (int i = 0; i < 20; ++i) {
        held.emplace_back(s.port());
        held.back().send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(held.back().receive().status == 200);
    }
    connection over(s.port());
    CHECK(over.receive().status == 503);
    const auto asked = [&](const std::string& target) {
        held[0].send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
        return held[0].receive();
    };
    CHECK(asked("/keys").status == 200);
    const auto page = samples_of(asked("/metrics").body);
    CHECK(value(page, "qsketch_connections_refused_total") == 1);
    CHECK(value(page, "qsketch_connections") >= 20);
    CHECK(value(page, R"(qsketch_errors_total{code="OVERLOADED"})") == 1);
    CHECK(asked("/metrics").status == 429);
}

TEST_CASE("Every code of an error is one that is counted, and what is limited is counted too") {
    qsketch_server::request_metrics counted;
    for (const std::string_view code : qsketch_server::error_codes)
        counted.record(0, qsketch_server::error_answer(429, code, "", qsketch_server::error_style::envelope, "{}"),
                       1ns);
    qsketch_server::metrics_page page;
    counted.write(page);
    const auto got = samples_of(std::move(page).text());
    for (const std::string_view code : qsketch_server::error_codes)
        CHECK(got.at("qsketch_errors_total{code=\"" + std::string(code) + "\"}") == 1);
    for (const int status : {400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 431, 500, 501, 503, 505}) {
        const auto a = qsketch_server::error_answer(status, "", qsketch_server::error_style::envelope);
        CHECK(std::count(qsketch_server::error_codes.begin(), qsketch_server::error_codes.end(), a.error_code) == 1);
    }
}

TEST_CASE("A histogram's buckets rise, hold every request, and agree with its count and sum") {
    qsketch_server::duration_histogram h;
    for (const auto took : {0ns, 100'000ns, 100'001ns, 300'000ns, 999'999ns, 1'000'000ns, 9'999'999'999ns,
                            10'000'000'000ns, 10'000'000'001ns, 3'600'000'000'000ns})
        h.record(took);
    qsketch_server::metrics_page page;
    page.metric("t_seconds", "histogram", "Times.");
    h.write(page, R"(a="b")");
    const auto got = samples_of(std::move(page).text());
    const std::map<std::string, double> expected = {{"0.0001", 2}, {"0.0003", 4}, {"0.001", 6}, {"0.003", 6},
                                                    {"0.01", 6},   {"0.03", 6},   {"0.1", 6},   {"0.3", 6},
                                                    {"1", 6},      {"3", 6},      {"10", 8},    {"+Inf", 10}};
    for (const auto& [le, count] : expected) CHECK(got.at("t_seconds_bucket{a=\"b\",le=\"" + le + "\"}") == count);
    CHECK(got.size() == expected.size() + 2);
    CHECK(got.at(R"(t_seconds_count{a="b"})") == 10);
    CHECK(std::fabs(got.at(R"(t_seconds_sum{a="b"})") - 3630.002500001) < 1e-6);
    const server s;
    for (int i = 0; i < 5; ++i) CHECK(get(s.port(), "/health").status == 200);
    const auto served = page_of(s);
    CHECK(value(served, R"(qsketch_request_duration_seconds_count{method="GET",route="/health"})") == 5);
    CHECK(value(served, R"(qsketch_request_duration_seconds_bucket{method="GET",route="/health",le="+Inf"})") == 5);
    CHECK(value(served, R"(qsketch_request_duration_seconds_sum{method="GET",route="/health"})") > 0);
    CHECK(served.count(R"(qsketch_request_duration_seconds_count{method="GET",route="/keys"})") == 0);
}

TEST_CASE("The process tells of itself what it is") {
    const server s;
    const auto page = page_of(s);
    const double now = static_cast<double>(now_ms()) / 1000;
    CHECK(value(page, "process_start_time_seconds") > now - 600);
    CHECK(value(page, "process_start_time_seconds") <= now + 1);
    CHECK(value(page, "process_cpu_seconds_total") > 0);
    std::ifstream in("/proc/" + std::to_string(s.pid()) + "/statm");
    double pages = 0;
    in >> pages >> pages;
    CHECK(value(page, "process_resident_memory_bytes") > pages * 2048);
    CHECK(value(page, "process_resident_memory_bytes") < pages * 8192);
    CHECK(get(s.port(), "/metrics").body.find("qsketch_build_info{version=\"") != std::string::npos);
}

TEST_CASE("The page is what Prometheus reads: each metric has one HELP and TYPE, and its samples follow") {
    const server s;
    CHECK(post_json(s.port(), "/samples", R"({"key":"k","value":1})").status == 200);
    const reply r = get(s.port(), "/metrics");
    CHECK(r.header("content-type") == "text/plain; version=0.0.4; charset=utf-8");
    const std::regex comment(R"(# (HELP|TYPE) ([a-z_]+) (.+))");
    const std::regex sample(R"re(([a-z_]+)(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? (\d+(\.\d+)?(e[+-]\d+)?))re");
    std::set<std::string> seen;
    std::string current;
    std::string type;
    std::istringstream in(r.body);
    for (std::string line; std::getline(in, line);) {
        INFO(line);
        std::smatch m;
        if (line.front() != '#') {
            REQUIRE(std::regex_match(line, m, sample));
            std::string name = m[1];
            if (type == "histogram") name = std::regex_replace(name, std::regex("_(bucket|sum|count)$"), "");
            CHECK(name == current);
            continue;
        }
        REQUIRE(std::regex_match(line, m, comment));
        if (m[1] == "HELP") {
            CHECK(seen.insert(m[2]).second);
            current = m[2];
        } else {
            CHECK(m[2] == current);
            type = m[3];
            CHECK((type == "counter" || type == "gauge" || type == "histogram"));
            CHECK((type == "counter") == current.ends_with("_total"));
        }
    }
    CHECK(seen.size() >= 12);
    CHECK(r.body.back() == '\n');
}
