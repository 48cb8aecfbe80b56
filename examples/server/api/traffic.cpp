#include "application.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

// Family C: page traffic.
namespace qsketch_server {
namespace {

constexpr std::size_t max_url_bytes = 2048;
constexpr std::string_view request_id_rule = "must be a whole number from 0 to 18446744073709551615";
constexpr std::string_view user_id_rule = "must be a whole number from 0 to 4294967295";

/// The number that the end of the path is.
template <std::unsigned_integral T>
[[nodiscard]] T path_number(const request& rq, std::string_view field, std::string_view rule) {
    if (const auto n = number_of<T>(rq.path_rest)) return *n;
    throw invalid_fields(problem{std::string(field), fmt::format("{}, got {}", rule, in_quotes(rq.path_rest))});
}

[[nodiscard]] std::uint64_t path_id(const request& rq) {
    return path_number<std::uint64_t>(rq, "request_id", request_id_rule);
}

[[nodiscard]] std::optional<problem> read_view(std::span<const json_value> fields, const acceptable_times& times,
                                               std::optional<std::uint64_t> id, page_view& out) {
    const json_value& user = fields[0];
    const json_value& url = fields[2];
    const json_value& own_id = fields[3];
    const auto wrong = [](std::string_view name, const json_value& value, std::string_view rule) {
        return problem{std::string(name),
                       value.absent() ? "is required" : fmt::format("{}, got {}", rule, value.shown())};
    };
    // As text too: many clients have no integers beyond 2^53.
    if (!own_id.absent())
        id = own_id.is == json_value::kind::text ? number_of<std::uint64_t>(own_id.text) : own_id.whole;
    if (!id) return wrong("request_id", own_id, request_id_rule);
    if (!user.whole || *user.whole > 0xffff'ffff) return wrong("user_id", user, user_id_rule);
    if (auto late = read_time("created_at", fields[1], times, out.at)) return late;
    if (url.is != json_value::kind::text || url.text.empty() || url.text.size() > max_url_bytes)
        return wrong("page_url", url, fmt::format("must be a string of 1 to {} bytes", max_url_bytes));
    out.request_id = *id;
    out.user = static_cast<std::uint32_t>(*user.whole);
    out.url = url.text;
    return {};
}

/// The views of a body; those that name no request_id have `id`.
[[nodiscard]] event_report read_views(application& app, const request& rq, std::optional<std::uint64_t> id,
                                      std::vector<page_view>& views) {
    static constexpr std::array<std::string_view, 4> names = {"user_id", "created_at", "page_url", "request_id"};
    const acceptable_times times = app.view_times();
    event_report report =
        read_events(rq, names, [&](std::uint64_t, std::span<const json_value> fields) -> std::optional<problem> {
            page_view view;
            if (auto wrong = read_view(fields, times, id, view)) return wrong;
            views.push_back(std::move(view));
            return {};
        });
    if (!report.batch && id && views[0].request_id != *id)
        throw invalid_fields(problem{
            "request_id", fmt::format("must be that of the path, {}, or left out, got {}", *id, views[0].request_id)});
    return report;
}

[[nodiscard]] answer id_answer(int status, std::uint64_t id) {
    return json_answer(status, fmt::format(R"({{"request_id":{}}})", id));
}

[[nodiscard]] answer post(application& app, const request& rq, std::optional<std::uint64_t> id) {
    std::vector<page_view> views;
    const event_report report = read_views(app, rq, id, views);
    if (views.empty()) return report.to_answer();
    changes what;
    const std::size_t replaced = app.traffic.put(views, what);
    app.commit(rq, std::move(what));
    app.ingested.views += report.accepted;
    return report.batch ? report.to_answer() : id_answer(replaced > 0 ? 200 : 201, views[0].request_id);
}

} // namespace

answer post_views(application& app, const request& rq) { return post(app, rq, {}); }

answer post_view(application& app, const request& rq) { return post(app, rq, path_id(rq)); }

answer put_view(application& app, const request& rq) {
    const std::uint64_t id = path_id(rq);
    std::vector<page_view> views;
    if (read_views(app, rq, id, views).batch) throw malformed_request("PUT takes one view; POST takes many");
    changes what;
    if (!app.traffic.replace(views[0], what)) throw not_found(fmt::format("there is no view with request_id {}", id));
    app.commit(rq, std::move(what));
    ++app.ingested.views;
    return id_answer(200, id);
}

answer get_daily_pages(application& app, const request& rq) {
    const auto user = path_number<std::uint32_t>(rq, "user_id", user_id_rule);
    const instant now = app.now();
    std::string list;
    for (const auto& [url, count] : app.traffic.pages_of_user(user, now - std::chrono::hours(24), now + view_tolerance))
        list += fmt::format("{}{}:{}", list.empty() ? "" : ",", json_string(url), count);
    return json_answer(200, fmt::format("{{{}}}", list));
}

answer get_pages(application& app, const request& rq) {
    const std::string* const k = rq.parameter("k");
    const std::string* const window = rq.parameter("window");
    const std::int64_t wanted = k == nullptr ? 10 : whole_number("k", *k, 1, page_sketch::top_size);
    const std::int64_t longest = app.opts.window_retention.count();
    const std::chrono::seconds length(window == nullptr ? (std::min)(std::int64_t{3600}, longest)
                                                        : whole_number("window", *window, 1, longest));
    const page_window found = app.traffic.window(length, app.now());
    auto items = found.pages.pages().items();
    items.resize((std::min)(items.size(), static_cast<std::size_t>(wanted)));
    std::string list;
    for (const auto& item : items)
        list += fmt::format(R"({}{{"page_url":{},"lower":{},"upper":{}}})", list.empty() ? "" : ",",
                            json_string(item.key), item.lower, item.upper);
    const auto& visitors = found.pages.visitors();
    return json_answer(200,
                       fmt::format(R"({{"pages":[{}],"views":{},"unique_visitors":{},"unique_visitors_lower":{},)"
                                   R"("unique_visitors_upper":{},"covered":{{"from":"{}","to":"{}"}}}})",
                                   list, found.pages.pages().total(), std::llround(visitors.estimate()),
                                   std::llround(visitors.lower_bound(1.96)), std::llround(visitors.upper_bound(1.96)),
                                   iso_time(found.from), iso_time(found.to)));
}

} // namespace qsketch_server
