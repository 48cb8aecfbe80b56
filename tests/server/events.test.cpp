#include "http/events.hpp"

#include "domain/problem.hpp"
#include "http/request.hpp"

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Lines are parsed many at a time. Here they are compared with what the same lines are as bodies of their own.

using namespace qsketch_server;

namespace {

constexpr std::array<std::string_view, 3> names = {"key", "value", "more"};

void describe(std::string& out, const json_value& v) {
    out += std::to_string(static_cast<int>(v.is)) + " " + v.shown() + " " + std::to_string(v.integer) + " " +
           fmt::format("{:a}", v.number) + " " + (v.whole ? std::to_string(*v.whole) : "-") + ";";
    static_cast<void>(visit_inside("more", v, [&](std::string_view name, const json_value& inner) {
        describe(out += std::string(name) + ":", inner);
        return std::optional<problem>();
    }));
}

/// What is read of a body, and what it is answered.
struct reading {
    std::vector<std::string> events; ///< Line and fields.
    std::string answer;

    friend bool operator==(const reading&, const reading&) = default;
};

/// Events with a key of "refused" are.
event_reader into(std::vector<std::string>& events) {
    return [&](std::uint64_t line, std::span<const json_value> fields) -> std::optional<problem> {
        std::string event = std::to_string(line) + " ";
        for (const json_value& f : fields) describe(event, f);
        events.push_back(event);
        if (fields[0].text == "refused") return problem{"key", "is refused"};
        return {};
    };
}

/// `behind` is what may be read beyond the body.
event_report read(std::string_view body, std::string_view behind, const char* type, std::vector<std::string>& events) {
    std::string bytes = std::string(body).append(behind);
    bytes.resize(body.size() + 64, ' ');
    request rq;
    rq.content_type = type;
    rq.body = std::string_view(bytes).substr(0, body.size());
    return read_events(rq, names, into(events));
}

reading together(std::string_view body, std::string_view behind) {
    reading out;
    out.answer = read(body, behind, "application/x-ndjson", out.events).to_answer().body;
    return out;
}

/// What is wrong with a line that is no event: read as a body of JSON, of which it is the only document.
std::optional<problem> read_alone(std::string_view line, std::vector<std::string>& events) {
    static constexpr std::string_view of_body = "the body ";
    try {
        if (read(line, {}, "application/json", events).batch)
            return problem{"event", "must be a JSON object, got an array"};
        return {};
    } catch (const invalid_fields& e) {
        return e.problems().front();
    } catch (const malformed_request& e) {
        const std::string why = e.what();
        return problem{"line", why.substr(of_body.size(), why.rfind("; many events") - of_body.size())};
    }
}

reading one_by_one(std::string_view body) {
    reading out;
    event_report report;
    for (std::uint64_t number = 1; !body.empty(); ++number) {
        const std::string_view line = body.substr(0, body.find('\n'));
        body.remove_prefix((std::min)(line.size() + 1, body.size()));
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        std::vector<std::string> events;
        const auto wrong = read_alone(line, events);
        const bool array = wrong && wrong->error.ends_with("got an array");
        if (!array && !events.empty()) out.events.push_back(std::to_string(number) + events.front().substr(1));
        if (wrong)
            report.reject(number, *wrong);
        else
            ++report.accepted;
    }
    out.answer = report.to_answer().body;
    return out;
}

std::string event(support::random_bits& random) {
    static constexpr std::array<std::string_view, 29> values = {"1",
                                                                "-1.5",
                                                                "1e400",
                                                                "1e-400",
                                                                "9223372036854775807",
                                                                "9223372036854775808",
                                                                "18446744073709551615",
                                                                "18446744073709551616",
                                                                "-9223372036854775809",
                                                                "1E3",
                                                                "-0",
                                                                "0.10000000000000000555",
                                                                "804060325034930723.0300305050930509",
                                                                "-3.0000000000000000000",
                                                                "123456789012345678",
                                                                "1234567890123456789",
                                                                "-0.00000000000000012",
                                                                "-0.0",
                                                                "0e1 ",
                                                                "0.1",
                                                                "null",
                                                                "true",
                                                                R"("a}{]\"\\")",
                                                                R"("\u00e9\n é")",
                                                                R"([1,{"b":[]},"]"])",
                                                                R"({"c":{},"d":9223372036854775808})",
                                                                R"({"c":1,"c":2})",
                                                                "{}",
                                                                "[]"};
    static constexpr std::array<std::string_view, 6> keys = {"key", "value", "more", "other", "refused", "k\\u0065y"};
    std::string out = "{";
    for (std::uint64_t i = random.below(5); i > 0; --i) {
        out.append(out.size() > 1 ? "," : "").append(random.below(4) == 0 ? " " : "");
        out.append("\"").append(keys[random.below(keys.size())]).append("\":");
        out.append(random.below(8) == 0 ? "\"refused\"" : values[random.below(values.size())]);
    }
    return out + "}";
}

/// A line, or several; mostly events, where one in `rarity` is something else.
std::string some_lines(support::random_bits& random, std::uint64_t rarity) {
    static constexpr std::array<std::string_view, 33> odd = {"",
                                                             " ",
                                                             "\r",
                                                             "\t \r",
                                                             "{",
                                                             "}",
                                                             "[",
                                                             "]",
                                                             "\"",
                                                             "\\",
                                                             "{}\\",
                                                             "{} x",
                                                             "x {}",
                                                             "{}{}",
                                                             "{} {}",
                                                             "{},",
                                                             ",{}",
                                                             "7",
                                                             "7 8",
                                                             "\"{}\"",
                                                             "[{}]",
                                                             "null",
                                                             "\xEF\xBB\xBF{}",
                                                             "{\"key\":\xEF\xBB\xBFtrue}",
                                                             "{\"other\":truex,\"key\":nul }",
                                                             "{\"other\":[\xEF\xBB\xBF"
                                                             "1]}",
                                                             "\xC3{}",
                                                             "{\"key\":\"\xC3\"}",
                                                             "{\"key\":\"\x01\"}",
                                                             "{\"key\":\"",
                                                             "{\"key\"\n:1}",
                                                             "{\"key\":[\n]}",
                                                             "{\"key\":\"a\nb\"}"};
    if (random.below(rarity) > 0) {
        const std::string_view before = random.below(9) == 0 ? "  " : "";
        const std::string_view behind = random.below(9) == 0 ? " \t\r" : "";
        return std::string(before).append(event(random)).append(behind);
    }
    if (random.below(2) == 0) return std::string(odd[random.below(odd.size())]);
    std::string broken = event(random) + event(random);
    switch (random.below(4)) {
    case 0:
        return broken.substr(0, random.below(broken.size()));
    case 1:
        broken[random.below(broken.size())] = static_cast<char>(random.below(256));
        return broken;
    case 2:
        return broken.insert(random.below(broken.size()), "\n");
    default:
        return broken.substr(random.below(broken.size()));
    }
}

std::string body_of(support::random_bits& random, std::size_t size, std::uint64_t rarity) {
    std::string out;
    do {
        out += some_lines(random, rarity);
        if (out.size() < size || random.below(2) == 0) out += '\n';
    } while (out.size() < size);
    return out;
}

void check_alike(const std::string& body, std::string_view behind) {
    if (body.find_first_not_of(" \t\r\n") == body.npos) return;
    const reading expected = one_by_one(body);
    const reading found = together(body, behind);
    CAPTURE(body);
    CHECK(found.answer == expected.answer);
    CHECK(found.events == expected.events);
}

constexpr std::array<std::string_view, 5> behind_bodies = {"", "}", "}]}\n{}\n", "\"}\n", "\n{\"key\":1}\n"};

} // namespace

TEST_CASE("Lines read together are the events that they are alone, whatever is between them") {
    support::random_bits random(1);
    for (int i = 0; i < 6000; ++i)
        check_alike(body_of(random, random.below(400), 1 + random.below(12)),
                    behind_bodies[random.below(behind_bodies.size())]);
}

TEST_CASE("Lines of long bodies are the events that they are alone") {
    support::random_bits random(2);
    for (int i = 0; i < 60; ++i) {
        std::string body = body_of(random, 60'000, std::uint64_t{10} << random.below(8));
        if (i % 3 == 0) // one line is longer than what is parsed at once
            body.insert(body.find('\n', body.size() / 2) + 1, "{\"key\":\"" + std::string(40'000, 'k') + "\"}\n");
        check_alike(body, behind_bodies[random.below(behind_bodies.size())]);
    }
}

TEST_CASE("Lines end where they may end, at any place in what is parsed at once") {
    for (std::size_t size = (std::size_t{16} << 10) - 20; size < (std::size_t{16} << 10) + 20; ++size)
        for (const std::string_view last : {"{}", "{", "}", "{\"key\":\"", "{}\n{\"value\":2}\n", "7"}) {
            const std::string head = "{\"value\":1}\n{\"key\":\"";
            const std::string tail = "\"}\n";
            const std::string filled = head + std::string(size - head.size() - tail.size(), 'k') + tail;
            for (const std::string_view behind : behind_bodies) check_alike(filled + std::string(last), behind);
        }
}

TEST_CASE("A line that does not end is none, whatever is behind it") {
    for (const std::string_view head : {"{\"value\":1", "{\"key\":{}", "{\"key\":\"a\"", "{\"other\":-0", "{"})
        for (const std::string_view next :
             {"", "\n", "\n}", "\n{}\n", "\n{\"key\":2,\"value\":{\"c\":{},\n", "\n\"", "\n,", "\n}\n"})
            for (const std::string_view behind : behind_bodies)
                check_alike(std::string("{}\n").append(head).append(next), behind);
}

TEST_CASE("Numbers of any length are what they are alone, to the bit") {
    support::random_bits random(3);
    const auto digits = [&](std::uint64_t n) {
        std::string out = std::to_string(1 + random.below(9));
        while (out.size() < n) out += static_cast<char>('0' + random.below(10));
        return out;
    };
    for (int i = 0; i < 300; ++i) {
        std::string body;
        for (int line = 0; line < 20; ++line) {
            std::string number = random.below(2) == 0 ? "-" : "";
            number += random.below(4) == 0 ? "0" : digits(1 + random.below(22));
            if (random.below(4) > 0) number += "." + std::string(random.below(4), '0') + digits(1 + random.below(22));
            if (random.below(4) == 0) number += "e" + std::to_string(static_cast<int>(random.below(60)) - 30);
            body += "{\"value\":" + number + "}\n";
        }
        check_alike(body, {});
    }
}

TEST_CASE("Lines may be as deep as they may be alone, and no deeper") {
    for (std::size_t depth = 1020; depth < 1028; ++depth)
        for (const std::string_view field : {"more", "other"})
            check_alike(std::string("{\"") + std::string(field) + "\":" + std::string(depth, '[') +
                            std::string(depth, ']') + "}\n{}\n",
                        {});
}

TEST_CASE("A number foreign to the parser leaves those of later lines alone") {
    std::string body = "{\"key\":\"a\",\"value\":1e400}\n";
    while (body.size() < 20'000) body += "{\"key\":\"b\"}\n";
    body += "{\"key\":\"c\",\"value\":18446744073709551615}\n";
    const reading found = together(body, {});
    REQUIRE(found == one_by_one(body));
    CHECK(found.events.back().find(" 18446744073709551615;") != std::string::npos);
}
