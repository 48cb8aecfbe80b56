#include "http/events.hpp"

#include "domain/text.hpp"
#include "http/request.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>

namespace qsketch_server {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

static_assert(simdjson::SIMDJSON_PADDING <= 64, "the gate leaves 64 bytes behind a body");

constexpr std::size_t max_names = 8;
constexpr std::size_t cached_parser_bytes = std::size_t{1} << 20; // a parser keeps some 15 times what it has parsed

[[nodiscard]] json_value value_of(const element& e) noexcept {
    json_value out;
    out.is = json_value::kind::other;
    switch (e.type()) {
    case element_type::STRING:
        out.is = json_value::kind::text;
        out.text = e.get_string().value_unsafe();
        break;
    case element_type::INT64:
        out.is = json_value::kind::integer;
        out.integer = e.get_int64().value_unsafe();
        out.number = static_cast<double>(out.integer);
        break;
    case element_type::UINT64: // beyond int64
        out.is = json_value::kind::number;
        out.number = static_cast<double>(e.get_uint64().value_unsafe());
        break;
    case element_type::DOUBLE:
        out.is = json_value::kind::number;
        out.number = e.get_double().value_unsafe();
        break;
    case element_type::ARRAY:
        out.text = "an array";
        break;
    case element_type::OBJECT:
        out.text = "an object";
        break;
    case element_type::BOOL:
        out.text = e.get_bool().value_unsafe() ? "true" : "false";
        break;
    case element_type::NULL_VALUE:
        out.text = "null";
        break;
    }
    return out;
}

[[nodiscard]] std::optional<problem> read_event(const element& event, std::uint64_t line,
                                                std::span<const std::string_view> names, const event_reader& read) {
    simdjson::dom::object object;
    if (event.get_object().get(object) != simdjson::SUCCESS)
        return problem{"event", "must be a JSON object, got " + value_of(event).shown()};
    std::array<json_value, max_names> fields;
    for (const auto [key, value] : object) {
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (names[i] != key) continue;
            if (!fields[i].absent()) return problem{std::string(key), "is given twice"};
            fields[i] = value_of(value);
            break;
        }
    }
    return read(line, std::span<const json_value>(fields.data(), names.size()));
}

[[nodiscard]] std::string not_json(simdjson::error_code error) {
    std::string_view why = simdjson::error_message(error);
    return fmt::format("is not valid JSON: {}", why.substr(0, why.find_last_not_of(". ") + 1));
}

/// `text` has 64 readable bytes behind it.
[[nodiscard]] simdjson::simdjson_result<element> parse(simdjson::dom::parser& parser, std::string_view text) {
    return parser.parse(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), false);
}

void read_lines(std::string_view body, simdjson::dom::parser& parser, std::span<const std::string_view> names,
                const event_reader& read, event_report& report) {
    std::uint64_t number = 0;
    while (!body.empty()) {
        const std::size_t end = (std::min)(body.find('\n'), body.size());
        const std::string_view line = body.substr(0, end);
        body.remove_prefix((std::min)(end + 1, body.size()));
        ++number;
        if (line.find_first_not_of(" \t\r") == line.npos) continue;
        element event;
        const auto error = parse(parser, line).get(event);
        auto wrong = error ? problem{"line", not_json(error)} : read_event(event, number, names, read);
        if (wrong)
            report.reject(number, *wrong);
        else
            ++report.accepted;
    }
}

} // namespace

std::string json_value::shown() const {
    switch (is) {
    case kind::text:
        return in_quotes(text);
    case kind::integer:
        return fmt::format("{}", integer);
    case kind::number:
        return fmt::format("{}", number);
    default:
        return std::string(text);
    }
}

void event_report::reject(std::uint64_t line, const problem& p) {
    ++rejected_;
    if (errors_.size() == max_errors && line > errors_.back().line) return;
    const auto at = std::upper_bound(errors_.begin(), errors_.end(), line,
                                     [](std::uint64_t l, const line_error& e) { return l < e.line; });
    errors_.insert(at, {line, p.field + ": " + p.error});
    if (errors_.size() > max_errors) errors_.pop_back();
}

answer event_report::to_answer() const {
    std::string body = fmt::format(R"({{"accepted":{},"rejected":{},"errors":[)", accepted, rejected_);
    for (const line_error& e : errors_)
        body +=
            fmt::format(R"({}{{"line":{},"error":{}}})", &e == errors_.data() ? "" : ",", e.line, json_string(e.error));
    body += "]}";
    return json_answer(accepted > 0 ? 200 : 400, std::move(body));
}

event_report read_events(const request& rq, std::span<const std::string_view> names, const event_reader& read) {
    static constexpr std::array<std::string_view, 4> ndjson = {"application/x-ndjson", "application/ndjson",
                                                               "application/jsonl", "application/x-jsonlines"};
    // curl -d names a form unless it is told otherwise; nothing here takes forms, so that is JSON too.
    static constexpr std::array<std::string_view, 3> json = {"application/json", "",
                                                             "application/x-www-form-urlencoded"};
    const bool lines = std::find(ndjson.begin(), ndjson.end(), rq.content_type) != ndjson.end();
    if (!lines && std::find(json.begin(), json.end(), rq.content_type) == json.end())
        throw refused_request(415, "the body must be application/json or application/x-ndjson, got " +
                                       in_quotes(rq.content_type));
    if (rq.body.find_first_not_of(" \t\r\n") == rq.body.npos) throw malformed_request("the body is empty");
    static thread_local simdjson::dom::parser cached;
    simdjson::dom::parser fresh;
    simdjson::dom::parser& parser = rq.body.size() <= cached_parser_bytes ? cached : fresh;
    event_report report;
    if (lines) {
        report.batch = true;
        read_lines(rq.body, parser, names, read, report);
        return report;
    }
    element document;
    if (const auto error = parse(parser, rq.body).get(document))
        throw malformed_request("the body " + not_json(error) + "; many events, one a line, are application/x-ndjson");
    simdjson::dom::array events;
    if (document.get_array().get(events) != simdjson::SUCCESS) {
        if (auto wrong = read_event(document, 1, names, read)) throw invalid_fields(*std::move(wrong));
        report.accepted = 1;
        return report;
    }
    report.batch = true;
    std::uint64_t number = 0;
    for (const element event : events) {
        if (const auto wrong = read_event(event, ++number, names, read))
            report.reject(number, *wrong);
        else
            ++report.accepted;
    }
    return report;
}

std::optional<problem> read_time(std::string_view name, const json_value& value, const acceptable_times& times,
                                 instant& out) {
    if (value.absent()) return problem{std::string(name), "is required"};
    const auto t = value.is == json_value::kind::integer ? from_millis(value.integer)
                   : value.is == json_value::kind::text  ? parse_instant(value.text)
                                                         : std::nullopt;
    if (!t) return problem{std::string(name), fmt::format("{}, got {}", instant_rule, value.shown())};
    if (auto objection = times.objection(*t)) return problem{std::string(name), *std::move(objection)};
    out = *t;
    return {};
}

} // namespace qsketch_server
