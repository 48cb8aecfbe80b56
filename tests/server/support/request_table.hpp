#pragma once

#include "domain/instant.hpp"

#include "support/client.hpp"
#include "support/recordings.hpp"

#include <charconv>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Tables of requests in files, one a line: columns with a | behind each, then the request as
//   METHOD target [as:media/type] [by:token] [with:Name:value] [body]
// A body is application/json unless it is said otherwise. In requests and columns
//   $now, $now-90s   is the time in ms, the same in a whole run, or another
//   $slice, $slice+2 the number of its hour, or another
//   $iso, $east      that time in ISO 8601, and with an offset of two hours
//   $257*k           so many letters
//   $x0a             a byte
namespace server_test {

struct table_row {
    std::vector<std::string> columns;
    std::string method;
    std::string target;
    std::string type;
    std::string token;
    std::string fields; ///< Of the head, whole lines.
    std::string body;
    std::string line; ///< As it is in the file.

    [[nodiscard]] reply ask(std::uint16_t port, const std::string& more_fields = {}) const {
        return server_test::ask(port, method, target, body,
                                more_fields + fields + (type.empty() ? "" : "Content-Type: " + type + "\r\n"));
    }
};

class table_reader {
public:
    table_row read(const std::string& line, std::size_t columns) const {
        table_row out;
        out.line = line;
        std::string rest = line;
        while (out.columns.size() < columns) out.columns.push_back(expanded(next(rest, '|')));
        rest.erase(0, 1);
        out.method = next(rest, ' ');
        out.target = expanded(next(rest, ' '));
        while (rest.starts_with("as:") || rest.starts_with("by:") || rest.starts_with("with:")) {
            const std::string kind = next(rest, ':');
            if (kind == "with") {
                const std::string name = next(rest, ':');
                out.fields += name + ": " + expanded(next(rest, ' ')) + "\r\n";
            } else {
                (kind == "as" ? out.type : out.token) = next(rest, ' ');
            }
        }
        out.body = expanded(rest);
        if (out.type.empty() && !out.body.empty()) out.type = "application/json";
        return out;
    }

private:
    /// Takes what comes before `separator` out of `text`, without the spaces around it.
    static std::string next(std::string& text, char separator) {
        const std::size_t end = (std::min)(text.find(separator), text.size());
        std::string part = text.substr(0, end);
        text.erase(0, (std::min)(end + 1, text.size()));
        part.erase(0, (std::min)(part.find_first_not_of(' '), part.size()));
        part.erase(part.find_last_not_of(' ') + 1);
        return part;
    }

    static bool skip(std::string_view& text, std::string_view prefix) {
        if (!text.starts_with(prefix)) return false;
        text.remove_prefix(prefix.size());
        return true;
    }

    /// The number at the start of `text`, taken out of it.
    static std::int64_t number(std::string_view& text, int base = 10) {
        skip(text, "+");
        std::int64_t value = 0;
        const std::size_t most = base == 16 ? 2 : text.size();
        const auto [end, error] = std::from_chars(text.data(), text.data() + most, value, base);
        if (error != std::errc{}) throw std::runtime_error("no number: " + std::string(text));
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        return value;
    }
    static std::int64_t offset(std::string_view& text) {
        return text.starts_with('+') || text.starts_with('-') ? number(text) : 0;
    }
    static char byte(std::string_view& text) { return static_cast<char>(number(text, 16)); }

    [[nodiscard]] std::string expanded(std::string_view text) const {
        using namespace qsketch_server;
        std::string out;
        while (!text.empty()) {
            const std::size_t plain = (std::min)(text.find('$'), text.size());
            out += text.substr(0, plain);
            text.remove_prefix(plain);
            if (!skip(text, "$")) break;
            if (skip(text, "now")) {
                const std::int64_t seconds = offset(text);
                if (seconds != 0) skip(text, "s");
                out += std::to_string(now_ + 1000 * seconds);
            } else if (skip(text, "slice")) {
                out += std::to_string(now_ / 3'600'000 + offset(text));
            } else if (skip(text, "iso")) {
                out += iso_time(instant(std::chrono::milliseconds(now_)));
            } else if (skip(text, "east")) {
                out += iso_time(instant(std::chrono::milliseconds(now_) + std::chrono::hours(2)));
                out.replace(out.size() - 1, 1, "%2B02:00");
            } else if (skip(text, "x")) {
                out += byte(text);
            } else {
                const std::int64_t times = number(text);
                if (!skip(text, "*")) throw std::runtime_error("nothing is repeated: " + std::string(text));
                char repeated = text.front();
                if (skip(text, "$x"))
                    repeated = byte(text);
                else
                    text.remove_prefix(1);
                out.append(static_cast<std::size_t>(times), repeated);
            }
        }
        return out;
    }

    std::int64_t now_ = now_ms();
};

/// The rows of a file beside the tests, without the lines that begin with #.
inline std::vector<table_row> table_of(const std::string& file, std::size_t columns) {
    std::ifstream in = opened(source_directory() / "tests/server" / file);
    const table_reader reader;
    std::vector<table_row> out;
    for (std::string line; std::getline(in, line);)
        if (!line.empty() && line.front() != '#') out.push_back(reader.read(line, columns));
    return out;
}

} // namespace server_test
