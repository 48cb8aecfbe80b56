#include "domain/instant.hpp"

#include "support/catch.hpp"

#include <string>

using namespace qsketch_server;

namespace {

std::int64_t parsed(std::string_view text) {
    const auto t = parse_instant(text);
    return t ? t->time_since_epoch().count() : -1;
}

} // namespace

TEST_CASE("Epoch milliseconds are read as they are") {
    CHECK(parsed("0") == 0);
    CHECK(parsed("1705764600000") == 1705764600000);
    CHECK(parsed("253402300799999") == 253402300799999);
    CHECK(parsed("253402300800000") == -1);
    CHECK(parsed("0000000000000000000000005") == 5);
    CHECK(parsed("99999999999999999999") == -1);
}

TEST_CASE("ISO 8601 times are read with zones and fractions") {
    CHECK(parsed("1970-01-01T00:00:00Z") == 0);
    CHECK(parsed("2024-01-20T15:30:00Z") == 1705764600000);
    CHECK(parsed("2024-01-20T15:30:00") == 1705764600000);
    CHECK(parsed("2024-01-20t15:30:00z") == 1705764600000);
    CHECK(parsed("2024-01-20 15:30") == 1705764600000);
    CHECK(parsed("2024-01-20T15:30:00.25Z") == 1705764600250);
    CHECK(parsed("2024-01-20T15:30:00,1239Z") == 1705764600123);
    CHECK(parsed("2024-01-20T15:30:00.123456789123Z") == 1705764600123);
    CHECK(parsed("2024-01-20T17:00:00+01:30") == 1705764600000);
    CHECK(parsed("2024-01-20T17:00:00 01:30") == 1705764600000);
    CHECK(parsed("2024-01-20T05:30:00-1000") == 1705764600000);
    CHECK(parsed("2024-01-20T16:30:00+01") == 1705764600000);
    CHECK(parsed("2024-01-20") == 1705708800000);
    CHECK(parsed("2024-02-29T00:00:00Z") == 1709164800000);
    CHECK(parsed("1970-01-01T01:00:00+01:00") == 0);
    CHECK(parsed("9999-12-31T23:59:59.999Z") == 253402300799999);
}

TEST_CASE("What the calendar has not or is no time is refused") {
    for (const char* text : {"",
                             " ",
                             "now",
                             "-5",
                             "+5",
                             "1.5",
                             "1e9",
                             "0x10",
                             "2024-01",
                             "24-01-20",
                             "2024-1-20",
                             "2024-00-10",
                             "2024-13-10",
                             "2024-01-00",
                             "2024-01-32",
                             "2023-02-29",
                             "2100-02-29",
                             "2024-01-20T",
                             "2024-01-20T15",
                             "2024-01-20T15:3",
                             "2024-01-20T24:00:00Z",
                             "2024-01-20T15:60:00Z",
                             "2024-01-20T15:30:60Z",
                             "2024-01-20T15:30:00.Z",
                             "2024-01-20T15:30:00ZZ",
                             "2024-01-20T15:30:00+",
                             "2024-01-20T15:30:00+1",
                             "2024-01-20T15:30:00+24:00",
                             "2024-01-20T15:30:00+01:60",
                             "2024-01-20T15:30:00+01:",
                             "2024-01-20Z",
                             "1970-01-01T00:00:00+00:01",
                             "1969-12-31T23:59:59Z",
                             "9999-12-31T23:59:59-00:01",
                             "0000-01-01",
                             "2024-01-20T15:30:00\n",
                             "\xd9\xa1\xd9\xa9"}) {
        INFO(text);
        CHECK(parsed(text) == -1);
    }
}

TEST_CASE("A time is written so that it reads back") {
    CHECK(iso_time(*from_millis(0)) == "1970-01-01T00:00:00Z");
    CHECK(iso_time(*from_millis(1705764600250)) == "2024-01-20T15:30:00.250Z");
    for (std::int64_t ms = 1; ms < 253402300799999; ms = ms * 3 + 7) CHECK(parsed(iso_time(*from_millis(ms))) == ms);
}

TEST_CASE("Times are taken from the oldest to the newest, and those too old are counted") {
    std::atomic<std::uint64_t> too_old = 0;
    const acceptable_times times{*from_millis(1000), *from_millis(2000), "--retention", &too_old};
    CHECK_FALSE(times.objection(*from_millis(1000)));
    CHECK_FALSE(times.objection(*from_millis(2000)));
    CHECK(times.objection(*from_millis(999))->find("--retention") != std::string::npos);
    CHECK(times.objection(*from_millis(2001))->find("5 minutes") != std::string::npos);
    CHECK(too_old == 1);
}
