#pragma once

#include "domain/instant.hpp"
#include "domain/problem.hpp"
#include "http/repeats.hpp"

#include <charconv>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace qsketch_server {

enum class load : std::uint8_t;

/// A request as the endpoints see it: no sockets, no HTTP library.
struct request {
    std::string method;
    std::string path;                                       ///< As sent: still percent-encoded, without the query.
    std::vector<std::pair<std::string, std::string>> query; ///< Decoded; a name without '=' has an empty value.
    std::string path_rest;                                  ///< Decoded: what a pattern's {…} stands for.
    std::string_view body;                                  ///< At least 64 bytes behind it may be read.
    std::string content_type;                               ///< In lower case, without parameters.
    std::string accept;                                     ///< In lower case.
    std::string accept_encoding;                            ///< In lower case.
    std::string content_encoding;                           ///< In lower case.
    std::optional<std::string> authorization;               ///< As sent.
    std::string peer;                                       ///< The client's address.
    std::string client; ///< The name of the token it has shown; empty where none is asked for.
    std::string id;
    std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
    std::optional<std::string> idempotency_key; ///< As sent.
    repeats::turn* turn = nullptr;    ///< Of a request with a key; application::commit() keeps it with the changes.
    std::optional<std::size_t> route; ///< Its place in routes(), once it is known to have one.
    /// As exchange::step_aside; empty where nobody else waits.
    std::function<bool(load)> step_aside;

    bool unfinished = false; ///< It could not step aside, there is no answer, and it is to come again.
    bool later = false;      ///< The answer may be held back until its changes are durable, with no thread that waits.

    /// Null if it is not given.
    [[nodiscard]] const std::string* parameter(std::string_view name) const noexcept;
    /// Throws invalid_fields if it is not given.
    [[nodiscard]] const std::string& required(std::string_view name) const;
    /// Does Accept name the media type, with any weight but 0?
    [[nodiscard]] bool accepts(std::string_view type) const noexcept;
    [[nodiscard]] bool wants_json() const noexcept { return accepts("application/json"); }
};

/// Is `item` in a list as Accept and its like have it, with a weight other than 0? Nothing if it is not in it at all.
[[nodiscard]] std::optional<bool> listed(std::string_view list, std::string_view item) noexcept;

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

/// Throws malformed_request for a broken % and a parameter without a name, invalid_fields for a name given twice.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);

/// What decimal digits, behind a minus where T has a sign, and no other bytes stand for; nothing if they are none or
/// beyond T.
template <std::integral T>
[[nodiscard]] std::optional<T> number_of(std::string_view digits) noexcept {
    T value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size()) return {};
    return value;
}

/// The double that a decimal number stands for: infinite if it is beyond them, 0 if it is too small for them.
[[nodiscard]] double double_of(std::string_view digits);

/// Parameters that are numbers. All throw invalid_fields, naming the parameter, the rule and the value.
[[nodiscard]] std::int64_t whole_number(std::string_view field, std::string_view text, std::int64_t from,
                                        std::int64_t to);
[[nodiscard]] double finite_number(std::string_view field, std::string_view text);
/// Also refuses what `times` objects to.
[[nodiscard]] instant time_in(std::string_view field, std::string_view text, const acceptable_times& times);

} // namespace qsketch_server
