#pragma once

#include "http/request.hpp"

#include <simdjson.h>

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace qsketch_server {

/// JSON sets numbers no limits and simdjson does: it refuses integers beyond 64 bits and what is no finite double. In
/// a text with such numbers they, and all other integers beyond int64, are replaced by foreign + their offset in it;
/// then an unsigned element is always such a reference.
class respelt {
public:
    /// Nothing to do leaves it empty, and so does growth beyond a MiB.
    void respell(std::string_view text) {
        source_ = text;
        out_.clear();
        std::size_t copied = 0;
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (text[at] == '"') {
                for (++at; at < text.size() && text[at] != '"'; ++at)
                    if (text[at] == '\\') ++at;
                continue;
            }
            if (text[at] != '-' && !is_digit(text[at])) continue;
            const std::string_view token = number_run(text.substr(at));
            if (is_number(token) && is_foreign(token)) {
                out_.append(text.substr(copied, at - copied)).append(std::to_string(foreign + at));
                copied = at + token.size();
                if (out_.size() > copied + max_growth) {
                    out_.clear();
                    return;
                }
            }
            at += token.size() - 1;
        }
        if (!out_.empty()) out_.append(text.substr(copied)).append(simdjson::SIMDJSON_PADDING, ' ');
    }
    void clear() noexcept { out_.clear(); }
    [[nodiscard]] bool empty() const noexcept { return out_.empty(); }
    [[nodiscard]] std::string_view text() const noexcept {
        return std::string_view(out_).substr(0, out_.size() - simdjson::SIMDJSON_PADDING);
    }
    /// What is meant by an unsigned element.
    [[nodiscard]] std::string_view token(std::uint64_t reference) const noexcept {
        return number_run(source_.substr(static_cast<std::size_t>(reference - foreign)));
    }

private:
    static constexpr std::uint64_t foreign = std::uint64_t{1} << 63;
    static constexpr std::size_t max_growth = std::size_t{1} << 20;

    [[nodiscard]] static constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

    /// Everything at the start of `text` that may be part of a number.
    [[nodiscard]] static std::string_view number_run(std::string_view text) noexcept {
        return text.substr(0, text.find_first_not_of("+-.0123456789Ee"));
    }

    /// Is this a number of JSON?
    [[nodiscard]] static bool is_number(std::string_view text) noexcept {
        std::size_t at = text.starts_with('-') ? 1 : 0;
        const auto digits = [&] {
            const std::size_t from = at;
            while (at < text.size() && is_digit(text[at])) ++at;
            return at > from;
        };
        const std::size_t first = at;
        if (!digits() || (text[first] == '0' && at > first + 1)) return false;
        if (at < text.size() && text[at] == '.') {
            ++at;
            if (!digits()) return false;
        }
        if (at < text.size() && (text[at] | 0x20) == 'e') {
            ++at;
            if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
            if (!digits()) return false;
        }
        return at == text.size();
    }

    [[nodiscard]] static bool is_foreign(std::string_view token) {
        if (token.find_first_of(".eE") != token.npos) return !std::isfinite(double_of(token));
        std::int64_t value = 0;
        return std::from_chars(token.data(), token.data() + token.size(), value).ec == std::errc::result_out_of_range;
    }

    std::string_view source_;
    std::string out_;
};

} // namespace qsketch_server
