#include "http/request.hpp"

#include "domain/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <system_error>

namespace qsketch_server {
namespace {

/// Takes what comes before the next `separator` out of `list`, without the spaces around it.
[[nodiscard]] std::string_view next_part(std::string_view& list, char separator) noexcept {
    const std::size_t end = (std::min)(list.find(separator), list.size());
    std::string_view part = list.substr(0, end);
    list.remove_prefix((std::min)(end + 1, list.size()));
    while (!part.empty() && (part.front() == ' ' || part.front() == '\t')) part.remove_prefix(1);
    while (!part.empty() && (part.back() == ' ' || part.back() == '\t')) part.remove_suffix(1);
    return part;
}

} // namespace

const std::string* request::parameter(std::string_view name) const noexcept {
    const auto at = std::find_if(query.begin(), query.end(), [&](const auto& p) { return p.first == name; });
    return at == query.end() ? nullptr : &at->second;
}

const std::string& request::required(std::string_view name) const {
    if (const std::string* value = parameter(name)) return *value;
    throw invalid_fields(problem{std::string(name), "is required"});
}

bool request::accepts(std::string_view type) const noexcept { return listed(accept, type).value_or(false); }

std::optional<bool> listed(std::string_view list, std::string_view item) noexcept {
    std::optional<bool> found;
    while (!list.empty()) {
        std::string_view entry = next_part(list, ',');
        if (next_part(entry, ';') != item) continue;
        bool wanted = true;
        while (!entry.empty()) {
            const std::string_view parameter = next_part(entry, ';');
            if (parameter.starts_with("q=") && parameter.find_first_not_of("0.", 2) == parameter.npos) wanted = false;
        }
        found = found.value_or(false) || wanted;
    }
    return found;
}

std::string percent_decoded(std::string_view text, bool plus) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus) {
            out += ' ';
        } else if (text[i] == '%') {
            unsigned byte = 0;
            const char* const first = text.data() + i + 1;
            const char* const last = text.data() + (std::min)(i + 3, text.size());
            if (const auto [end, error] = std::from_chars(first, last, byte, 16);
                error != std::errc{} || end != first + 2)
                throw malformed_request(in_quotes(text.substr(i, 3)) + " in the URL is no percent-encoded byte");
            out += static_cast<char>(byte);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
    std::vector<std::pair<std::string, std::string>> out;
    while (!query.empty()) {
        const std::size_t end = (std::min)(query.find('&'), query.size());
        const std::string_view part = query.substr(0, end);
        query.remove_prefix((std::min)(end + 1, query.size()));
        if (part.empty()) continue;
        const std::size_t equals = (std::min)(part.find('='), part.size());
        std::string name = percent_decoded(part.substr(0, equals), true);
        if (name.empty()) throw malformed_request("the query has a value without a name: " + in_quotes(part));
        if (std::any_of(out.begin(), out.end(), [&](const auto& p) { return p.first == name; }))
            throw invalid_fields(problem{std::move(name), "is given twice"});
        out.emplace_back(std::move(name), percent_decoded(part.substr((std::min)(equals + 1, part.size())), true));
    }
    return out;
}

std::int64_t whole_number(std::string_view field, std::string_view text, std::int64_t from, std::int64_t to) {
    const auto value = number_of<std::int64_t>(text);
    if (!value || *value < from || *value > to)
        throw invalid_fields(problem{std::string(field), fmt::format("must be a whole number from {} to {}, got {}",
                                                                     from, to, in_quotes(text))});
    return *value;
}

double double_of(std::string_view digits) {
    double value = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    // Out of range is both too large and too small; strtod tells them apart.
    return read.ec == std::errc{} ? value : std::strtod(std::string(digits).c_str(), nullptr);
}

double finite_number(std::string_view field, std::string_view text) {
    // In a query "1e+5" arrives as "1e 5", unless somebody took care to escape it.
    std::string plain(text);
    if (const auto space = plain.find(' '); space != plain.npos && space > 0 && (plain[space - 1] | 0x20) == 'e')
        plain[space] = '+';
    double value = 0;
    const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
    if (error == std::errc::result_out_of_range) value = double_of(plain);
    if (error == std::errc::invalid_argument || end != plain.data() + plain.size() || !std::isfinite(value))
        throw invalid_fields(problem{std::string(field), "must be a finite number, got " + in_quotes(text)});
    return value;
}

instant time_in(std::string_view field, std::string_view text, const acceptable_times& times) {
    const auto t = parse_instant(text);
    if (!t) throw invalid_fields(problem{std::string(field), fmt::format("{}, got {}", instant_rule, in_quotes(text))});
    if (auto objection = times.objection(*t)) throw invalid_fields(problem{std::string(field), *std::move(objection)});
    return *t;
}

} // namespace qsketch_server
