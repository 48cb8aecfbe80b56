#include "api/samples.hpp"
#include "application.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "http/lists.hpp"
#include "routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

// Family D: what asks for figures of tagged metrics.
namespace qsketch_server {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view all_aggregations = "avg,min,max,sum,count,p50,p95,p99";
constexpr std::size_t max_aggregations = 32;
constexpr std::size_t max_group_by = 4;
constexpr std::size_t max_filters = 32;
constexpr std::int64_t max_windows = 2500;
constexpr std::int64_t default_windows = 60;
constexpr std::int64_t max_limit = 10000;

/// A query, and how its answer is to be written.
struct aggregate_request {
    metric_query query;
    std::vector<aggregation> aggregations;
    group_order order;
    bool by_time = false; ///< The rows are ordered by time, as they are if nothing is said.
    bool rows = false;    ///< A row for each window.
};

void take_aggregation(std::string_view field, std::string_view name, aggregate_request& out) {
    const auto a = aggregation::named(name);
    if (!a)
        throw invalid_fields(problem{std::string(field), "must be avg, min, max, sum, count or p and a number from 0 "
                                                         "to 100, as in p99.9, got " +
                                                             in_quotes(name)});
    const auto same = [&](const aggregation& other) { return other.name == a->name; };
    if (std::any_of(out.aggregations.begin(), out.aggregations.end(), same)) return;
    if (out.aggregations.size() == max_aggregations)
        throw invalid_fields(problem{std::string(field), fmt::format("must be at most {}", max_aggregations)});
    out.query.quantiles = out.query.quantiles || a->is == aggregation::kind::quantile;
    out.aggregations.push_back(*a);
}

void take_group_by(std::string_view tag, aggregate_request& out) {
    if (!is_plain_name(tag, max_tag_name_bytes))
        throw invalid_fields(
            problem{"group_by", fmt::format("must be names of tags, 1 to {} of the characters a-z, A-Z, "
                                            "0-9, _, . and -, got {}",
                                            max_tag_name_bytes, in_quotes(tag))});
    auto& tags = out.query.group_by;
    if (std::find(tags.begin(), tags.end(), tag) != tags.end())
        throw invalid_fields(problem{"group_by", "must name a tag once only, got " + in_quotes(tag) + " twice"});
    if (tags.size() == max_group_by)
        throw invalid_fields(problem{"group_by", fmt::format("must be at most {} tags", max_group_by)});
    tags.emplace_back(tag);
}

/// Any of the patterns for one tag, and something for each tag.
void add_filter(std::string_view field, std::string_view tag, std::string_view pattern, std::vector<tag_filter>& out) {
    if (pattern.empty())
        throw invalid_fields(problem{std::string(field), "must be values, or patterns with *, separated by commas; one "
                                                         "is empty"});
    auto at = std::find_if(out.begin(), out.end(), [&](const tag_filter& f) { return f.name == tag; });
    if (at == out.end()) at = out.insert(at, {std::string(tag), {}});
    if (at->patterns.size() == max_filters || out.size() > max_filters)
        throw invalid_fields(problem{std::string(field), fmt::format("must be at most {}", max_filters)});
    at->patterns.emplace_back(pattern);
}

[[nodiscard]] std::vector<tag_filter> filters_of(const request& rq) {
    std::vector<tag_filter> out;
    if (const std::string* const tags = rq.parameter("tags"))
        for (const std::string_view item : comma_separated(*tags)) {
            const std::size_t colon = item.find(':');
            if (colon == item.npos || !is_plain_name(item.substr(0, colon), max_tag_name_bytes))
                throw invalid_fields(
                    problem{"tags", "must be name:value, separated by commas, got " + in_quotes(item)});
            add_filter("tags", item.substr(0, colon), item.substr(colon + 1), out);
        }
    constexpr std::pair<std::string_view, std::string_view> short_forms[] = {{"hosts", "host"},
                                                                             {"datacenters", "datacenter"}};
    for (const auto& [parameter, tag] : short_forms) {
        const std::string* const values = rq.parameter(parameter);
        if (values == nullptr) continue;
        std::vector<tag_filter> own; // in addition to what tags= may say of the same tag
        for (const std::string_view value : comma_separated(*values)) add_filter(parameter, tag, value, own);
        out.push_back(std::move(own.front()));
    }
    return out;
}

[[nodiscard]] bool rolling_of(const request& rq) {
    const std::string* const rolling = rq.parameter("rolling");
    if (rolling == nullptr || *rolling == "false" || *rolling == "0") return false;
    if (*rolling == "true" || *rolling == "1") return true;
    throw invalid_fields(problem{"rolling", "must be true or false, got " + in_quotes(*rolling)});
}

[[nodiscard]] std::chrono::seconds window_of(std::string_view text) {
    constexpr std::pair<std::string_view, std::chrono::seconds> windows[] = {
        {"1m", 1min}, {"5m", 5min}, {"1h", 1h}, {"1d", 24h}};
    for (const auto& [name, length] : windows)
        if (text == name) return length;
    throw invalid_fields(problem{"window", "must be 1m, 5m, 1h or 1d, got " + in_quotes(text)});
}

template <class Duration>
[[nodiscard]] instant floor_to(instant t, Duration unit) noexcept {
    return t - t.time_since_epoch() % unit;
}

/// Up to now means what has come by now, that of this second too: values are known by the second.
[[nodiscard]] instant end_of_now(instant now) noexcept { return floor_to(now, 1s) + 1s; }

/// One row for each aligned window of the interval; the last ends with now if it has not ended yet. What is more than a
/// day old may be known by the hour only.
[[nodiscard]] std::vector<time_span> aligned_windows(time_span whole, std::chrono::seconds length, instant now) {
    const instant by_the_hour = floor_to(now - 24h, 1h);
    const instant end = (std::max)(whole.to, end_of_now(now));
    std::vector<time_span> out;
    const auto length_at = [&](instant t) {
        return t < by_the_hour ? (std::max)(length, std::chrono::seconds(1h)) : length;
    };
    for (instant t = floor_to(whole.from, length_at(floor_to(whole.from, length))); t < whole.to;) {
        if (out.size() == static_cast<std::size_t>(max_windows))
            throw invalid_fields(problem{"window", fmt::format("must make at most {} windows of the time from {} to {}",
                                                               max_windows, iso_time(whole.from), iso_time(whole.to))});
        const instant next = t + length_at(t);
        out.push_back({t, (std::min)(next, end)});
        t = next;
    }
    return out;
}

/// What the rows of the answer are about.
void take_times(application& app, const request& rq, aggregate_request& out) {
    acceptable_times times = app.metric_times();
    times.too_old_count = nullptr; // a question is no event
    const instant now = app.now();
    const std::string* const window = rq.parameter("window");
    const std::string* const from = rq.parameter("from");
    const std::string* const to = rq.parameter("to");
    const bool rolling = rolling_of(rq);
    if (rolling && window == nullptr) throw invalid_fields(problem{"rolling", "needs a window"});
    if (rolling && from != nullptr) throw invalid_fields(problem{"from", "must not be given with rolling"});
    if (window == nullptr && from == nullptr) throw invalid_fields(problem{"from", "is required, or window is"});
    time_span whole{times.oldest, to == nullptr ? now : time_in("to", *to, times)};
    if (from != nullptr) whole.from = time_in("from", *from, times);
    if (window == nullptr || rolling) {
        if (rolling) whole.from = whole.to - window_of(*window);
        if (to == nullptr) whole.to = end_of_now(now);
        if (whole.from >= whole.to) throw invalid_fields(problem{"from", "must be before to"});
        out.query.rows = {whole};
        return;
    }
    const std::chrono::seconds length = window_of(*window);
    if (to == nullptr) whole.to = end_of_now(now);
    if (from == nullptr)
        whole.from = (std::max)(whole.from, floor_to(whole.to - 1ms, length) - (default_windows - 1) * length);
    if (whole.from >= whole.to) throw invalid_fields(problem{"from", "must be before to"});
    out.rows = true;
    out.query.rows = aligned_windows(whole, length, now);
}

void take_order(const request& rq, aggregate_request& out) {
    if (const std::string* const limit = rq.parameter("limit"))
        out.order.limit = static_cast<std::size_t>(whole_number("limit", *limit, 1, max_limit));
    const std::string* const order = rq.parameter("order_by");
    if (order == nullptr) return;
    const std::string_view text = *order;
    const std::size_t colon = (std::min)(text.find(':'), text.size());
    const std::string_view field = text.substr(0, colon);
    const std::string_view direction = colon < text.size() ? text.substr(colon + 1) : "asc";
    if (direction != "asc" && direction != "desc")
        throw invalid_fields(problem{"order_by", "must be field:asc or field:desc, got " + in_quotes(text)});
    out.order.descending = direction == "desc";
    if (field == "value") {
        out.order.by = 0;
        return;
    }
    const auto look_for = [&](const auto& list, std::size_t first, const auto& matches) {
        const auto at = std::find_if(list.begin(), list.end(), matches);
        if (!out.order.by && at != list.end()) out.order.by = first + static_cast<std::size_t>(at - list.begin());
    };
    const auto& tags = out.query.group_by;
    look_for(out.aggregations, 0, [&](const aggregation& a) { return a.name == field; });
    look_for(tags, out.aggregations.size(), [&](const std::string& tag) { return tag == field; });
    look_for(tags, out.aggregations.size(), [&](const std::string& tag) { return "by_" + tag == field; });
    out.by_time = field == "time" && out.rows && tags.empty();
    if (!out.order.by && !out.by_time)
        throw invalid_fields(
            problem{"order_by", "must be value, one of the aggregations asked for, or a tag grouped by, "
                                "got " +
                                    in_quotes(field)});
}

[[nodiscard]] aggregate_request aggregate_request_of(application& app, const request& rq) {
    aggregate_request out;
    out.query.metric = rq.required("metric");
    if (auto wrong = metric_problem("metric", out.query.metric)) throw invalid_fields(*std::move(wrong));
    const std::string* const agg = rq.parameter("agg");
    for (const std::string_view name : comma_separated(agg ? std::string_view(*agg) : all_aggregations))
        take_aggregation("agg", name, out);
    out.query.filters = filters_of(rq);
    if (const std::string* const tags = rq.parameter("group_by"))
        for (const std::string_view tag : comma_separated(*tags)) take_group_by(tag, out);
    take_times(app, rq, out);
    take_order(rq, out);
    return out;
}

[[nodiscard]] std::string figures_json(std::span<const aggregation> names, std::span<const double> figures) {
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i)
        out += fmt::format(R"({}"{}":{})", i == 0 ? "" : ",", names[i].name, json_number(figures[i]));
    return "{" + out + "}";
}

/// ,"by_<tag>":{…} for each tag grouped by, and if there are several, ,"groups":[…].
[[nodiscard]] std::string groups_json(const aggregate_request& asked, const aggregate_row& row) {
    const std::vector<std::string>& tags = asked.query.group_by;
    std::string out;
    for (std::size_t tag = 0; tag < tags.size(); ++tag) {
        std::string list;
        for (const group_figures& g : ordered_groups(row.groups_by(tag), asked.aggregations, asked.order))
            list += fmt::format("{}{}:{}", list.empty() ? "" : ",", json_string(g.key[0]),
                                figures_json(asked.aggregations, g.figures));
        out += fmt::format(R"(,"by_{}":{{{}}})", tags[tag], list);
    }
    if (tags.size() < 2) return out;
    std::string list;
    for (const group_figures& g : ordered_groups(row.groups(), asked.aggregations, asked.order)) {
        std::string names;
        for (std::size_t tag = 0; tag < tags.size(); ++tag)
            names += fmt::format(R"({}"{}":{})", tag == 0 ? "" : ",", tags[tag], json_string(g.key[tag]));
        list += fmt::format(R"({}{{"tags":{{{}}},"aggregations":{}}})", list.empty() ? "" : ",", names,
                            figures_json(asked.aggregations, g.figures));
    }
    return out + fmt::format(R"(,"groups":[{}])", list);
}

[[nodiscard]] std::string span_json(time_span t) {
    return fmt::format(R"("from":"{}","to":"{}")", iso_time(t.from), iso_time(t.to));
}

/// The rows in the order asked for: without groups that, and the limit, are about the rows.
[[nodiscard]] std::string rows_json(const aggregate_request& asked, const std::vector<aggregate_row>& rows) {
    struct entry {
        const aggregate_row* row;
        std::vector<double> figures;
    };
    std::vector<entry> entries;
    for (const aggregate_row& row : rows) entries.push_back({&row, row.total().figures(asked.aggregations)});
    if (asked.query.group_by.empty()) {
        const auto before = [&](const entry& a, const entry& b) {
            if (!asked.order.by) return asked.order.descending && a.row->asked().from > b.row->asked().from;
            const double x = a.figures[*asked.order.by];
            const double y = b.figures[*asked.order.by];
            if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
            return asked.order.descending ? x > y : x < y;
        };
        std::stable_sort(entries.begin(), entries.end(), before);
        const std::size_t limit = (std::min)(asked.order.limit, entries.size());
        const bool latest = !asked.order.by && !asked.by_time; // where no order is asked for, the latest are wanted
        entries.erase(latest ? entries.begin() : entries.begin() + static_cast<std::ptrdiff_t>(limit),
                      latest ? entries.end() - static_cast<std::ptrdiff_t>(limit) : entries.end());
    }
    std::string out;
    for (const entry& e : entries)
        out += fmt::format(R"({}{{{},"aggregations":{}{}}})", out.empty() ? "" : ",", span_json(e.row->covered()),
                           figures_json(asked.aggregations, e.figures), groups_json(asked, *e.row));
    return out;
}

/// All rows in one.
[[nodiscard]] aggregate_row whole_of(const std::vector<aggregate_row>& rows) {
    aggregate_row whole({rows.front().asked().from, rows.back().asked().to});
    for (const aggregate_row& row : rows) whole.merge(row);
    return whole;
}

} // namespace

answer get_aggregate(application& app, const request& rq) {
    const aggregate_request asked = aggregate_request_of(app, rq);
    const std::vector<aggregate_row> rows = app.metrics.aggregate(asked.query);
    if (rows.empty()) throw not_found("nothing is known of the metric " + in_quotes(asked.query.metric));
    const aggregate_row whole = whole_of(rows);
    std::string body = fmt::format(R"({{"metric":{},"aggregations":{}{})", json_string(asked.query.metric),
                                   figures_json(asked.aggregations, whole.total().figures(asked.aggregations)),
                                   groups_json(asked, whole));
    if (asked.rows) body += fmt::format(R"(,"series":[{}])", rows_json(asked, rows));
    return json_answer(200, body + fmt::format(R"(,"covered":{{{}}}}})", span_json(whole.covered())));
}

namespace {

/// What POST /compute asks for; nothing of a metric if it names none.
[[nodiscard]] std::optional<aggregate_request> compute_request_of(application& app, const request& rq) {
    static constexpr std::array<std::string_view, 4> names = {"metric", "aggregations", "time_window", "group_by"};
    acceptable_times times = app.metric_times();
    times.too_old_count = nullptr;
    aggregate_request out;
    bool has_metric = false;
    const auto texts = [](std::string_view field, const json_value& list, auto take) -> std::optional<problem> {
        if (list.absent()) return {};
        if (list.is != json_value::kind::array)
            return problem{std::string(field), "must be an array of strings, got " + list.shown()};
        return visit_inside(field, list, [&](std::string_view, const json_value& item) -> std::optional<problem> {
            if (item.is != json_value::kind::text)
                return problem{std::string(field), "must be an array of strings, got " + item.shown() + " in it"};
            take(item.text);
            return {};
        });
    };
    const event_report report =
        read_events(rq, names, [&](std::uint64_t, std::span<const json_value> fields) -> std::optional<problem> {
            if (!fields[0].absent()) {
                if (auto wrong = text_problem("metric", fields[0])) return wrong;
                if (auto wrong = metric_problem("metric", fields[0].text)) return wrong;
                has_metric = true;
                out.query.metric = fields[0].text;
            }
            if (auto wrong = texts("aggregations", fields[1],
                                   [&](std::string_view name) { take_aggregation("aggregations", name, out); }))
                return wrong;
            if (auto wrong = texts("group_by", fields[3], [&](std::string_view tag) { take_group_by(tag, out); }))
                return wrong;
            if (fields[2].absent()) return {};
            if (fields[2].is != json_value::kind::object)
                return problem{"time_window", "must be an object with from and to, got " + fields[2].shown()};
            json_value from;
            json_value to;
            auto wrong = visit_inside("time_window", fields[2], [&](std::string_view name, const json_value& value) {
                if (name == "from") from = value;
                if (name == "to") to = value;
                return std::optional<problem>();
            });
            if (wrong) return wrong;
            time_span window;
            if ((wrong = read_time("time_window.from", from, times, window.from))) return wrong;
            if ((wrong = read_time("time_window.to", to, times, window.to))) return wrong;
            if (window.from >= window.to) return problem{"time_window.from", "must be before time_window.to"};
            out.query.rows = {window};
            return {};
        });
    if (report.batch) throw malformed_request("the body must be one JSON object, not a batch");
    if (!has_metric) return {};
    if (out.aggregations.empty())
        for (const std::string_view name : comma_separated(all_aggregations))
            take_aggregation("aggregations", name, out);
    if (out.query.rows.empty()) out.query.rows = {{times.oldest, end_of_now(app.now())}};
    return out;
}

/// {"a":{"x":{…},"y":{…}},"b":…}: one level for each tag grouped by.
[[nodiscard]] std::string nested_groups(const aggregate_request& asked, std::span<const group_figures> groups,
                                        std::size_t tag = 0) {
    if (tag == asked.query.group_by.size())
        return groups.empty() ? "{}" : figures_json(asked.aggregations, groups.front().figures);
    std::string out;
    for (std::size_t begin = 0, end = 0; begin < groups.size(); begin = end) {
        while (end < groups.size() && groups[end].key[tag] == groups[begin].key[tag]) ++end;
        out += fmt::format("{}{}:{}", out.empty() ? "" : ",", json_string(groups[begin].key[tag]),
                           nested_groups(asked, groups.subspan(begin, end - begin), tag + 1));
    }
    return "{" + out + "}";
}

} // namespace

answer post_compute(application& app, const request& rq) {
    const auto begin = std::chrono::steady_clock::now();
    const std::optional<aggregate_request> asked = compute_request_of(app, rq);
    if (!asked) {
        const running_average all = app.metrics.average();
        return json_answer(200, fmt::format(R"({{"average":{},"count":{}}})", json_number(all.average()), all.count));
    }
    const std::vector<aggregate_row> rows = app.metrics.aggregate(asked->query);
    if (rows.empty()) throw not_found("nothing is known of the metric " + in_quotes(asked->query.metric));
    std::string groups = "{}";
    if (!asked->query.group_by.empty())
        groups = nested_groups(*asked, ordered_groups(rows.front().groups(), asked->aggregations, {}));
    const std::string results = figures_json(asked->aggregations, rows.front().total().figures(asked->aggregations));
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    return json_answer(200, fmt::format(R"({{"results":{},"groups":{},"covered":{{{}}},"computation_time_ms":{:.3f}}})",
                                        results, groups, span_json(rows.front().covered()), took.count()));
}

} // namespace qsketch_server
