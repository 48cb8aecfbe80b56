#pragma once

#include "domain/instant.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

namespace server_test {

inline std::filesystem::path source_directory() {
    return std::filesystem::path(QSKETCH_OPENAPI_FILE).parent_path().parent_path().parent_path();
}

/// Where recordings lie, which are not part of the project: $QSKETCH_DATA, or shared/data beside the project.
inline std::optional<std::filesystem::path> data_directory() {
    const char* named = std::getenv("QSKETCH_DATA");
    const auto path =
        named != nullptr ? std::filesystem::path(named) : source_directory().parent_path() / "shared" / "data";
    if (std::filesystem::is_regular_file(path / "apache_access.log")) return path;
    return {};
}

inline std::ifstream opened(const std::filesystem::path& file) {
    std::ifstream in(file);
    if (!in) throw std::runtime_error("cannot read " + file.string());
    return in;
}

struct timed_value {
    std::int64_t ms;
    double value;
};

/// A request of a combined log, read as docs/real-data.md says and independently of scripts/replay.
struct logged_request {
    std::int64_t ms;
    std::string client;
    bool page;   ///< A page that was delivered, and not a part of one.
    bool linked; ///< It names the page that it came from.
    double bytes;
};

inline std::vector<logged_request> read_log(const std::filesystem::path& file) {
    using namespace std::chrono;
    static const std::regex form(
        R"re((\S+) \S+ \S+ \[(\d+)/(\w+)/(\d+):(\d+):(\d+):(\d+) \+0000\] "(\S+) (\S+) [^"]*" (\d+) (\d+|-) "([^"]*)" .*)re");
    static const std::regex part(R"([^?#]*\.(css|js|map|png|jpe?g|gif|svg|webp|ico|ttf|otf|woff2?|eot)([?#].*)?)",
                                 std::regex::icase);
    static const std::string months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    std::vector<logged_request> requests;
    std::ifstream in = opened(file);
    for (std::string line; std::getline(in, line);) {
        std::smatch m;
        if (!std::regex_match(line, m, form)) throw std::runtime_error("not a line of a log: " + line);
        const auto month_index = static_cast<unsigned>(months.find(m[3]) / 3 + 1);
        const sys_days date = year(std::stoi(m[4])) / month(month_index) / day(static_cast<unsigned>(std::stoi(m[2])));
        const auto at = date + hours(std::stoi(m[5])) + minutes(std::stoi(m[6])) + seconds(std::stoi(m[7]));
        const int status = std::stoi(m[10]);
        requests.push_back({duration_cast<milliseconds>(at.time_since_epoch()).count(), m[1],
                            m[8] == "GET" && status >= 200 && status < 400 && !std::regex_match(m[9].str(), part),
                            m[12] != "" && m[12] != "-", m[11] == "-" ? 0 : std::stod(m[11])});
    }
    return requests;
}

inline std::vector<timed_value> read_series(const std::filesystem::path& file) {
    std::vector<timed_value> values;
    std::ifstream in = opened(file);
    std::string line;
    std::getline(in, line); // headings
    while (std::getline(in, line)) {
        const auto comma = line.find(',');
        const auto at = qsketch_server::parse_instant(line.substr(0, comma));
        if (!at) throw std::runtime_error("not a line of a series: " + line);
        values.push_back({at->time_since_epoch().count(), std::stod(line.substr(comma + 1))});
    }
    return values;
}

/// Moves all times by the same, the last to `last`.
template <class Events>
void shift_to(Events& events, std::int64_t last) {
    std::int64_t newest = events.front().ms;
    for (const auto& e : events) newest = (std::max)(newest, e.ms);
    for (auto& e : events) e.ms += last - newest;
}

} // namespace server_test
