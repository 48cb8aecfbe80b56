#include "application.hpp"
#include "routes.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/request_table.hpp"
#include "support/sanitized.hpp"
#include "support/store.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

// malformed.txt lists what is refused, and how; here it is asked, and looked whether it changed anything.

using namespace server_test;
using namespace std::chrono_literals;

namespace {

// The tokens are these names with "-token" behind them, hashed by sha256sum.
const std::string tokens =
    "QSKETCH_AUTH_TOKENS="
    "everybody read,write,admin 459a0082d6ff4067ff178e033a68e582d59c1c0cad508843049831044324580f;"
    "reader read ba5005a40cf5212e4ac0190104cc127edab013294bb71279a975b27a80982d45;"
    "former read,write,admin e7f8d0055a8cefadb6d431408cb76ed326889d786d4b48f7b7cf2d46dba49b7f 2020-01-01";

struct row {
    int status;
    std::string field; ///< "-" where it is none.
    std::string says;
    table_row request;
};

/// The same body as a line of a batch, where that is refused alike.
std::optional<row> as_line(row r) {
    table_row& q = r.request;
    if (r.status != 400 || q.method != "POST" || q.target.starts_with("/compute") ||
        q.target.find('?') != q.target.npos)
        return {};
    if (q.type != "application/json" || q.body.starts_with('[') || q.body.find_first_not_of(" \n") == q.body.npos)
        return {};
    if (!q.fields.empty() || r.says == "that of the path") return {}; // a batch may have other ids
    if (r.field == "-" && r.says != "JSON") return {};
    if (r.field == "-") r.field = "line";
    q.line += " (as a line)";
    q.type = "application/x-ndjson";
    q.body += '\n';
    return r;
}

std::vector<row> rows() {
    std::vector<row> out;
    for (table_row& r : table_of("malformed.txt", 3))
        out.push_back({std::stoi(r.columns[0]), r.columns[1], r.columns[2], std::move(r)});
    return out;
}

std::vector<row> with_lines(std::vector<row> table) {
    for (std::size_t i = 0, single = table.size(); i < single; ++i)
        if (auto line = as_line(table[i])) table.push_back(*std::move(line));
    return table;
}

std::string bearer(const std::string& token) {
    if (token == "nobody") return {};
    return "Authorization: Bearer " + (token.empty() ? "everybody" : token) + "-token\r\n";
}

reply asked(std::uint16_t port, const row& r) { return r.request.ask(port, bearer(r.request.token)); }

std::string code_for(const row& r) {
    const std::map<int, std::string> codes = {{401, "AUTH_ERROR"},        {403, "AUTH_ERROR"},
                                              {404, "NOT_FOUND"},         {405, "METHOD_NOT_ALLOWED"},
                                              {413, "PAYLOAD_TOO_LARGE"}, {415, "UNSUPPORTED_MEDIA_TYPE"},
                                              {429, "CARDINALITY_LIMIT"}};
    const auto at = codes.find(r.status);
    if (at != codes.end()) return at->second;
    return r.field == "-" ? "INVALID_REQUEST" : "VALIDATION_ERROR";
}

/// Family B has its older form of errors.
bool is_sentence(const std::string& target) {
    const std::string path = target.substr(0, target.find('?'));
    const std::set<std::string> paths = {"/samples", "/quantile", "/cdf", "/frequency", "/topk", "/keys"};
    return paths.count(path) == 1 || (path.starts_with("/keys/") && path.size() > 6);
}

std::string in_json(const std::string& text) {
    std::string out;
    for (const char c : text) out.append(c == '"' ? 1 : 0, '\\') += c;
    return out;
}

void check(const row& r, const reply& got) {
    INFO(r.request.line.substr(0, 200) << "\n" << got.body.substr(0, 400));
    CHECK(got.status == r.status);
    CHECK(got.header("content-type") == "application/json");
    CHECK_FALSE(got.header("x-request-id").empty());
    CHECK(got.body.find(in_json(r.says)) != std::string::npos);
    if (json_at(got.body, "/accepted") == "0") { // a batch has its own form
        CHECK(json_at(got.body, "/errors/0/error").starts_with('"' + r.field + ": "));
        CHECK(json_at(got.body, "/errors/0/line") == "1");
        CHECK(number_at(got.body, "/rejected") >= 1);
        return;
    }
    const bool sentence = is_sentence(r.request.target);
    CHECK(json_at(got.body, "/code") == '"' + code_for(r) + '"');
    CHECK((json_at(got.body, "/error") == "true") == !sentence);
    CHECK(json_at(got.body, "/message").starts_with("(nothing") == sentence);
    if (r.field == "-")
        CHECK(json_at(got.body, "/details/fields").starts_with("(nothing"));
    else
        CHECK(json_at(got.body, "/details/fields/0/field") == '"' + r.field + '"');
}

/// Takes part in everything that the server keeps, so that something is there to be changed.
void feed(std::uint16_t port) {
    const std::string now = std::to_string(now_ms());
    const auto post = [&](const std::string& target, const std::string& body, const std::string& fields = {}) {
        return ask(port, "POST", target, body, bearer("everybody") + fields).status;
    };
    REQUIRE(post("/analytics?user=u&click&timestamp=" + now, "") == 202);
    REQUIRE(post("/samples", R"({"key":"kept","value":1})", "Idempotency-Key: used\r\n") == 200);
    REQUIRE(post("/samples", R"([{"key":"kept","value":4},{"key":"other","value":4}])") == 200);
    for (const std::string id : {"1", "2"})
        REQUIRE(post("/api/traffic/" + id, R"({"user_id":1,"page_url":"/","created_at":)" + now + "}") == 201);
    REQUIRE(post("/metrics", R"([{"key":"m","value":1},{"key":"m","value":2,"tags":{"a":"x"}}])") == 200);
    REQUIRE(post("/insert", R"({"partition_key":"m","value":3})") == 200);
}

/// What a client can learn of the server's state, but for what it has refused.
std::string answers_of(std::uint16_t port) {
    const auto body = [&](const std::string& target) { return get(port, target, bearer("everybody")).body; };
    const std::string health = body("/health");
    std::string out;
    for (const char* part : {"/ingested", "/series", "/storage/commits"}) out += json_at(health, part) + "\n";
    std::istringstream metrics(body("/metrics"));
    for (std::string line; std::getline(metrics, line);)
        if (line.starts_with("qsketch_events_total") || line.starts_with("qsketch_series")) out += line + "\n";
    for (const char* target :
         {"/analytics/allslices", "/analytics", "/keys", "/quantile?key=kept&q=0,0.5,1&window=80000",
          "/cdf?key=kept&value=2&window=80000", "/topk?key=other&window=80000", "/api/traffic/daily/1"})
        out += body(target) + "\n";
    const std::string pages = body("/api/traffic/pages?window=80000");
    out += json_at(pages, "/pages") + json_at(pages, "/unique_visitors") + "\n";
    const std::string metric = body("/aggregate?metric=m&window=1d&rolling=true&group_by=a");
    return out + json_at(metric, "/aggregations") + json_at(metric, "/by_a");
}

/// Every row of a data directory that no server works on.
std::map<std::string, std::string> rows_in(const std::string& place) {
    using namespace qsketch_server;
    const std::array<const char*, 3> arguments = {"qsketch-server", "--data-dir", place.c_str()};
    const application app(*parse_options(static_cast<int>(arguments.size()), arguments.data()),
                          [] { return instant(std::chrono::milliseconds(now_ms())); });
    std::map<std::string, std::string> out;
    for (std::size_t t = 0; t < table_count; ++t)
        for (auto& [key, value] : rows_of(app.rows, static_cast<table>(t))) out[std::to_string(t) + key] = value;
    return out;
}

server started(const std::string& place) {
    return server({"--data-dir", place, "--durability=commit", "--max-series=2", "--max-body=64KiB"}, {tokens});
}

void stop(server& s) {
    s.signal(SIGTERM);
    CHECK(s.wait(10s) == 0);
}

} // namespace

TEST_CASE("What is malformed is refused as the table says, and changes neither answers nor rows nor memory") {
    const std::vector<row> single = rows();
    CHECK(single.size() >= 200);
    const std::vector<row> table = with_lines(single);
    CHECK(table.size() >= single.size() + 100);
    const directory place;
    {
        server s = started(place.path());
        feed(s.port());
        stop(s);
    }
    const auto rows_before = rows_in(place.path());
    CHECK(rows_before.size() > 10);
    server s = started(place.path());
    const std::string answers_before = answers_of(s.port());
    for (const row& r : table) check(r, asked(s.port(), r));
    CHECK(answers_of(s.port()) == answers_before);
    // Refused for their age: the events, but not the questions.
    const auto old = std::count_if(table.begin(), table.end(), [](const row& r) {
        return r.says.ends_with("retention") && r.request.method != "GET" && !r.request.target.starts_with("/compute");
    });
    CHECK(json_at(get(s.port(), "/health").body, "/refused/too_old") == std::to_string(old));
    const long memory = s.kib("VmHWM");
    for (int again = 0; again < 5; ++again)
        for (const row& r : table) CHECK(asked(s.port(), r).status == r.status);
    CHECK((sanitized || s.kib("VmHWM") < memory + 16 * 1024));
    CHECK((sanitized || s.kib("VmHWM") < 256 * 1024));
    CHECK(answers_of(s.port()) == answers_before);
    stop(s);
    CHECK(rows_in(place.path()) == rows_before);
}

TEST_CASE("The table of what is malformed has something for every route") {
    std::set<const qsketch_server::route*> seen;
    for (const row& r : rows())
        seen.insert(qsketch_server::row_of(r.request.method, r.request.target.substr(0, r.request.target.find('?'))));
    for (const qsketch_server::route& r : qsketch_server::routes()) {
        INFO(r.method << " " << r.pattern);
        CHECK(seen.count(&r) == 1);
    }
}
