#include "api/samples.hpp"
#include "application.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "http/lists.hpp"
#include "routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

// Family B: quantiles over sliding windows.
namespace qsketch_server {
namespace {

constexpr std::size_t max_quantiles = 100;
constexpr std::int64_t most_top = 100;

[[nodiscard]] event_report read_samples(application& app, const request& rq, sample_batch& batch) {
    static constexpr std::array<std::string_view, 3> names = {"key", "value", "timestamp"};
    const acceptable_times times = app.sample_times();
    const instant now = app.now();
    return read_events(rq, names,
                       [&](std::uint64_t line, std::span<const json_value> fields) -> std::optional<problem> {
                           const json_value& key = fields[0];
                           if (auto wrong = text_problem("key", key)) return wrong;
                           if (auto wrong = key_problem(key.text)) return wrong;
                           if (auto wrong = number_problem("value", fields[1])) return wrong;
                           instant at = now;
                           if (!fields[2].absent())
                               if (auto wrong = read_time("timestamp", fields[2], times, at)) return wrong;
                           batch.add(line, key.text, at, fields[1].number);
                           return {};
                       });
}

/// Throws the sentence that family B's clients know, if one of the parameters is missing.
void require(const request& rq, std::initializer_list<std::string_view> names) {
    std::vector<problem> missing;
    for (const std::string_view name : names)
        if (rq.parameter(name) == nullptr) missing.push_back({std::string(name), "is required"});
    if (missing.empty()) return;
    std::string sentence = "Missing";
    for (const std::string_view* name = names.begin(); name != names.end(); ++name)
        sentence.append(name == names.begin() ? " " : name + 1 == names.end() ? " or " : ", ").append(*name);
    throw invalid_fields(sentence, std::move(missing));
}

/// The samples of ?key=&window=.
[[nodiscard]] sample_table::answer window_of(application& app, const request& rq) {
    return samples_of(app, rq, rq.required("key"), &sample_table::query);
}
[[nodiscard]] value_frequencies frequencies_of(application& app, const request& rq) {
    return samples_of(app, rq, rq.required("key"), &sample_table::frequencies);
}

struct quantile_list {
    std::vector<std::string> names; ///< As the client wrote them.
    std::vector<double> values;
};

[[nodiscard]] quantile_list quantiles_of(const request& rq) {
    quantile_list out;
    for (const std::string_view name : comma_separated(rq.required("q"))) {
        const double q = finite_number("q", name);
        if (!(q >= 0 && q <= 1)) throw invalid_fields(problem{"q", "must be from 0 to 1, got " + in_quotes(name)});
        if (std::find(out.names.begin(), out.names.end(), name) != out.names.end()) continue;
        if (out.names.size() == max_quantiles)
            throw invalid_fields(problem{"q", fmt::format("must be at most {} quantiles", max_quantiles)});
        out.names.emplace_back(name);
        out.values.push_back(q);
    }
    return out;
}

[[nodiscard]] bool detail_of(const request& rq) {
    const std::string* const detail = rq.parameter("detail");
    if (detail == nullptr || *detail == "0") return false;
    if (*detail == "1") return true;
    throw invalid_fields(problem{"detail", "must be 0 or 1, got " + in_quotes(*detail)});
}

/// `,"count":n`, and with &detail=1 what else is known of the window.
[[nodiscard]] std::string count_json(const sample_table::answer& window, bool detail) {
    std::string out = fmt::format(R"(,"count":{})", window.digest.count());
    if (detail)
        out += fmt::format(R"(,"covered":{{"from":"{}","to":"{}"}},"min":{},"max":{})", iso_time(window.from),
                           iso_time(window.to), json_number(window.digest.min()), json_number(window.digest.max()));
    return out;
}

} // namespace

answer post_samples(application& app, const request& rq) {
    sample_batch batch(app.names);
    event_report report = read_samples(app, rq, batch);
    changes added = staged(app, std::move(batch), report, "key",
                           [&](changes& to, const auto& samples) { return app.samples.stage(to, samples); });
    if (report.accepted > 0) added.then([&app, n = report.accepted] { app.ingested.samples += n; });
    return app.acknowledged(rq, std::move(added),
                            report.batch ? report.to_answer()
                                         : json_answer(200, fmt::format(R"({{"ack":true,"ingestedAt":{}}})",
                                                                        app.now().time_since_epoch().count())));
}

answer get_quantile(application& app, const request& rq) {
    require(rq, {"key", "q", "window"});
    const quantile_list qs = quantiles_of(rq);
    const bool detail = detail_of(rq);
    const sample_table::answer window = window_of(app, rq);
    std::vector<double> estimates(qs.values.size());
    window.digest.quantiles(qs.values, estimates);
    const std::string count = count_json(window, detail);
    if (rq.required("q").find(',') == std::string::npos)
        return json_answer(200, fmt::format(R"({{"estimate":{}{}}})", json_number(estimates[0]), count));
    std::string list;
    for (std::size_t i = 0; i < estimates.size(); ++i)
        list += fmt::format("{}{}:{}", i == 0 ? "" : ",", json_string(qs.names[i]), json_number(estimates[i]));
    return json_answer(200, fmt::format(R"({{"estimates":{{{}}}{}}})", list, count));
}

answer get_cdf(application& app, const request& rq) {
    require(rq, {"key", "value", "window"});
    const double value = finite_number("value", rq.required("value"));
    const bool detail = detail_of(rq);
    const sample_table::answer window = window_of(app, rq);
    return json_answer(
        200, fmt::format(R"({{"rank":{}{}}})", json_number(window.digest.cdf(value)), count_json(window, detail)));
}

answer get_frequency(application& app, const request& rq) {
    require(rq, {"key", "value", "window"});
    const double value = finite_number("value", rq.required("value"));
    const value_frequencies values = frequencies_of(app, rq);
    const std::uint64_t estimate = values.upper(value); // as Count-Min's: never below the truth
    return json_answer(200, fmt::format(R"({{"estimate":{},"error_bound":{},"confidence":0.99}})", estimate,
                                        estimate - values.lower(value)));
}

answer get_topk(application& app, const request& rq) {
    require(rq, {"key", "window"});
    const std::string* const k = rq.parameter("k");
    const std::int64_t wanted = k == nullptr ? 10 : whole_number("k", *k, 1, most_top);
    const value_frequencies values = frequencies_of(app, rq);
    auto items = values.items();
    items.resize((std::min)(items.size(), static_cast<std::size_t>(wanted)));
    std::string list;
    for (const auto& item : items)
        list += fmt::format(R"({}{{"value":{},"lower":{},"upper":{}}})", list.empty() ? "" : ",", json_number(item.key),
                            item.lower, item.upper);
    return json_answer(200, fmt::format(R"({{"topk":[{}],"count":{}}})", list, values.count()));
}

answer get_keys(application& app, const request& rq) {
    const std::string* const limit = rq.parameter("limit");
    const std::string* const prefix = rq.parameter("prefix");
    const std::string* const after = rq.parameter("after");
    const auto wanted = static_cast<std::size_t>(limit == nullptr ? 100 : whole_number("limit", *limit, 1, 10000));
    auto keys = app.samples.names(prefix ? *prefix : "", after ? *after : "", wanted + 1);
    const bool more = keys.size() > wanted;
    if (more) keys.pop_back();
    std::string list;
    for (const std::string& key : keys) list += (list.empty() ? "" : ",") + json_string(key);
    return json_answer(200,
                       fmt::format(R"({{"keys":[{}],"next":{}}})", list, more ? json_string(keys.back()) : "null"));
}

answer delete_key(application& app, const request& rq) {
    if (auto wrong = key_problem(rq.path_rest)) throw invalid_fields(*std::move(wrong));
    changes erased;
    if (!app.samples.stage_erase(erased, rq.path_rest)) throw not_found("Key not found");
    app.commit(rq, std::move(erased));
    return empty_answer(204);
}

} // namespace qsketch_server
