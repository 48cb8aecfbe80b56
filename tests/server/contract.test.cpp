#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/request_table.hpp"

#include <string>
#include <string_view>

// contract.txt tells what each endpoint answers.

using namespace server_test;

namespace {

/// Is `text` the pattern, with anything where that has a *?
bool fits(std::string_view text, std::string_view pattern) {
    const std::size_t star = pattern.find('*');
    if (star == pattern.npos) return text == pattern;
    if (!text.starts_with(pattern.substr(0, star))) return false;
    text.remove_prefix(star);
    pattern.remove_prefix(star + 1);
    for (;; text.remove_prefix(1)) {
        if (fits(text, pattern)) return true;
        if (text.empty()) return false;
    }
}

} // namespace

TEST_CASE("Every endpoint answers what the contract says, one after the other") {
    const server s({"--node-id=here"});
    const auto rows = table_of("contract.txt", 2);
    CHECK(rows.size() > 90);
    for (const table_row& r : rows) {
        const reply got = r.ask(s.port());
        INFO(r.line << "\n" << got.body.substr(0, 1000));
        CHECK(std::to_string(got.status) == r.columns[0]);
        CHECK(fits(got.body, r.columns[1]));
        CHECK(got.header("content-type").empty() == (got.body.empty() && r.method != "HEAD"));
    }
}

TEST_CASE("A star stands for anything, and the rest for itself") {
    CHECK(fits("abc", "a*c"));
    CHECK(fits("ac", "a*c"));
    CHECK(fits("abcbc", "a*bc"));
    CHECK(fits("", "*"));
    CHECK_FALSE(fits("abcd", "a*c"));
    CHECK_FALSE(fits("abc", "b*"));
    CHECK_FALSE(fits("abc", ""));
}
