#include "application.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

// Family A: hourly audience counts.
namespace qsketch_server {
namespace {

constexpr std::size_t max_user_bytes = 1024;

[[nodiscard]] std::optional<problem> user_problem(std::string_view user) {
    if (!user.empty() && user.size() <= max_user_bytes && is_utf8(user)) return {};
    return problem{"user", fmt::format("must be 1 to {} bytes of UTF-8, got {}", max_user_bytes, in_quotes(user))};
}

/// What ?…&click or ?…&impression says.
[[nodiscard]] bool is_click(const request& rq) {
    const std::string* const click = rq.parameter("click");
    const std::string* const impression = rq.parameter("impression");
    if ((click == nullptr) == (impression == nullptr))
        throw invalid_fields(problem{"click", fmt::format("exactly one of click and impression must be given, got {}",
                                                          click ? "both" : "neither")});
    if (const std::string& value = click ? *click : *impression; !value.empty())
        throw invalid_fields(problem{click ? "click" : "impression", "takes no value, got " + in_quotes(value)});
    return click != nullptr;
}

[[nodiscard]] visit visit_of(application& app, const request& rq, std::int64_t slice) {
    const std::string& user = rq.required("user");
    if (auto wrong = user_problem(user)) throw invalid_fields(*std::move(wrong));
    return {slice, app.audience.pseudonym(slice, user), is_click(rq)};
}

[[nodiscard]] std::int64_t slice_of_time(application& app, const request& rq, bool counting) {
    return app.slices().slice_of(time_in("timestamp", rq.required("timestamp"), app.audience_times(counting)));
}

[[nodiscard]] std::int64_t slice_of_id(application& app, const request& rq, bool counting) {
    const acceptable_times times = app.audience_times(counting);
    const std::int64_t oldest = app.slices().slice_of(times.oldest);
    const std::string& text = rq.required("slice");
    const auto slice = number_of<std::int64_t>(text);
    if (!slice || *slice >= oldest) return whole_number("slice", text, oldest, app.slices().slice_of(times.newest));
    if (times.too_old_count != nullptr) ++*times.too_old_count;
    throw invalid_fields(problem{
        "slice", fmt::format("must not be older than {} allows ({}), got {}", times.retention, oldest, *slice)});
}

/// The visits of a body, and what was wrong with the others.
[[nodiscard]] event_report read_visits(application& app, const request& rq, std::vector<visit>& visits) {
    static constexpr std::array<std::string_view, 3> names = {"timestamp", "user", "type"};
    const acceptable_times times = app.audience_times(true);
    const slicing slices = app.slices();
    std::int64_t latest = slices.slice_of(times.newest); // visits of one slice often come in a row
    qsketch::sip_hash pseudonym = app.audience.pseudonyms(latest);
    return read_events(rq, names, [&](std::uint64_t, std::span<const json_value> fields) -> std::optional<problem> {
        const json_value& user = fields[1];
        const json_value& type = fields[2];
        instant at;
        if (auto wrong = read_time("timestamp", fields[0], times, at)) return wrong;
        if (user.is != json_value::kind::text)
            return problem{"user", user.absent() ? "is required" : "must be a string, got " + user.shown()};
        if (auto wrong = user_problem(user.text)) return wrong;
        if (type.is != json_value::kind::text || (type.text != "click" && type.text != "impression"))
            return problem{"type",
                           type.absent() ? "is required" : R"(must be "click" or "impression", got )" + type.shown()};
        const std::int64_t slice = slices.slice_of(at);
        if (slice != latest) pseudonym = app.audience.pseudonyms(latest = slice);
        visits.push_back({slice, pseudonym(user.text), type.text == "click"});
        return {};
    });
}

[[nodiscard]] changes counted(application& app, std::span<visit> visits) {
    changes out;
    app.audience.stage(visits, out);
    if (!visits.empty()) out.then([&app, n = visits.size()] { app.ingested.visits += n; });
    return out;
}

[[nodiscard]] std::string figures_text(const slice_figures& f) {
    return fmt::format("unique_users,{}\nclicks,{}\nimpressions,{}\n", std::llround(f.unique_users), f.clicks,
                       f.impressions);
}

/// The bounds as whole users, which is what there are; the thousandth takes up what the estimator leaves of rounding.
[[nodiscard]] long long least_users(const slice_figures& f) {
    return (std::min)(std::llround(std::ceil(f.unique_users_lower - 1e-3)), std::llround(f.unique_users));
}
[[nodiscard]] long long most_users(const slice_figures& f) {
    return (std::max)(std::llround(std::floor(f.unique_users_upper + 1e-3)), std::llround(f.unique_users));
}

[[nodiscard]] std::string figures_json(const slicing& slices, const slice_figures& f) {
    return fmt::format(R"({{"slice":{},"start":"{}","unique_users":{},"unique_users_lower":{},"unique_users_upper":{},)"
                       R"("clicks":{},"impressions":{}}})",
                       f.slice, iso_time(slices.start_of(f.slice)), std::llround(f.unique_users), least_users(f),
                       most_users(f), f.clicks, f.impressions);
}

[[nodiscard]] answer figures_answer(const application& app, const request& rq, const slice_figures& f,
                                    int status = 200) {
    return rq.wants_json() ? json_answer(status, figures_json(app.slices(), f)) : text_answer(status, figures_text(f));
}

} // namespace

answer post_analytics(application& app, const request& rq) {
    for (const std::string_view name : {"timestamp", "user", "click", "impression"}) {
        if (rq.parameter(name) == nullptr) continue;
        if (!rq.body.empty()) throw malformed_request("the event is either in the query or in the body, not in both");
        visit one = visit_of(app, rq, slice_of_time(app, rq, true));
        return app.acknowledged(rq, counted(app, {&one, 1}), empty_answer(202));
    }
    std::vector<visit> visits;
    const event_report report = read_visits(app, rq, visits);
    return app.acknowledged(rq, counted(app, visits), report.batch ? report.to_answer() : empty_answer(202));
}

answer get_analytics(application& app, const request& rq) {
    if (rq.parameter("timestamp") == nullptr) return get_average(app, rq);
    const std::int64_t slice = slice_of_time(app, rq, false);
    return figures_answer(app, rq, app.audience.figures(slice));
}

answer get_per_worker(application& app, const request& rq) {
    const std::int64_t slice = slice_of_time(app, rq, false);
    const slice_figures f = app.audience.figures(slice);
    if (!rq.wants_json()) return text_answer(200, fmt::format("node,{}\n{}", app.opts.node_id, figures_text(f)));
    return json_answer(200, fmt::format(R"({{"nodes":[{{"node":{},"figures":{}}}]}})", json_string(app.opts.node_id),
                                        figures_json(app.slices(), f)));
}

answer get_all_slices(application& app, const request& rq) {
    if (rq.parameter("timestamp") != nullptr) (void)slice_of_time(app, rq, false);
    const std::vector<slice_figures> all = app.audience.all();
    const slicing slices = app.slices();
    std::string text;
    std::string json;
    for (const slice_figures& f : all) {
        if (rq.wants_json())
            json += (json.empty() ? "" : ",") + figures_json(slices, f);
        else
            text += fmt::format("slice,{},{}\n{}", f.slice, iso_time(slices.start_of(f.slice)), figures_text(f));
    }
    return rq.wants_json() ? json_answer(200, fmt::format(R"({{"slices":[{}]}})", json))
                           : text_answer(200, std::move(text));
}

answer post_worker(application& app, const request& rq) {
    visit one = visit_of(app, rq, slice_of_id(app, rq, true));
    app.commit(rq, counted(app, {&one, 1}));
    return figures_answer(app, rq, app.audience.figures(one.slice), 202);
}

answer get_worker(application& app, const request& rq) {
    const std::int64_t slice = slice_of_id(app, rq, false);
    return figures_answer(app, rq, app.audience.figures(slice));
}

} // namespace qsketch_server
