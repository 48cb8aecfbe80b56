#include "http/answer.hpp"

#include "domain/text.hpp"

#include <fmt/format.h>

#include <cmath>

namespace qsketch_server {

answer empty_answer(int status) { return {status, {}, {}, {}}; }
answer text_answer(int status, std::string body) { return {status, "text/plain; charset=utf-8", std::move(body), {}}; }
answer json_answer(int status, std::string body) { return {status, "application/json", std::move(body), {}}; }

std::string json_string(std::string_view text) {
    const bool readable = is_utf8(text);
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        } else {
            out += byte >= 0x80 && !readable ? '?' : c;
        }
    }
    return out += '"';
}

std::string json_number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : "null"; }

} // namespace qsketch_server
