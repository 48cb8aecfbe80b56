#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/recordings.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;

namespace {

struct ended {
    int status;
    std::string out;
    std::string errors;
};

ended run(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {}) {
    process p(arguments, environment);
    const std::string out = p.line();
    return {p.wait(10s).value_or(-1), out, p.errors()};
}

/// Of "a, b".
std::vector<std::string> parts(const std::string& list) {
    std::vector<std::string> out;
    for (std::size_t at = 0, end = 0; end < list.size(); at = end + 2) {
        end = (std::min)(list.find(", ", at), list.size());
        out.push_back(list.substr(at, end - at));
    }
    return out;
}

std::string lines_of(const std::map<std::string, std::string>& entries) {
    std::string out;
    for (const auto& [name, value] : entries) out += name + " " + value + "\n";
    return out;
}

} // namespace

TEST_CASE("A flag that is unknown, broken or not available yet ends the server with one line and status 2") {
    const std::vector<std::vector<std::string>> bad = {{"--prot=1"},
                                                       {"--port=65536"},
                                                       {"--port=x"},
                                                       {"--port"},
                                                       {"--port="},
                                                       {"extra"},
                                                       {"--max-body=0"},
                                                       {"--max-body=5MB"},
                                                       {"--max-body=2GiB"},
                                                       {"--threads=0"},
                                                       {"--slice=0h"},
                                                       {"--slice=1"},
                                                       {"--retention=1w"},
                                                       {"--retention=-1d"},
                                                       {"--max-series=1e5"},
                                                       {"--durability=yes"},
                                                       {"--durability=0"},
                                                       {"--log-format=xml"},
                                                       {"--insecure=maybe"},
                                                       {"--first-slice=soon"},
                                                       {"--node-id=a,b"},
                                                       {"--host="},
                                                       {"--host=no such host"},
                                                       {"--grpc-port=1"},
                                                       {"--data-dir="},
                                                       {"--data-dir=/proc", "--durability=commit"},
                                                       {"--data-dir=/dev/null/x", "--durability=commit"},
                                                       {"--data-dir=/dev/null", "--durability=commit"},
                                                       {"--first-slice=2999-01-01"},
                                                       {"--cluster=x"},
                                                       {"--rate-limit=x"},
                                                       {"--rate-limit=-1"},
                                                       {"--rate-limit=1,2,3"},
                                                       {"--rate-limit=,5"},
                                                       {"--rate-limit=5,"},
                                                       {"--rate-limit=100001"},
                                                       {"--auth-tokens-file"},
                                                       {"--demo=maybe"},
                                                       {"--window-retention=0s"}};
    for (auto arguments : bad) {
        INFO(arguments.front());
        const std::string flag = arguments.front().substr(0, arguments.front().find('='));
        if (flag != "--port") arguments.push_back("--port=0");
        const ended e = run(arguments);
        CHECK(e.status == 2);
        CHECK(e.out.empty());
        CHECK(e.errors.rfind("qsketch-server: ", 0) == 0);
        CHECK(e.errors.find('\n') == e.errors.size() - 1);
        CHECK(e.errors.find(flag) != e.errors.npos);
    }
    CHECK(run({"--node-id=", "--port=0"}).errors == "qsketch-server: --node-id= is given without a value\n");
    CHECK(run({"--cluster=x"}).errors == "qsketch-server: --cluster=x is not available in this build yet\n");
}

TEST_CASE("The environment sets what flags do not") {
    const ended bad = run({}, {"QSKETCH_PORT=x"});
    CHECK(bad.status == 2);
    CHECK(bad.errors.find("--port") != bad.errors.npos);
    CHECK(run({}, {"QSKETCH_PORT=tcp://10.0.0.1:80"}).status == 2);
    CHECK(run({"--port=0"}, {"QSKETCH_CLUSTER=x"}).errors ==
          "qsketch-server: --cluster=x is not available in this build yet\n");
    const std::vector<std::string> foreign = {"QSKETCH_SERVICE_HOST=10.0.0.1", "QSKETCH_DATA=x", "QSKETCH_PROT=5"};
    process warned({"--port=0"}, foreign);
    REQUIRE(warned.line().rfind("listening on http://127.0.0.1:", 0) == 0);
    for (const char* name : {"QSKETCH_SERVICE_HOST", "QSKETCH_DATA", "QSKETCH_PROT"})
        CHECK(warned.errors().find(std::string("warning ") + name + " is in the environment") != std::string::npos);
    process p({"--node-id=flag"}, {"QSKETCH_PORT=0", "QSKETCH_NODE_ID=environment", "QSKETCH_LOG_FORMAT=json",
                                   "QSKETCH_INSECURE=false", "PATH=/bin"});
    const std::string line = p.line();
    REQUIRE(line.rfind("listening on http://127.0.0.1:", 0) == 0);
    const auto port = static_cast<std::uint16_t>(std::stoi(line.substr(30)));
    CHECK(json_at(get(port, "/health").body, "/cluster/node_id") == R"("flag")");
    std::string log;
    for (int i = 0; i < 500 && (log = p.errors()).empty(); ++i) std::this_thread::sleep_for(10ms);
    CHECK(json_at(log, "/level") == R"("info")");
}

TEST_CASE("Flags of later builds are known, and refused by a line that says so") {
    for (const char* flag : {"--grpc-port=50051", "--cluster=http://10.0.0.1:8080"}) {
        const ended e = run({flag, "--port=0"});
        CHECK(e.status == 2);
        CHECK(e.errors == "qsketch-server: " + std::string(flag) + " is not available in this build yet\n");
    }
    const server s({"--demo=false"});
    CHECK(get(s.port(), "/livez").status == 200);
}

TEST_CASE("The data directory is made where it is asked for, and not at all if nothing is to be kept") {
    const directory base;
    const std::string asked = base.path() + "/a/b";
    {
        const server s({"--data-dir", asked, "--durability=none"});
        CHECK_FALSE(std::filesystem::exists(asked));
        const server by_default;
        CHECK_FALSE(std::filesystem::exists("qsketch-data"));
    }
    const server s({"--data-dir", asked, "--durability=commit"});
    CHECK(std::filesystem::is_directory(asked));
}

TEST_CASE("--help and the documentation name the same flags, variables and defaults") {
    process p({"--help"});
    std::string help;
    for (std::string line; !(line = p.line()).empty() || help.size() < 500;) help += line + "\n";
    CHECK(p.wait(5s) == 0);
    std::map<std::string, std::string> defaults; // by flag
    const std::regex entry(R"re((--[a-z-]+)( VALUE)? \(Env:([A-Z_]+)\)\s+[^\n]* \(default: ([^\n]*)\)\n)re");
    for (std::sregex_iterator at(help.begin(), help.end(), entry), end; at != end; ++at) {
        std::string expected = "QSKETCH_" + at->str(1).substr(2);
        std::transform(expected.begin() + 8, expected.end(), expected.begin() + 8,
                       [](char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
        CHECK(at->str(3) == expected);
        defaults[at->str(1)] = at->str(4) == "false" ? "off" : at->str(4);
    }
    CHECK(defaults.size() > 20);
    CHECK(defaults.count("--cluster") == 1);
    std::map<std::string, std::string> documented;
    std::ifstream in = opened(source_directory() / "docs/server.md");
    const std::regex row(R"(\| (`--[^|]*`) \| ([^|]*) \|.*)");
    for (std::string line; std::getline(in, line);) {
        std::smatch m;
        if (!std::regex_match(line, m, row)) continue;
        const std::vector<std::string> flags = parts(m.str(1));
        const std::vector<std::string> values = parts(m.str(2));
        for (std::size_t i = 0; i < flags.size(); ++i)
            documented[flags[i].substr(1, flags[i].size() - 2)] = values.size() == flags.size() ? values[i] : m.str(2);
    }
    CHECK(lines_of(documented) == lines_of(defaults));
    const std::regex variable(R"(QSKETCH_[A-Z_]+)");
    for (const char* page : {"docs/server.md", "docs/requests.md", "docs/security.md"}) {
        std::ifstream text = opened(source_directory() / page);
        for (std::string word; text >> word;) {
            std::smatch m;
            if (!std::regex_search(word, m, variable) || m.str() == "QSKETCH_SERVICE_HOST") continue; // a platform's
            INFO(page << " has " << m.str());
            CHECK(help.find(m.str()) != help.npos);
        }
    }
    process version({"--version"});
    CHECK(version.line().rfind("qsketch-server ", 0) == 0);
    CHECK(version.wait(5s) == 0);
}

TEST_CASE("A taken port ends the second server with status 2") {
    const server first;
    const ended e = run({"--port=" + std::to_string(first.port())});
    CHECK(e.status == 2);
    CHECK(e.out.empty());
    CHECK(e.errors.find(std::to_string(first.port())) != e.errors.npos);
    CHECK(get(first.port(), "/livez").status == 200);
}

TEST_CASE("A host that others can reach needs --insecure") {
    const ended e = run({"--host=0.0.0.0", "--port=0"});
    CHECK(e.status == 2);
    CHECK(e.errors.find("--insecure") != e.errors.npos);
    process p({"--host=0.0.0.0", "--port=0", "--insecure"});
    CHECK(p.line().rfind("listening on http://0.0.0.0:", 0) == 0);
}

TEST_CASE("The port is free for the next server at once") {
    std::uint16_t port = 0;
    {
        server first;
        port = first.port();
        connection held(port);
        held.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(held.receive().status == 200);
        first.signal(SIGTERM);
        CHECK(first.wait(5s) == 0);
    }
    process second({"--port=" + std::to_string(port)});
    CHECK(second.line() == "listening on http://127.0.0.1:" + std::to_string(port));
}

TEST_CASE("SIGTERM and SIGINT end the server with status 0 whatever its clients do") {
    for (const int number : {SIGTERM, SIGINT}) {
        server s;
        std::vector<connection> idle;
        for (int i = 0; i < 50; ++i) idle.emplace_back(s.port());
        for (auto& c : idle) c.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        for (auto& c : idle) CHECK(c.receive().status == 200);
        connection silent(s.port());
        connection half(s.port());
        half.send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"key\"");
        connection deaf(s.port()); // asks for much and reads nothing
        for (int i = 0; i < 400; ++i) deaf.send("GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n");
        s.signal(number);
        CHECK(s.wait(5s) == 0);
        CHECK(s.errors().find("done") != std::string::npos);
    }
}

TEST_CASE("A request under way at SIGTERM is answered, a new connection is not taken") {
    server s;
    connection slow(s.port());
    slow.send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
              "21\r\n\r\n{\"key\":\"k\"");
    CHECK(get(s.port(), "/livez").status == 200);
    s.signal(SIGTERM);
    // A request that is under way has three seconds, so no longer than needed is waited.
    bool refused = false;
    for (const auto end = std::chrono::steady_clock::now() + 2s; !refused && std::chrono::steady_clock::now() < end;) {
        try {
            connection late(s.port());
            std::this_thread::sleep_for(1ms);
        } catch (const std::exception&) {
            refused = true;
        }
    }
    CHECK(refused);
    slow.send(",\"value\":1}");
    const reply r = slow.receive();
    CHECK(r.status == 200);
    CHECK(r.header("connection") == "close");
    CHECK(s.wait(5s) == 0);
}

TEST_CASE("--log-requests tells of every request on stderr, and of nothing in it") {
    const server s({"--log-requests"});
    CHECK(post_json(s.port(), "/samples", R"({"key":"secret","value":1})").status == 200);
    const std::string log = s.errors();
    CHECK(log.find("127.0.0.1 POST /samples 200") != log.npos);
    CHECK(log.find("secret") == log.npos);
}
