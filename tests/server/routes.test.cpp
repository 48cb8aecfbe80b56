#include "routes.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/process.hpp"

#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

using namespace server_test;

namespace {

std::string file_text(const std::string& name) {
    std::ifstream in(name);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::set<std::string> table() {
    std::set<std::string> out;
    for (const qsketch_server::route& r : qsketch_server::routes())
        out.insert(std::string(r.method) + " " + std::string(r.pattern));
    return out;
}

/// The lines between two lines.
std::string between(const std::string& yaml, const std::string& from, const std::string& to) {
    const std::size_t begin = yaml.find(from);
    return yaml.substr(begin, yaml.find(to, begin) - begin);
}

/// Every operation in the document as "METHOD /path", and the lines that it has: the document indents paths by 2 and
/// methods by 4.
std::map<std::string, std::string> documented(const std::string& yaml) {
    const std::map<std::string, std::string> methods = {
        {"get", "GET"}, {"post", "POST"}, {"put", "PUT"}, {"delete", "DELETE"}, {"patch", "PATCH"}};
    std::map<std::string, std::string> out;
    std::istringstream in(between(yaml, "\npaths:", "\ncomponents:"));
    std::string path;
    std::string* operation = nullptr;
    for (std::string line; std::getline(in, line);) {
        if (line.rfind("  /", 0) == 0) path = line.substr(2, line.find(':') - 2);
        if (line.rfind("      ", 0) == 0 && operation != nullptr) *operation += line + "\n";
        if (line.rfind("      ", 0) == 0) continue;
        operation = nullptr;
        for (const auto& [name, method] : methods)
            if (line == "    " + name + ":") operation = &out[method + " " + path];
    }
    return out;
}

template <class Value>
std::set<std::string> keys_of(const std::map<std::string, Value>& map) {
    std::set<std::string> out;
    for (const auto& [key, value] : map) out.insert(key);
    return out;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

} // namespace

TEST_CASE("The route table, the OpenAPI document and the requests of this test name the same routes") {
    const server s;
    const std::string hour = std::to_string(now_ms() / 3'600'000);
    const std::string time = "timestamp=" + std::to_string(now_ms());
    struct call {
        std::string route;
        std::string target;
        int status;
    };
    const call calls[] = {
        {"POST /analytics", "/analytics?user=u&click&" + time, 202},
        {"GET /analytics", "/analytics?" + time, 200},
        {"GET /analytics/perworker", "/analytics/perworker?" + time, 200},
        {"GET /analytics/allslices", "/analytics/allslices", 200},
        {"POST /worker", "/worker?user=u&click&slice=" + hour, 202},
        {"GET /worker", "/worker?slice=" + hour, 200},
        {"GET /workers", "/workers?slice=" + hour, 200},
        {"POST /samples", "/samples", 200},
        {"GET /quantile", "/quantile?key=k&q=0.5&window=60", 200},
        {"GET /cdf", "/cdf?key=k&value=1&window=60", 200},
        {"GET /frequency", "/frequency?key=k&value=1&window=60", 200},
        {"GET /topk", "/topk?key=k&window=60", 200},
        {"GET /keys", "/keys", 200},
        {"DELETE /keys/{key}", "/keys/k", 204},
        {"POST /metrics", "/metrics", 200},
        {"POST /insert", "/insert", 200},
        {"GET /aggregate", "/aggregate?metric=m&window=1h", 200},
        {"POST /compute", "/compute", 200},
        {"PUT /v1/sketches/{key}/merge", "/v1/sketches/s/merge", 200},
        {"GET /v1/sketches/{key}", "/v1/sketches/s?window=60", 200},
        {"POST /api/traffic", "/api/traffic", 201},
        {"POST /api/traffic/{request_id}", "/api/traffic/2", 201},
        {"PUT /api/traffic/{request_id}", "/api/traffic/1", 200},
        {"GET /api/traffic/daily/{user_id}", "/api/traffic/daily/1", 200},
        {"GET /api/traffic/pages", "/api/traffic/pages", 200},
        {"GET /health", "/health", 200},
        {"GET /metrics", "/metrics", 200},
        {"GET /livez", "/livez", 200},
        {"GET /readyz", "/readyz", 200},
        {"GET /openapi.yaml", "/openapi.yaml", 200},
        {"GET /", "/", 200},
    };
    const std::string view = R"({"user_id":1,"page_url":"/","created_at":)" + std::to_string(now_ms());
    qsketch::tdigest<> digest;
    digest.add(1);
    const auto image = digest.serialize();
    const std::map<std::string, std::string> bodies = {
        {"POST /samples", R"({"key":"k","value":1})"},
        {"POST /api/traffic", view + R"(,"request_id":1})"},
        {"POST /api/traffic/{request_id}", view + "}"},
        {"PUT /api/traffic/{request_id}", view + "}"},
        {"POST /metrics", R"({"key":"m","value":1})"},
        {"POST /insert", R"({"partition_key":"m","value":1})"},
        {"POST /compute", R"({"metric":"m"})"},
        {"PUT /v1/sketches/{key}/merge", {reinterpret_cast<const char*>(image.data()), image.size()}},
    };
    std::set<std::string> called;
    for (const call& c : calls) {
        INFO(c.route);
        called.insert(c.route);
        const std::string method = c.route.substr(0, c.route.find(' '));
        const auto body = bodies.find(c.route);
        CHECK(ask(s.port(), method, c.target, body == bodies.end() ? "" : body->second).status == c.status);
    }
    const std::string yaml = get(s.port(), "/openapi.yaml").body;
    CHECK(yaml == file_text(QSKETCH_OPENAPI_FILE));
    CHECK(table() == called);
    CHECK(keys_of(documented(yaml)) == called);
}

TEST_CASE("The document has for every route the refusals that all of its kind have in common, and for no other") {
    const std::string yaml = file_text(QSKETCH_OPENAPI_FILE);
    const auto operations = documented(yaml);
    for (const qsketch_server::route& r : qsketch_server::routes()) {
        INFO(r.method << " " << r.pattern);
        const auto found = operations.find(std::string(r.method) + " " + std::string(r.pattern));
        REQUIRE(found != operations.end());
        const std::string& lines = found->second;
        const bool open = r.needs == qsketch_server::scope::open;
        const bool takes_key = r.needs == qsketch_server::scope::write && (r.method == "POST" || r.method == "PUT");
        CHECK(has(lines, "\n      security: []\n") == open);
        CHECK(has(lines, "\n        '401': {$ref: '#/components/responses/Unauthorized'}\n") == !open);
        CHECK(has(lines, "\n        '403': {$ref: '#/components/responses/Forbidden'}\n") == !open);
        CHECK(has(lines, "\n        '429': {$ref: '#/components/responses/TooMany") == !open);
        CHECK(has(lines, "\n        '422': {$ref: '#/components/responses/KeyUsed'}\n") == takes_key);
        CHECK(has(lines, "\n        - {$ref: '#/components/parameters/idempotencyKey'}\n") == takes_key);
        CHECK(has(lines, "\n        '400':"));
        CHECK(has(lines, "\n        '2"));
    }
    CHECK(has(between(yaml, "\nsecurity:", "\ntags:"), "\n  - bearer: []\n"));
    CHECK(has(between(yaml, "\n  securitySchemes:", "\n  parameters:"), "\n      scheme: bearer\n"));
}

TEST_CASE("The document names all codes of errors, and refers to nothing that it has not") {
    const std::string yaml = file_text(QSKETCH_OPENAPI_FILE);
    std::string codes = between(yaml, "\n    Code:\n      enum: [", "]") + ",";
    codes.erase(0, codes.find('[') + 1);
    codes.erase(std::remove_if(codes.begin(), codes.end(), [](char c) { return c == ' ' || c == '\n'; }), codes.end());
    std::string expected;
    for (const std::string_view code : qsketch_server::error_codes) expected.append(code) += ',';
    CHECK(codes == expected);
    int references = 0;
    const std::string start = "{$ref: '#/components/";
    for (std::size_t at = 0; (at = yaml.find(start, at)) != yaml.npos; ++references) {
        at += start.size();
        const std::string reference = yaml.substr(at, yaml.find('\'', at) - at);
        INFO(reference);
        const std::size_t slash = reference.find('/');
        const std::size_t section = yaml.find("\n  " + reference.substr(0, slash) + ":\n", yaml.find("\ncomponents:"));
        REQUIRE(section != yaml.npos);
        // Up to the next line that is indented by two.
        std::size_t end = section + 1;
        do end = (std::min)(yaml.find("\n  ", end + 1), yaml.size());
        while (end < yaml.size() && yaml[end + 3] == ' ');
        CHECK(has(yaml.substr(section, end - section), "\n    " + reference.substr(slash + 1) + ":"));
    }
    CHECK(references > 100);
}

TEST_CASE("Every route has a line that says what it does") {
    for (const qsketch_server::route& r : qsketch_server::routes()) {
        CHECK(r.doc.size() > 10);
        CHECK(r.handler != nullptr);
    }
}
