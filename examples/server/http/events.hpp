#pragma once

#include "domain/instant.hpp"
#include "domain/problem.hpp"
#include "http/answer.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qsketch_server {

struct request;

/// One field of an event's JSON object.
struct json_value {
    enum class kind { absent, text, integer, number, array, object, other };
    kind is = kind::absent;
    /// Of a text; else how to name it in a message: "null", "an array", or the digits of a number that is no int64.
    std::string_view text;
    std::int64_t integer = 0;
    double number = 0;                      ///< Of an integer as well. Finite: a number beyond that is of kind other.
    std::optional<std::uint64_t> whole;     ///< Of integers from 0 to 2^64 - 1, those beyond int64 too.
    std::array<std::uintptr_t, 3> inside{}; ///< For visit_inside().

    [[nodiscard]] bool absent() const noexcept { return is == kind::absent; }
    /// For a message: the value, or what it is.
    [[nodiscard]] std::string shown() const;
};

/// The events of a POST, one by one: the whole body, the elements of an array, or the lines of NDJSON.
class event_report {
public:
    static constexpr std::size_t max_errors = 100;

    bool batch = false; ///< An array or NDJSON, even one of a single event.
    std::uint64_t accepted = 0;

    void reject(std::uint64_t line, const problem& p);
    [[nodiscard]] std::uint64_t rejected() const noexcept { return rejected_; }
    /// 200, or 400 if nothing was accepted.
    [[nodiscard]] answer to_answer() const;

private:
    struct line_error {
        std::uint64_t line;
        std::string error;
    };
    std::uint64_t rejected_ = 0;
    std::vector<line_error> errors_; // the first max_errors by line
};

/// Takes one event, its fields in the order of the names asked for, or says what is wrong with it. What it keeps of
/// them it copies: texts live until it returns. Lines count from 1.
using event_reader = std::function<std::optional<problem>(std::uint64_t line, std::span<const json_value> fields)>;

/// Reads the body's events, and of those the named fields; others are ignored. What `read` objects to becomes a
/// rejected line of a batch; outside of a batch it is thrown as invalid_fields.
/// Throws malformed_request for a body that is not JSON (one bad line of NDJSON only rejects that line), and
/// refused_request for another content type.
[[nodiscard]] event_report read_events(const request& rq, std::span<const std::string_view> names,
                                       const event_reader& read);

/// Calls visit(name, value) for the members of an object, or visit("", value) for the elements of an array, until it
/// says what is wrong; of a value that is neither, for nothing. A member that is given twice is wrong too, as
/// "field.name". Only where the value came from, in an event_reader.
[[nodiscard]] std::optional<problem>
visit_inside(std::string_view field, const json_value& of,
             const std::function<std::optional<problem>(std::string_view name, const json_value& value)>& visit);

/// Reads a timestamp: what is wrong with it, or nothing, with the time in `out`.
[[nodiscard]] std::optional<problem> read_time(std::string_view name, const json_value& value,
                                               const acceptable_times& times, instant& out);

} // namespace qsketch_server
