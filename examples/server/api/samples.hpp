#pragma once

#include "application.hpp"
#include "domain/sample_batch.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "http/request.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What the endpoints of samples (families B and D) have in common.
namespace qsketch_server {

inline constexpr std::size_t max_tag_name_bytes = 64;

/// What is wrong with a text that is required, or nothing.
[[nodiscard]] inline std::optional<problem> text_problem(std::string_view name, const json_value& value) {
    if (value.is == json_value::kind::text) return {};
    return problem{std::string(name), value.absent() ? "is required" : "must be a string, got " + value.shown()};
}

/// What is wrong with a number that is required, or nothing.
[[nodiscard]] inline std::optional<problem> number_problem(std::string_view name, const json_value& value) {
    if (value.is == json_value::kind::integer || value.is == json_value::kind::number) return {};
    return problem{std::string(name), value.absent() ? "is required" : "must be a finite number, got " + value.shown()};
}

/// What is wrong with a key of family B, or nothing.
[[nodiscard]] inline std::optional<problem> key_problem(std::string_view key) {
    constexpr std::size_t most = 256;
    if (!key.empty() && key.size() <= most && is_utf8(key) && !has_control_characters(key)) return {};
    return problem{
        "key", fmt::format("must be 1 to {} bytes of UTF-8 without control characters, got {}", most, in_quotes(key))};
}

/// What `query`, a member of sample_table, says of the samples of a key in ?window=. Throws not_found.
template <class Answer>
[[nodiscard]] Answer samples_of(application& app, const request& rq, const std::string& key,
                                std::optional<Answer> (sample_table::*query)(std::string_view, std::chrono::seconds,
                                                                             instant)) {
    if (auto wrong = key_problem(key)) throw invalid_fields(*std::move(wrong));
    const std::chrono::seconds length(
        whole_number("window", rq.required("window"), 1, app.opts.window_retention.count()));
    auto found = (app.samples.*query)(key, length, app.now());
    if (!found) throw not_found("Key not found");
    return *std::move(found);
}

/// What is wrong with the name of a metric, or nothing.
[[nodiscard]] inline std::optional<problem> metric_problem(std::string_view field, std::string_view name) {
    constexpr std::size_t most = 256;
    if (is_plain_name(name, most)) return {};
    return problem{
        std::string(field),
        fmt::format("must be 1 to {} of the characters a-z, A-Z, 0-9, _, . and -, got {}", most, in_quotes(name))};
}

[[nodiscard]] inline std::string no_room(const application& app) {
    return fmt::format("no room for another series: --max-series={} are held", app.opts.max_series);
}

/// The changes that `stage` makes of the batch. The samples of series there is no room for become rejected lines.
/// Throws too_many_series where that is no batch.
template <class Stage>
[[nodiscard]] changes staged(const application& app, sample_batch&& samples, event_report& report,
                             std::string_view field, const Stage& stage) {
    changes out;
    if (samples.size() == 0) return out;
    const auto batch = std::make_shared<sample_batch>(std::move(samples));
    batch->group_by_series();
    const std::vector<std::size_t> refused = stage(out, batch);
    if (!refused.empty() && !report.batch) throw too_many_series(no_room(app));
    for (const std::size_t group : refused)
        for (const std::uint32_t line : (*batch)[group].lines) {
            --report.accepted;
            report.reject(line, {std::string(field), no_room(app)});
        }
    if (refused.size() == batch->size()) return {};
    return out;
}

} // namespace qsketch_server
