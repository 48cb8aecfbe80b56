#include "http/events.hpp"

#include "domain/text.hpp"
#include "http/borrowed_parser.hpp"
#include "http/request.hpp"
#include "http/respelt.hpp"
#include "unhurried.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <set>
#include <utility>

namespace qsketch_server {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

static_assert(simdjson::SIMDJSON_PADDING <= 64, "the gate leaves 64 bytes behind a body");

constexpr std::size_t max_names = 8;
constexpr std::size_t events_at_a_stretch = 256;
constexpr std::size_t max_shown = 64; // bytes of a number in a message
constexpr std::string_view blanks = " \t\r";

/// Of one event after the other: it is large, and most of it unused.
using field_array = std::array<json_value, max_names>;

using element_bits = std::array<std::uintptr_t, 2>;

void keep_inside(const element& e, const respelt& numbers, json_value& out) noexcept {
    const auto bits = std::bit_cast<element_bits>(e);
    out.inside = {bits[0], bits[1], reinterpret_cast<std::uintptr_t>(&numbers)};
}

// These set one that is absent: a value that is made elsewhere and moved makes the processor wait for its parts.

void set_integer(json_value& out, std::int64_t value) noexcept {
    out.is = json_value::kind::integer;
    out.integer = value;
    out.number = static_cast<double>(value);
    if (value >= 0) out.whole = static_cast<std::uint64_t>(value);
}

void set_number(json_value& out, double value) noexcept {
    if (std::fabs(value) <= 0x1p53 && value == std::trunc(value)) { // 1.0 is 1
        set_integer(out, static_cast<std::int64_t>(value));
    } else {
        out.is = json_value::kind::number;
    }
    out.number = value; // -0.0 too
}

void set_value(json_value& out, const element& e, const respelt& numbers) {
    out.is = json_value::kind::other;
    switch (e.type()) {
    case element_type::STRING:
        out.is = json_value::kind::text;
        out.text = e.get_string().value_unsafe();
        break;
    case element_type::INT64:
        set_integer(out, e.get_int64().value_unsafe());
        break;
    case element_type::UINT64: // beyond int64
        out.whole = e.get_uint64().value_unsafe();
        out.number = static_cast<double>(*out.whole);
        if (!numbers.empty()) {
            out.text = numbers.token(*out.whole);
            out.number = double_of(out.text);
            out.whole = number_of<std::uint64_t>(out.text);
        }
        if (std::isfinite(out.number)) out.is = json_value::kind::number;
        break;
    case element_type::DOUBLE:
        set_number(out, e.get_double().value_unsafe());
        break;
    case element_type::ARRAY:
        out.is = json_value::kind::array;
        out.text = "an array";
        keep_inside(e, numbers, out);
        break;
    case element_type::OBJECT:
        out.is = json_value::kind::object;
        out.text = "an object";
        keep_inside(e, numbers, out);
        break;
    case element_type::BOOL:
        out.text = e.get_bool().value_unsafe() ? "true" : "false";
        break;
    case element_type::NULL_VALUE:
        out.text = "null";
        break;
    default: // of newer versions, and only for who asks for it
        break;
    }
}

[[nodiscard]] json_value value_of(const element& e, const respelt& numbers) {
    json_value out;
    set_value(out, e, numbers);
    return out;
}

void clear(field_array& fields, std::size_t n) noexcept {
    static constexpr json_value absent{};
    std::fill_n(fields.begin(), n, absent);
}

/// Null for a name that was not asked for.
[[nodiscard]] json_value* field_of(std::string_view name, std::span<const std::string_view> names,
                                   field_array& fields) noexcept {
    for (std::size_t i = 0; i < names.size(); ++i)
        if (names[i] == name) return &fields[i];
    return nullptr;
}

[[nodiscard]] std::optional<problem> read_event(const element& event, std::uint64_t line,
                                                std::span<const std::string_view> names, const event_reader& read,
                                                const respelt& numbers, field_array& fields) {
    simdjson::dom::object object;
    if (event.get_object().get(object) != simdjson::SUCCESS)
        return problem{"event", "must be a JSON object, got " + value_of(event, numbers).shown()};
    clear(fields, names.size());
    for (const auto [key, value] : object) {
        json_value* const field = field_of(key, names, fields);
        if (field == nullptr) continue;
        if (!field->absent()) return problem{std::string(key), "is given twice"};
        set_value(*field, value, numbers);
    }
    return read(line, std::span<const json_value>(fields.data(), names.size()));
}

[[nodiscard]] std::string not_json(simdjson::error_code error) {
    std::string_view why = simdjson::error_message(error);
    return fmt::format("is not valid JSON: {}", why.substr(0, why.find_last_not_of(". ") + 1));
}

/// `text` has 64 readable bytes behind it. What it has of numbers that are foreign to simdjson is in `numbers`.
[[nodiscard]] simdjson::error_code parse(simdjson::dom::parser& parser, std::string_view text, respelt& numbers,
                                         element& out) {
    const auto attempt = [&](std::string_view t) {
        return parser.parse(reinterpret_cast<const std::uint8_t*>(t.data()), t.size(), false).get(out);
    };
    numbers.clear();
    const simdjson::error_code error = attempt(text);
    if (error == simdjson::SUCCESS || error == simdjson::MEMALLOC) return error;
    numbers.respell(text); // the code of a foreign number differs between the versions of simdjson
    return numbers.empty() ? error : attempt(numbers.text());
}

/// Reads many lines at once and value by value, which takes simdjson half of what it takes to parse a document of each.
/// What it finds counts where a line is an object with nothing but blanks around it, and nothing in it has to be
/// explained. From the first line that is anything else, the rest of those lines is left to be parsed one by one.
class many_lines {
public:
    /// For a body of that size.
    many_lines(std::span<const std::string_view> names, std::size_t bytes) noexcept
        : names_(names), room_((std::min)(bytes, most_bytes)) {}

    /// Sets the fields of the event in `line`, with which `body` starts, or returns false. For all lines but blank
    /// ones, in order.
    [[nodiscard]] bool read(std::string_view body, std::string_view line, field_array& fields) {
        if (line.data() >= end_)
            start(body);
        else if (going_)
            ++next_;
        going_ = going_ && next_ != documents_.end() && read_fields(line, fields);
        return going_;
    }

private:
    using stream = simdjson::ondemand::document_stream;
    using type = simdjson::ondemand::json_type;

    static constexpr std::size_t most_bytes = std::size_t{16} << 10; // stay in the cache

    /// The line break at the end is left out: simdjson looks at the byte behind a document that does not end.
    void start(std::string_view body) {
        const std::size_t size = body.rfind('\n', room_ - 1);
        going_ =
            size != body.npos && parser_.iterate_many(body.data(), size, room_).get(documents_) == simdjson::SUCCESS;
        end_ = body.data() + (going_ ? size : 1);
        // That was one of its batches, which leaves nothing for a thread of simdjson's own to do beside it.
        if (going_) next_ = documents_.begin();
    }

    [[nodiscard]] bool read_fields(std::string_view line, field_array& fields) {
        simdjson::ondemand::document_reference document;
        simdjson::ondemand::object object;
        if ((*next_).get(document) != simdjson::SUCCESS || document.get_object().get(object) != simdjson::SUCCESS)
            return false;
        clear(fields, names_.size());
        holds_inner_ = false;
        for (auto next : object) {
            simdjson::ondemand::field member;
            if (std::move(next).get(member) != simdjson::SUCCESS) return false;
            json_value* field = named(member.key(), fields);
            if (field == nullptr) {
                std::string_view name; // without what is escaped in it
                if (member.unescaped_key().get(name) != simdjson::SUCCESS) return false;
                field = field_of(name, names_, fields);
            }
            if (field == nullptr) field = &(ignored_ = json_value());
            if (!field->absent() || !set(*field, member.value())) return false;
            holds_inner_ |= field->inside[0] != 0;
        }
        // Of a document on two lines, and of the first of two on one line, this is false. So it is of the last, as
        // simdjson does not tell what is left behind that.
        const char* behind = nullptr;
        const char* const line_end = line.data() + line.size();
        return document.current_location().get(behind) == simdjson::SUCCESS && behind >= line_end &&
               std::string_view(line_end, behind).find_first_not_of(" \t\r\n") == std::string_view::npos;
    }

    /// Null where the name is another one, or partly escaped.
    [[nodiscard]] json_value* named(simdjson::ondemand::raw_json_string name, field_array& fields) const noexcept {
        for (std::size_t i = 0; i < names_.size(); ++i)
            if (name.unsafe_is_equal(names_[i])) return &fields[i];
        return nullptr;
    }

    /// Of arrays and objects the field is valid until the next of them.
    [[nodiscard]] bool set(json_value& out, simdjson::ondemand::value& value) {
        type is{};
        if (value.type().get(is) != simdjson::SUCCESS) return false;
        if (is == type::string) {
            out.is = json_value::kind::text;
            return value.get_string().get(out.text) == simdjson::SUCCESS;
        }
        std::string_view text = value.raw_json_token(); // with blanks behind it
        if (is == type::number && text.size() <= most_of_number) {
            simdjson::ondemand::number number;
            const bool read = value.get_number().get(number) == simdjson::SUCCESS;
            if (read && number.is_int64()) return set_integer(out, number.get_int64()), true;
            if (read && number.is_double()) return set_number(out, number.get_double()), true;
        }
        if (is == type::boolean || is == type::null) {
            text = text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
            out.is = json_value::kind::other;
            out.text = text;
            return text == "true" || text == "false" || text == "null";
        }
        if (simdjson::ondemand::array array; is == type::array) {
            if (value.get_array().get(array) != simdjson::SUCCESS || array.raw_json().get(text) != simdjson::SUCCESS)
                return false;
        } else if (simdjson::ondemand::object object; is == type::object) {
            if (value.get_object().get(object) != simdjson::SUCCESS || object.raw_json().get(text) != simdjson::SUCCESS)
                return false;
        } else if (is != type::number) {
            return false; // of newer versions
        }
        return parse(out, text);
    }

    [[nodiscard]] bool parse(json_value& out, std::string_view text) {
        if (holds_inner_) return false;
        if (inner_parser_.capacity() == 0 && // what is inside of an event is one level deeper
            inner_parser_.allocate(room_, simdjson::DEFAULT_MAX_DEPTH - 1) != simdjson::SUCCESS)
            return false;
        element parsed;
        if (inner_parser_.parse(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), false).get(parsed) !=
            simdjson::SUCCESS)
            return false;
        set_value(out, parsed, no_numbers_);
        return true;
    }

    /// Characters of a number: simdjson 3.0 reads those of more than 18 digits that are no integers as 0.
    static constexpr std::size_t most_of_number = 19;

    std::span<const std::string_view> names_;
    std::size_t room_; // for what is read at once
    json_value ignored_;
    simdjson::dom::parser inner_parser_;
    bool holds_inner_ = false; // a field of this event is in its memory
    respelt no_numbers_;
    simdjson::ondemand::parser parser_;
    stream documents_;
    stream::iterator next_;
    const char* end_ = nullptr; // of what is read at once; where nothing is, anywhere in the line
    bool going_ = false;
};

void read_lines(std::string_view body, simdjson::dom::parser& parser, std::span<const std::string_view> names,
                const event_reader& read, event_report& report) {
    std::uint64_t number = 0;
    many_lines many(names, body.size());
    respelt numbers;
    field_array fields;
    pauses pause(events_at_a_stretch);
    for (; !body.empty(); pause.after(1)) {
        const std::string_view line = body.substr(0, body.find('\n'));
        ++number;
        if (line.find_first_not_of(blanks) != line.npos) {
            std::optional<problem> wrong;
            if (element event; many.read(body, line, fields))
                wrong = read(number, std::span<const json_value>(fields.data(), names.size()));
            else if (const simdjson::error_code error = parse(parser, line, numbers, event))
                wrong = problem{"line", not_json(error)};
            else
                wrong = read_event(event, number, names, read, numbers, fields);
            if (wrong)
                report.reject(number, *wrong);
            else
                ++report.accepted;
        }
        body.remove_prefix((std::min)(line.size() + 1, body.size()));
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
        if (text.empty()) return fmt::format("{}", number);
        [[fallthrough]];
    default:
        return text.size() <= max_shown ? std::string(text) : std::string(text.substr(0, max_shown)) + "...";
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
    const borrowed_parser borrowed(rq.body.size());
    simdjson::dom::parser& parser = *borrowed;
    event_report report;
    if (lines) {
        report.batch = true;
        read_lines(rq.body, parser, names, read, report);
        return report;
    }
    element document;
    respelt numbers;
    field_array fields;
    if (const auto error = parse(parser, rq.body, numbers, document))
        throw malformed_request("the body " + not_json(error) + "; many events, one a line, are application/x-ndjson");
    simdjson::dom::array events;
    if (document.get_array().get(events) != simdjson::SUCCESS) {
        if (auto wrong = read_event(document, 1, names, read, numbers, fields)) throw invalid_fields(*std::move(wrong));
        report.accepted = 1;
        return report;
    }
    report.batch = true;
    std::uint64_t number = 0;
    pauses pause(events_at_a_stretch);
    for (const element event : events) {
        pause.after(1);
        if (const auto wrong = read_event(event, ++number, names, read, numbers, fields))
            report.reject(number, *wrong);
        else
            ++report.accepted;
    }
    return report;
}

std::optional<problem>
visit_inside(std::string_view field, const json_value& of,
             const std::function<std::optional<problem>(std::string_view name, const json_value& value)>& visit) {
    if (of.is != json_value::kind::array && of.is != json_value::kind::object) return {};
    const auto e = std::bit_cast<element>(element_bits{of.inside[0], of.inside[1]});
    const respelt& numbers = *reinterpret_cast<const respelt*>(of.inside[2]);
    if (simdjson::dom::array array; e.get_array().get(array) == simdjson::SUCCESS) {
        for (const element item : array)
            if (auto wrong = visit({}, value_of(item, numbers))) return wrong;
        return {};
    }
    simdjson::dom::object object;
    if (e.get_object().get(object) != simdjson::SUCCESS) return {};
    std::set<std::string_view> names;
    for (const auto [name, value] : object) {
        if (!names.insert(name).second) return problem{fmt::format("{}.{}", field, name), "is given twice"};
        if (auto wrong = visit(name, value_of(value, numbers))) return wrong;
    }
    return {};
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
