#include "http/plain_event.hpp"

#include "http/request.hpp"

#include "support/catch.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace qsketch_server;

namespace {

constexpr std::array<std::string_view, 3> names = {"key", "value", "timestamp"};

/// A field in a text that differs if anything of it does.
std::string shown(const json_value& v) {
    std::string out = std::to_string(static_cast<int>(v.is)) + " " + std::string(v.text) + " ";
    out += std::to_string(v.integer) + " " + std::to_string(std::bit_cast<std::uint64_t>(v.number));
    return out + (v.whole ? " " + std::to_string(*v.whole) : "");
}

using field_list = std::vector<std::string>;

field_list shown(std::span<const json_value> fields) {
    field_list out;
    for (const json_value& v : fields) out.push_back(shown(v));
    return out;
}

/// What read_events() makes of one line.
std::optional<field_list> read_line(const std::string& line) {
    std::string body = line;
    body.reserve(body.size() + 64);
    request rq;
    rq.content_type = "application/x-ndjson";
    rq.body = body;
    std::optional<field_list> out;
    (void)read_events(rq, names, [&](std::uint64_t, std::span<const json_value> fields) -> std::optional<problem> {
        out = shown(fields);
        return {};
    });
    return out;
}

std::optional<field_list> read_plain(const std::string& line) {
    std::array<json_value, names.size()> fields;
    const std::string padded = line + "\"\"\"\"\"\"\"\""; // nothing there may count
    if (!plain_event(std::string_view(padded).substr(0, line.size())).read(names, fields)) return {};
    return shown(fields); // texts point into the padded copy
}

/// A member that nobody asks for and that only the parser reads, in front.
std::string for_the_parser(std::string line) { return line.insert(line.find('{') + 1, R"("x":null,)"); }

} // namespace

TEST_CASE("Plain events are read as the parser reads them") {
    const std::string line = GENERATE(
        as<std::string>(), R"({"key":"a","value":1.5,"timestamp":1700000000000})", R"({"value":0,"key":""})",
        R"( { "key" : "a b" ,	"value" : -12.250 } )", "{\"value\":3}\r",
        R"({"key":"a","other":"b","other":7,"value":999999999999999})", R"({"value":0.00000000000001})",
        R"({"value":-999999999999999})", R"({"value":99999999999.9999})", R"({"value":0.1})", R"({"value":0.3})",
        R"({"value":123456.789012345})", R"({"timestamp":"2024-01-01T00:00:00Z"})", "{\"key\":\" \x7f\"}");
    CAPTURE(line);
    REQUIRE(read_plain(line));
    CHECK(read_plain(line) == read_line(for_the_parser(line)));
    CHECK(read_plain(line) == read_line(line));
}

TEST_CASE("What is not plain, or not JSON, is left to the parser") {
    const std::string line = GENERATE(
        as<std::string>(), "", " ", "{", "{}", "[]", "7", R"({"key")", R"({"key":)", R"({"key":})", R"({"key":"a)",
        R"({"key":"a")", R"({"key":"a",})", R"({"key":"a"}x)", R"({"key":"a"}{})", R"({,"key":"a"})",
        R"({"key":"a""value":1})", R"({"key":"a" "value":1})", R"({key:"a"})", R"({"key":"a\n"})", "{\"key\":\"\x01\"}",
        "{\"key\":\"\x1f\"}", "{\"key\":\"\xc3\xa9\"}", "{\"key\":\"\xff\"}", R"({"ke\u0079":"a"})",
        R"({"key":"a","key":"a"})", R"({"value":01})", R"({"value":-01})", R"({"value":-})", R"({"value":- 1})",
        R"({"value":+1})", R"({"value":.5})", R"({"value":1.})", R"({"value":-.5})", R"({"value":1e3})",
        R"({"value":1.5E3})", R"({"value":-0})", R"({"value":-0.0})", R"({"value":1000000000000000})",
        R"({"value":1.000000000000000})", R"({"value":99999999999999999999999999999999.99999999999999999999999})",
        R"({"value":1.5.5})", R"({"value":12ab})", R"({"value":null})", R"({"value":true})", R"({"value":[1]})",
        R"({"value":{}})", R"({"value":NaN})");
    CAPTURE(line);
    CHECK_FALSE(read_plain(line));
}

TEST_CASE("Events that are plain by chance are read as the parser reads them") {
    std::mt19937_64 random(7);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    constexpr std::string_view bytes = "{}[]\":,.-+eE0123456789 \\aky\t";
    std::size_t plain = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::string line = R"({"key":"k)" + std::to_string(below(100)) + R"(","value":)";
        line += (below(2) == 0 ? "-" : "") + std::to_string(below(100'000)) + "." + std::to_string(below(1'000'000));
        line += R"(,"timestamp":)" + std::to_string(below(1'000'000'000'000'000)) + "}";
        for (std::uint64_t changes = below(3); changes > 0; --changes) {
            const std::size_t at = 1 + below(line.size() - 1);
            const char byte = bytes[below(bytes.size())];
            if (below(2) == 0)
                line[at] = byte;
            else
                line.insert(at, 1, byte);
        }
        const auto fields = read_plain(line);
        if (!fields) continue;
        ++plain;
        CAPTURE(line);
        REQUIRE(fields == read_line(for_the_parser(line)));
    }
    CHECK(plain > 10'000);
}
