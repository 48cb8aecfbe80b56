#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/recordings.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

// What examples/server/deploy has for other programs, read by these programs, as far as there are any here.

using namespace server_test;

namespace {

std::filesystem::path deploy() { return source_directory() / "examples/server/deploy"; }

std::string text_of(const std::filesystem::path& file) {
    std::ostringstream out;
    out << opened(file).rdbuf();
    return out.str();
}

bool succeeds(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()) == 0; }

/// Is there such a program? If not, it says what is left out.
bool there_is(const std::string& probe, const std::string& what) {
    if (succeeds(probe)) return true;
    WARN("skipped: no " << what);
    return false;
}

/// A command's exit status, and what it says.
struct outcome {
    int status;
    std::string text;
};
outcome run(const std::string& command) {
    const directory place;
    const std::string file = place.path() + "/out";
    const int status = std::system((command + " >" + file + " 2>&1").c_str());
    return {status, text_of(file)};
}

std::set<std::string> matches_in(const std::string& text, const std::string& pattern) {
    const std::regex regex(pattern);
    std::set<std::string> out;
    for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at) out.insert(at->str());
    return out;
}

/// The page of a server to which something has happened.
std::string metrics_page() {
    const server s;
    CHECK(get(s.port(), "/no").status == 404);
    CHECK(post_json(s.port(), "/samples", R"({"key":"k","value":1})").status == 200);
    return get(s.port(), "/metrics").body;
}

} // namespace

TEST_CASE("promtool finds nothing to say about the page of metrics, the alerts and Prometheus' configuration") {
    if (!there_is("promtool --version", "promtool")) return;
    const directory place;
    const std::string page = place.path() + "/page";
    std::ofstream(page, std::ios::binary) << metrics_page();
    const outcome metrics = run("promtool check metrics <" + page);
    CHECK(metrics.status == 0);
    CHECK(metrics.text.empty());
    for (const std::string& check :
         {"rules '" + (deploy() / "alerts.yaml").string(), "config '" + (deploy() / "prometheus.yaml").string()}) {
        const outcome found = run("promtool check " + check + "'");
        INFO(found.text);
        CHECK(found.status == 0);
    }
    std::ofstream(page) << "groups: [{name: a, rules: [{alert: b, expr: 'c ='}]}]\n";
    CHECK(run("promtool check rules " + page).status != 0);
}

TEST_CASE("Dashboard and alerts name metrics that there are") {
    const std::string dashboard = text_of(deploy() / "grafana/qsketch.json");
    CHECK(json_at(dashboard, "/panels/0/targets/0/expr").starts_with('"'));
    const std::string name = R"(\b(qsketch|process)_[a-z_]+)";
    const std::set<std::string> there = matches_in(metrics_page(), name);
    CHECK(there.count("qsketch_requests_total") == 1);
    std::set<std::string> asked;
    for (const std::string& expression : matches_in(dashboard, R"re("expr": "([^"\\]|\\.)*")re"))
        asked.merge(matches_in(expression, name));
    CHECK(asked.size() >= 8);
    for (const std::string& expression : matches_in(text_of(deploy() / "alerts.yaml"), "\n +expr: [^\n]*"))
        asked.merge(matches_in(expression, name));
    for (const std::string& metric : asked) {
        INFO(metric);
        CHECK(there.count(metric) == 1);
    }
}

TEST_CASE("systemd accepts the unit") {
    if (!there_is("systemd-analyze --version", "systemd-analyze")) return;
    const directory place;
    const std::string unit = place.path() + "/qsketch-server.service";
    const std::string text = text_of(deploy() / "qsketch-server.service");
    const std::string installed = "ExecStart=/usr/local/bin/qsketch-server\n";
    REQUIRE(text.find(installed) != text.npos);
    const auto verified = [&](std::string changed) {
        changed.replace(changed.find(installed), installed.size(), "ExecStart=" QSKETCH_SERVER_PROGRAM "\n");
        std::ofstream(unit) << changed;
        return run("systemd-analyze verify " + unit);
    };
    const outcome found = verified(text);
    INFO(found.text);
    CHECK(found.status == 0);
    CHECK(found.text.find(unit) == std::string::npos);
    CHECK_FALSE(verified(text + "[Service]\nProtectSystems=strict\n").text.empty());
}

TEST_CASE("What is YAML is YAML") {
    if (!there_is("python3 -c 'import yaml'", "python3 with yaml")) return;
    std::size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(source_directory() / "examples/server")) {
        if (entry.path().extension() != ".yaml") continue;
        ++files;
        const outcome found = run("python3 -c 'import sys, yaml; assert all(yaml.safe_load_all(open(sys.argv[1])))' '" +
                                  entry.path().string() + "'");
        INFO(found.text);
        CHECK(found.status == 0);
    }
    CHECK(files == 7);
}

TEST_CASE("The variables that are set for the server are variables that it has") {
    const std::string known = run(QSKETCH_SERVER_PROGRAM " --help").text;
    std::set<std::string> set;
    for (const char* file : {"Dockerfile", "compose.yaml", "kubernetes.yaml", "qsketch-server.service"})
        set.merge(matches_in(text_of(deploy() / file), R"(\bQSKETCH_[A-Z_]+)"));
    CHECK(set.size() >= 4);
    for (const std::string& variable : set) {
        INFO(variable);
        CHECK(known.find("(Env:" + variable + ")") != known.npos);
    }
}
