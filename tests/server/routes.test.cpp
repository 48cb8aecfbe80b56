#include "routes.hpp"

#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/process.hpp"

#include <qsketch/tdigest.hpp>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

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

/// "METHOD /path" of every operation in the document, which indents paths by 2 and methods by 4.
std::set<std::string> documented(const std::string& yaml) {
    std::set<std::string> out;
    std::istringstream in(yaml.substr(yaml.find("\npaths:"), yaml.find("\ncomponents:") - yaml.find("\npaths:")));
    std::string path;
    for (std::string line; std::getline(in, line);) {
        if (line.rfind("  /", 0) == 0) path = line.substr(2, line.find(':') - 2);
        for (const auto& [name, method] : std::map<std::string, std::string>{
                 {"get", "GET"}, {"post", "POST"}, {"put", "PUT"}, {"delete", "DELETE"}, {"patch", "PATCH"}})
            if (line == "    " + name + ":") out.insert(method + " " + path);
    }
    return out;
}

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
    CHECK(documented(yaml) == called);
}

TEST_CASE("Every route has a line that says what it does") {
    for (const qsketch_server::route& r : qsketch_server::routes()) {
        CHECK(r.doc.size() > 10);
        CHECK(r.handler != nullptr);
    }
}
