#pragma once

#include "domain/instant.hpp"
#include "domain/problem.hpp"

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace qsketch_server {

/// A request as the endpoints see it: no sockets, no HTTP library.
struct request {
    std::string method;
    std::string path;                                       ///< As sent: still percent-encoded, without the query.
    std::vector<std::pair<std::string, std::string>> query; ///< Decoded; a name without '=' has an empty value.
    std::string path_rest;                                  ///< Decoded: what a pattern's {…} stands for.
    std::string_view body;                                  ///< At least 64 bytes behind it may be read.
    std::string content_type;                               ///< In lower case, without parameters.
    std::string accept;
    bool encoded_body = false; ///< The body came with a Content-Encoding.
    std::string id;

    /// Null if it is not given.
    [[nodiscard]] const std::string* parameter(std::string_view name) const noexcept;
    /// Throws invalid_fields if it is not given.
    [[nodiscard]] const std::string& required(std::string_view name) const;
    [[nodiscard]] bool wants_json() const noexcept;
};

/// Bytes that are no request of this interface: a broken query string, a body that is no JSON.
class malformed_request : public std::invalid_argument {
public:
    using std::invalid_argument::invalid_argument;
};

/// A request refused for a reason that has a status of its own.
class refused_request : public std::runtime_error {
public:
    refused_request(int status, const std::string& message) : runtime_error(message), status_(status) {}
    [[nodiscard]] int status() const noexcept { return status_; }

private:
    int status_;
};

/// "+" becomes a space if `plus` says so. Throws malformed_request for a % without two hexadecimal digits.
[[nodiscard]] std::string percent_decoded(std::string_view text, bool plus);

/// Throws malformed_request for a broken %, a parameter without a name, and a name given twice.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);

/// What decimal digits, and no other bytes, stand for; nothing if they are none or beyond T.
template <std::unsigned_integral T>
[[nodiscard]] std::optional<T> number_of(std::string_view digits) noexcept {
    T value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size()) return {};
    return value;
}

/// Parameters that are numbers. All throw invalid_fields, naming the parameter, the rule and the value.
[[nodiscard]] std::int64_t whole_number(std::string_view field, std::string_view text, std::int64_t from,
                                        std::int64_t to);
[[nodiscard]] double finite_number(std::string_view field, std::string_view text);
/// Also refuses what `times` objects to.
[[nodiscard]] instant time_in(std::string_view field, std::string_view text, const acceptable_times& times);

} // namespace qsketch_server
