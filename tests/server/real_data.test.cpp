#include "domain/instant.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/distributions.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/recordings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A public web server's log and five public series through the real program, compared with exact answers. The
// recordings are not part of the project (docs/real-data.md says where they come from); without them these tests do
// nothing but say so.

using namespace server_test;

namespace {

constexpr std::int64_t hour = 3'600'000;
constexpr std::int64_t day = 24 * hour;

const std::vector<std::string> all_series = {"nab_TravelTime_451", "nab_ec2_request_latency_system_failure",
                                             "nab_exchange-2_cpc_results", "nab_machine_temperature_system_failure",
                                             "nab_speed_7578"};
const std::vector<std::string> quantiles = {"0", "0.01", "0.1", "0.25", "0.5", "0.75", "0.9", "0.99", "0.999", "1"};

/// What docs/real-data.md states for rank q of a window, as a share of its n values: nothing up to 500 values, then the
/// width of the digest's cell there, which is 1/500 of the scale q(x) = (2x)^4 / 2, and one value.
double rank_bound(double q, double n) {
    return n <= 500 ? 0 : 0.008 * std::pow(2 * (std::min)(q, 1 - q), 0.75) + 1 / n;
}

std::optional<std::filesystem::path> recordings() {
    auto found = data_directory();
    if (!found) WARN("skipped: no recordings; QSKETCH_DATA may name a directory that holds them");
    return found;
}

std::int64_t ms_at(const std::string& text, const std::string& pointer) {
    const std::string quoted = json_at(text, pointer);
    const auto t = qsketch_server::parse_instant(std::string_view(quoted).substr(1, quoted.size() - 2));
    REQUIRE(t);
    return t->time_since_epoch().count();
}

struct hour_counts {
    std::set<std::string> users;
    std::size_t clicks = 0;
    std::size_t impressions = 0;
};

std::map<std::int64_t, hour_counts> hours_of(const std::vector<logged_request>& log) {
    std::map<std::int64_t, hour_counts> hours;
    for (const auto& r : log) {
        if (!r.page) continue;
        hour_counts& h = hours[r.ms / hour];
        h.users.insert(r.client);
        ++h.impressions;
        h.clicks += r.linked ? 1 : 0;
    }
    return hours;
}

void check_hours(std::uint16_t port, const std::vector<logged_request>& log) {
    const auto hours = hours_of(log);
    REQUIRE(hours.size() > 80);
    for (const auto& [index, h] : hours) {
        CAPTURE(index);
        const std::string got =
            get(port, "/analytics?timestamp=" + std::to_string(index * hour + 1), "Accept: application/json\r\n").body;
        CHECK(number_at(got, "/clicks") == static_cast<double>(h.clicks));
        CHECK(number_at(got, "/impressions") == static_cast<double>(h.impressions));
        CHECK(std::abs(number_at(got, "/unique_users") - static_cast<double>(h.users.size())) <= 1);
    }
    // And nothing landed in any other hour.
    const std::string all = get(port, "/analytics/allslices").body;
    std::size_t slices = 0;
    for (std::size_t at = 0; (at = all.find("slice,", at)) != all.npos; ++at) ++slices;
    CHECK(slices == hours.size());
}

/// The values of the interval that an answer says it covers, sorted.
std::vector<double> covered_values(const std::vector<timed_value>& series, const std::string& answer) {
    const auto from = ms_at(answer, "/covered/from");
    const auto to = ms_at(answer, "/covered/to");
    std::vector<double> values;
    for (const auto& v : series)
        if (v.ms >= from && v.ms < to) values.push_back(v.value);
    std::sort(values.begin(), values.end());
    return values;
}

/// The window's quantiles, ranks and counts against the exact ones.
void check_window(std::uint16_t port, const std::string& key, const std::vector<timed_value>& series,
                  std::int64_t length) {
    CAPTURE(key, length);
    std::string list;
    for (const auto& q : quantiles) list += (list.empty() ? "" : ",") + q;
    const std::string tail = "&key=" + key + "&window=" + std::to_string(length / 1000) + "&detail=1";
    const auto before = now_ms();
    const std::string r = get(port, "/quantile?q=" + list + tail).body;
    // Whole seconds up to the one that `now` is in, which comes on top of the length; and the other end is moved by at
    // most a sixteenth.
    CHECK(std::abs(ms_at(r, "/covered/to") - ms_at(r, "/covered/from") - length - 1000) <= length / 16);
    CHECK(ms_at(r, "/covered/to") > before);
    CHECK(ms_at(r, "/covered/to") <= now_ms() + 1000);
    const auto values = covered_values(series, r);
    const auto n = static_cast<double>(values.size());
    REQUIRE(!values.empty());
    CHECK(number_at(r, "/count") == n);
    CHECK(number_at(r, "/min") == values.front());
    CHECK(number_at(r, "/max") == values.back());
    for (const auto& q : quantiles) {
        CAPTURE(q, n);
        const std::string estimate = json_at(r, "/estimates/" + q);
        const double error = support::rank_error(values, std::stod(q), std::stod(estimate));
        CHECK(error <= rank_bound(std::stod(q), n));
        const std::string c = get(port, "/cdf?value=" + estimate + tail).body;
        const auto now_covered = covered_values(series, c);
        const auto up_to = std::upper_bound(now_covered.begin(), now_covered.end(), std::stod(estimate));
        const double truth = static_cast<double>(up_to - now_covered.begin()) / static_cast<double>(now_covered.size());
        CHECK(std::abs(number_at(c, "/rank") - truth) <= rank_bound(truth, n));
        // cdf is the inverse of quantile, unless the window moved on between the two requests.
        if (now_covered == values) CHECK(number_at(c, "/rank") >= std::stod(q) - 1e-9);
    }
}

void post_samples(std::uint16_t port, const std::string& key, const std::vector<timed_value>& series) {
    std::string body;
    std::array<char, 32> number;
    for (const auto& v : series) {
        std::snprintf(number.data(), number.size(), "%.17g", v.value);
        body +=
            R"({"key":")" + key + R"(","value":)" + number.data() + R"(,"timestamp":)" + std::to_string(v.ms) + "}\n";
    }
    CHECK(post_lines(port, "/samples", body).body ==
          R"({"accepted":)" + std::to_string(series.size()) + R"(,"rejected":0,"errors":[]})");
}

std::vector<timed_value> bytes_of(const std::vector<logged_request>& log) {
    std::vector<timed_value> values;
    for (const auto& r : log) values.push_back({r.ms, r.bytes});
    return values;
}

/// What scripts/replay prints, and its exit status.
std::pair<std::string, int> replay(const server& s, const std::string& arguments) {
    const std::string command = "no_proxy=127.0.0.1 '" + (source_directory() / "scripts" / "replay").string() + "' " +
                                arguments + " --server http://127.0.0.1:" + std::to_string(s.port()) + " 2>&1";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string text;
    for (int c = 0; (c = std::fgetc(pipe)) != EOF;) text += static_cast<char>(c);
    const int status = ::pclose(pipe);
    return {text, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

template <class Events>
std::string recorded_times(const Events& events) {
    const auto [first, last] =
        std::minmax_element(events.begin(), events.end(), [](const auto& a, const auto& b) { return a.ms < b.ms; });
    const auto iso = [](std::int64_t ms) { return qsketch_server::iso_time(*qsketch_server::from_millis(ms)); };
    return iso(first->ms) + " to " + iso(last->ms) + ", sent as ";
}

/// When the last event of the recording is said to have happened.
std::int64_t replayed_last(const std::string& summary) {
    const auto line_end = summary.find('\n');
    const auto last = summary.rfind(" to ", line_end);
    const auto t = qsketch_server::parse_instant(summary.substr(last + 4, line_end - last - 4));
    REQUIRE(t);
    return t->time_since_epoch().count();
}

bool has_replay_tools() {
    if (std::system("curl --version >/dev/null 2>&1") == 0) return true;
    WARN("skipped: scripts/replay needs curl");
    return false;
}

} // namespace

TEST_CASE("A web server's log: every hour's clicks and impressions are exact, its users within one") {
    const auto data = recordings();
    if (!data) return;
    const server s;
    auto log = read_log(*data / "apache_access.log");
    REQUIRE(log.size() == 10000);
    shift_to(log, now_ms() / 1000 * 1000);
    std::string body;
    for (const auto& r : log) {
        if (!r.page) continue;
        const std::string head = R"({"user":")" + r.client + R"(","timestamp":)" + std::to_string(r.ms) + R"(,"type":)";
        body += head + "\"impression\"}\n";
        if (r.linked) body += head + "\"click\"}\n";
    }
    const reply posted = post_lines(s.port(), "/analytics", body);
    CHECK(json_at(posted.body, "/rejected") == "0");
    check_hours(s.port(), log);
}

TEST_CASE("A web server's log: the sizes of its answers") {
    const auto data = recordings();
    if (!data) return;
    const server s({"--window-retention=7d"});
    auto log = read_log(*data / "apache_access.log");
    shift_to(log, now_ms() / 1000 * 1000);
    const auto bytes = bytes_of(log);
    post_samples(s.port(), "access.bytes", bytes);
    for (const std::int64_t length : {hour, 6 * hour, day, 7 * day})
        check_window(s.port(), "access.bytes", bytes, length);
}

TEST_CASE("Sensors, traffic, latencies and prices over windows from a day to all of it") {
    const auto data = recordings();
    if (!data) return;
    const server s({"--window-retention=100d"});
    for (const auto& key : all_series) {
        auto series = read_series(*data / (key + ".csv"));
        shift_to(series, now_ms() / 1000 * 1000);
        post_samples(s.port(), key, series);
        for (const std::int64_t length : {day, 3 * day, 10 * day, 100 * day})
            check_window(s.port(), key, series, length);
    }
}

TEST_CASE("The longest series within a minute: slots of hundreds of values are digests, and merged ones") {
    const auto data = recordings();
    if (!data) return;
    const server s;
    auto series = read_series(*data / "nab_machine_temperature_system_failure.csv");
    const auto last = now_ms() / 1000 * 1000;
    for (std::size_t i = 0; i < series.size(); ++i)
        series[i].ms = last - static_cast<std::int64_t>((series.size() - 1 - i) * 60'000 / series.size());
    post_samples(s.port(), "minute", series);
    check_window(s.port(), "minute", series, hour);
}

TEST_CASE("scripts/replay sends the same log with the same outcome") {
    const auto data = recordings();
    if (!data || !has_replay_tools()) return;
    const server s({"--window-retention=7d"});
    const auto [summary, status] = replay(s, "access-log '" + (*data / "apache_access.log").string() + "'");
    CAPTURE(summary);
    CHECK(status == 0);
    CHECK(summary.find("10000 lines, 0 skipped") != summary.npos);
    CHECK(summary.find("/samples: 10000 sent, 10000 accepted, 0 rejected") != summary.npos);
    auto log = read_log(*data / "apache_access.log");
    CHECK(summary.find(recorded_times(log)) != summary.npos);
    shift_to(log, replayed_last(summary));
    CHECK(replayed_last(summary) <= now_ms());
    check_hours(s.port(), log);
    check_window(s.port(), "access.bytes", bytes_of(log), 7 * day);
}

TEST_CASE("scripts/replay fits a series of months into the day that the server keeps") {
    const auto data = recordings();
    if (!data || !has_replay_tools()) return;
    const server s;
    for (const auto& key : all_series) {
        const std::string call = "series '" + (*data / (key + ".csv")).string() + "' --key " + key;
        auto series = read_series(*data / (key + ".csv"));
        const auto [summary, status] = replay(s, call + " --span 24h");
        CAPTURE(summary);
        CHECK(status == 0);
        const std::string n = std::to_string(series.size());
        CHECK(summary.find("/samples: " + n + " sent, " + n + " accepted, 0 rejected") != summary.npos);
        CHECK(summary.find(recorded_times(series)) != summary.npos);
        // 99 hundredths of a day, up to the time it was sent; when exactly does not matter to the whole of it.
        const auto last = replayed_last(summary);
        for (auto& v : series) v.ms = last;
        check_window(s.port(), key, series, day);
    }
    const std::string old = "series '" + (*data / (all_series[0] + ".csv")).string() + "' --key old";
    const auto [summary, status] = replay(s, old);
    CAPTURE(summary);
    CHECK(status == 1);
    CHECK(summary.find("must not be older than --window-retention allows") != summary.npos);
    CHECK(summary.find("--span 24h") != summary.npos);
}
