#include "http/access.hpp"

#include "routes.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"

#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;
using qsketch_server::scope;
using qsketch_server::token_list;

namespace {

// Hashed by sha256sum.
const std::string reader = "reader-token-0123456789";
const std::string writer = "writer-token-0123456789";
const std::string both = "both-token-0123456789";
const std::string admin = "admin-token-0123456789";
const std::string old = "old-token-0123456789";
const std::string percent = "per%41cent-token-0123456789";
const std::string added = "new-token-0123456789";
const std::string added_hash = "da4bde78d8e462058ac05620f3fe7a01e97bf73137a36353e4036f0e8bc4055b";
const std::string lines =
    "# who      what        SHA-256                                                           until\n"
    "\n"
    "reader     read        b3057e05d75e8cdca4bd6ddd527af736913e8464a7a3d47d7a09389eaa8e1eb4\n"
    "writer     write       1caf5ddb6778770019772a6363b8cc194d1e3c145d8de3fc2570091710c3771e  2999-01-01\r\n"
    "both\tread,write\tB9600F743F6A84E5D7C07F790DC20E85553A3975A22EC6ED70EECA8ADFFE211A # in capitals\n"
    "admin      admin       ca8d40e6ce4716b552f1c69863335b502f2afb57ffae171d6675fd56d91ca5b2\n"
    "old        read        de273dfa16271ad54ef4f63d20bd3b9caed83190407b602d71f07582e6afb6fc  2020-01-20T15:30:00Z\n"
    "reader     read        35b19c9d6c6c5eaa45247c460c5146ca93fed81c8cb165d81a6594e0b945aa6e";

std::string bearer(const std::string& token) { return "Authorization: Bearer " + token + "\r\n"; }

void write_file(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::uint16_t shared() {
    static const directory place;
    static const server s([] {
        write_file(place.path() + "/tokens", lines);
        return std::vector<std::string>{"--auth-tokens-file", place.path() + "/tokens"};
    }());
    return s.port();
}

bool comes_true(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i, std::this_thread::sleep_for(10ms))
        if (condition()) return true;
    return false;
}

} // namespace

TEST_CASE("Every route lets in the tokens of its scope and no others") {
    const std::vector<std::pair<scope, std::string>> tokens = {
        {scope::read, reader}, {scope::write, writer}, {scope::admin, admin}};
    for (const qsketch_server::route& r : qsketch_server::routes()) {
        const std::string method(r.method);
        const std::string target(r.pattern);
        INFO(method << " " << target);
        const reply without = ask(shared(), method, target);
        const bool sentence = r.errors == qsketch_server::error_style::sentence;
        if (r.needs == scope::open) {
            CHECK(without.status == 200);
            continue;
        }
        CHECK(without.status == 401);
        CHECK(without.header("www-authenticate") == R"(Bearer realm="qsketch")");
        CHECK(json_at(without.body, "/code") == R"("AUTH_ERROR")");
        CHECK((json_at(without.body, "/error") == "true") == !sentence);
        for (const auto& [has, token] : tokens) {
            const reply with = ask(shared(), method, target, {}, bearer(token));
            if (has == r.needs) {
                CHECK(with.status != 401);
                CHECK(with.status != 403);
                continue;
            }
            CHECK(with.status == 403);
            CHECK(json_at(with.body, "/code") == R"("AUTH_ERROR")");
            CHECK(with.header("www-authenticate").find(R"(error="insufficient_scope")") != std::string::npos);
            CHECK(with.header("www-authenticate").find("scope=\"" + std::string(name_of(r.needs)) + '"') !=
                  std::string::npos);
        }
    }
}

TEST_CASE("Only health is told to strangers, and a token is what the header says, byte by byte") {
    struct row {
        std::string method;
        std::string target;
        std::string fields;
        int status;
        std::string challenge; ///< What it has to mention.
    };
    const std::string hour = "/worker?slice=" + std::to_string(now_ms() / 3'600'000);
    const std::vector<row> rows = {
        {"GET", "/health", "", 200, ""},
        {"GET", "/livez", bearer("wrong"), 200, ""},
        {"HEAD", "/readyz", "", 200, ""},
        {"GET", "/keys", bearer(reader), 200, ""},
        {"GET", "/keys", bearer(both), 200, ""},
        {"GET", "/keys", bearer(percent), 200, ""},
        {"GET", "/keys", "authorization:  bEARER   " + reader + "  \r\n", 200, ""},
        {"HEAD", "/keys", bearer(reader), 200, ""},
        {"POST", hour + "&user=u&click", bearer(both), 202, ""},
        {"OPTIONS", "/keys", bearer(admin), 204, ""},
        {"GET", "/nothing", bearer(admin), 404, ""},
        {"PATCH", "/keys", bearer(admin), 405, ""},
        {"GET", "/keys", bearer("perAcent-token-0123456789"), 401, "not known"},
        {"GET", "/keys", bearer(reader + "x"), 401, "not known"},
        {"GET", "/keys", bearer(reader.substr(1)), 401, R"(error="invalid_token")"},
        {"GET", "/keys", bearer(added_hash), 401, "not known"},
        {"GET", "/keys", bearer(old), 401, "expired"},
        {"GET", "/keys", "Authorization: Bearer\r\n", 401, "realm"},
        {"GET", "/keys", "Authorization: Bearer \r\n", 401, "realm"},
        {"GET", "/keys", "Authorization: Bearer" + reader + "\r\n", 401, "realm"},
        {"GET", "/keys", "Authorization: " + reader + "\r\n", 401, "realm"},
        {"GET", "/keys", "Authorization: Basic cmVhZGVyOnJlYWRlcg==\r\n", 401, "realm"},
        {"GET", "/keys", "X-Authorization: Bearer " + reader + "\r\n", 401, "realm"},
        {"GET", "/keys?access_token=" + reader, "", 401, "realm"},
        {"GET", "/keys", bearer(reader) + bearer(reader), 400, ""},
        {"HEAD", "/keys", "", 401, "realm"},
        {"OPTIONS", "/keys", "", 401, "realm"},
        {"OPTIONS", "*", "", 401, "realm"},
        {"GET", "/nothing", "", 401, "realm"},
        {"GET", "/health/", "", 401, "realm"},
        {"PATCH", "/health", "", 401, "realm"},
        {"HEAD", "/keys", bearer(writer), 403, "scope"},
        {"POST", hour + "&user=u&click", bearer(reader), 403, "scope"},
        {"DELETE", "/keys/k", bearer(both), 403, R"(scope="admin")"},
    };
    for (const row& r : rows) {
        INFO(r.method << " " << r.target << " " << r.fields);
        const reply got = ask(shared(), r.method, r.target, {}, r.fields);
        CHECK(got.status == r.status);
        CHECK(got.header("www-authenticate").find(r.challenge) != std::string::npos);
        CHECK(got.header("www-authenticate").empty() == (r.status != 401 && r.status != 403));
        CHECK_FALSE(got.header("x-request-id").empty());
    }
}

TEST_CASE("What a stranger or a reader would write is neither waited for nor counted") {
    const std::string head = "POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n";
    for (const auto& [fields, status] :
         {std::pair{head, 401},
          {head + "Expect: 100-continue\r\n", 401},
          {head + bearer(reader), 403},
          {"POST /samples HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n", 401}}) {
        INFO(fields);
        connection c(shared());
        c.send(fields + "\r\n{");
        const reply r = c.receive(5s);
        CHECK(r.status == status);
        CHECK(r.header("connection") == "close");
        c.finish_sending();
        CHECK(c.ends_within(5s));
    }
    const std::string time = "timestamp=" + std::to_string(now_ms());
    const std::string before = get(shared(), "/analytics?" + time, bearer(reader)).body;
    CHECK(ask(shared(), "POST", "/analytics?user=u&click&" + time).status == 401);
    CHECK(ask(shared(), "POST", "/analytics?user=u&click&" + time, {}, bearer(reader)).status == 403);
    CHECK(get(shared(), "/analytics?" + time, bearer(reader)).body == before);
    // One who may write is asked for the body.
    connection c(shared());
    c.send("POST /samples HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\nExpect: 100-continue\r\n" + bearer(writer) +
           "\r\n");
    CHECK(c.receive(5s).status == 100);
    c.send(R"({"key":"k","value":1})");
    CHECK(c.receive(5s).status == 200);
}

TEST_CASE("The file is read again when it changes and at SIGHUP, and one that is broken changes nothing") {
    const directory place;
    const std::string file = place.path() + "/tokens";
    write_file(file, lines);
    server s({"--auth-tokens-file=" + file});
    const auto status = [&](const std::string& token) { return get(s.port(), "/keys", bearer(token)).status; };
    CHECK(status(reader) == 200);
    CHECK(status(added) == 401);
    write_file(file, "added read " + added_hash + "\n");
    CHECK(comes_true([&] { return status(added) == 200; }));
    CHECK(status(reader) == 401);
    write_file(file, "added read 1234\n");
    CHECK(comes_true([&] { return s.errors().find("line 1") != std::string::npos; }));
    CHECK(status(added) == 200);
    std::filesystem::remove(file);
    CHECK(comes_true([&] { return s.errors().find("No such file") != std::string::npos; }));
    CHECK(status(added) == 200);
    write_file(file + ".new", lines);
    std::filesystem::rename(file + ".new", file);
    CHECK(comes_true([&] { return status(reader) == 200; }));
    CHECK(status(added) == 401);
    const auto readings = [&] {
        std::size_t count = 0;
        const std::string log = s.errors();
        for (std::size_t at = 0; (at = log.find("read again", at)) != log.npos; ++at) ++count;
        return count;
    };
    CHECK(readings() == 2);
    s.signal(SIGHUP);
    CHECK(comes_true([&] { return readings() == 3; }));
    CHECK(s.errors().find("1234") == std::string::npos);
    s.signal(SIGTERM);
    CHECK(s.wait(5s) == 0);
}

TEST_CASE("The environment can hold the lines, and with tokens others may be let in from outside") {
    const server s({}, {"QSKETCH_AUTH_TOKENS=new read " + added_hash + ";# nobody else;"});
    CHECK(get(s.port(), "/keys", bearer(added)).status == 200);
    CHECK(get(s.port(), "/keys", bearer(reader)).status == 401);
    CHECK(s.errors().find("QSKETCH_AUTH_TOKENS") == std::string::npos); // as a name that means nothing
    process open_to_all({"--host=0.0.0.0", "--port=0"}, {"QSKETCH_AUTH_TOKENS=new read " + added_hash});
    CHECK(open_to_all.line().rfind("listening on http://0.0.0.0:", 0) == 0);
}

TEST_CASE("The log says whose token it was, and no token") {
    const server s({"--log-requests"}, {"QSKETCH_AUTH_TOKENS=somebody read " + added_hash});
    CHECK(get(s.port(), "/keys", bearer(added)).status == 200);
    CHECK(get(s.port(), "/keys", bearer(reader)).status == 401);
    const std::string log = s.errors();
    CHECK(log.find(", client somebody\n") != log.npos);
    CHECK(log.find("GET /keys 401") != log.npos);
    CHECK(log.find("token-01") == log.npos);
}

TEST_CASE("Tokens that cannot be used end the server at the start with status 2 and a line that says why") {
    const directory place;
    const std::string file = place.path() + "/tokens";
    const std::vector<std::pair<std::string, std::string>> bad = {
        {"", "there must be a token"},
        {"# reader read b3057e05d75e8cdca4bd6ddd527af736913e8464a7a3d47d7a09389eaa8e1eb4\n", "there must be a token"},
        {"\nreader\n", "line 2: name and scopes"},
        {"reader read\n", "got 0 bytes"},
        {"reader read " + reader, "got 23 bytes"},
        {"reader read " + added_hash.substr(1) + "g", "64 hexadecimal digits"},
        {"reader read,delete " + added_hash, "delete"},
        {"reader " + added_hash + " read", "scopes"},
        {"re/ader read " + added_hash, "re/ader"},
        {std::string(65, 'n') + " read " + added_hash, "1 to 64"},
        {"reader read " + added_hash + " soon", "soon"},
        {"reader read " + added_hash + " 2020-01-01 x", "nothing behind"},
        {"a read " + added_hash + "\nb write " + added_hash, "line 2: every token must be there once"},
    };
    for (const auto& [text, names] : bad) {
        INFO(text);
        write_file(file, text);
        process p({"--port=0", "--auth-tokens-file", file});
        CHECK(p.line().empty());
        CHECK(p.wait(10s) == 2);
        CHECK(p.errors().rfind("qsketch-server: --auth-tokens-file: " + file + ": ", 0) == 0);
        CHECK(p.errors().find(names) != std::string::npos);
        CHECK(p.errors().find(reader) == std::string::npos);
    }
    process missing({"--port=0", "--auth-tokens-file", file + ".none"});
    CHECK(missing.wait(10s) == 2);
    CHECK(missing.errors().find("No such file") != std::string::npos);
    process twice({"--port=0", "--auth-tokens-file", file}, {"QSKETCH_AUTH_TOKENS=a read " + added_hash});
    CHECK(twice.wait(10s) == 2);
    CHECK(twice.errors().find("exclude each other") != std::string::npos);
    process broken({"--port=0"}, {"QSKETCH_AUTH_TOKENS=a;b read " + added_hash});
    CHECK(broken.wait(10s) == 2);
    CHECK(broken.errors().find("QSKETCH_AUTH_TOKENS: line 1") != std::string::npos);
}

TEST_CASE("A token ends at the millisecond that its line says, and there are at most a thousand") {
    const qsketch_server::instant end = *qsketch_server::parse_instant("2030-01-01T00:00:00.500Z");
    const token_list list("a read,admin " + added_hash + " 2030-01-01T00:00:00.500Z");
    const std::optional<std::string> sent = "Bearer " + added;
    CHECK(list.find(sent, scope::read, end - 1ms).refusal.empty());
    CHECK(list.find(sent, scope::read, end - 1ms).name == "a");
    CHECK(list.find(sent, scope::admin, end - 1ms).refusal.empty());
    CHECK(list.find(sent, scope::any, end - 1ms).refusal.empty());
    CHECK(list.find(sent, scope::write, end - 1ms).error == "insufficient_scope");
    CHECK(list.find(sent, scope::read, end).error == "invalid_token");
    CHECK(list.find({}, scope::read, end).error.empty());
    std::string many;
    for (int i = 0; i < 1000; ++i) {
        const std::string number = std::to_string(i);
        many += "a read " + std::string(64 - number.size(), '0') + number + "\n";
    }
    CHECK(token_list(many).size() == 1000);
    CHECK_THROWS_AS(token_list(many + "a read " + added_hash), std::invalid_argument);
}
