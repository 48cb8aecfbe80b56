#include "api/samples.hpp"
#include "application.hpp"
#include "domain/text.hpp"
#include "http/events.hpp"
#include "http/lists.hpp"
#include "routes.hpp"

#include <qsketch/detail/endian.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>

// Family D: what writes tagged metrics, and their average.
namespace qsketch_server {
namespace {

constexpr std::size_t max_tags = 16;
constexpr std::size_t max_tag_value_bytes = 256;
constexpr std::uint64_t partitions = 64; // what POST /insert tells is a number below this

[[nodiscard]] std::optional<problem> tag_problem(std::string_view name, const json_value& value) {
    if (!is_plain_name(name, max_tag_name_bytes))
        return problem{"tags", fmt::format("must have names of 1 to {} of the characters a-z, A-Z, 0-9, _, . and -, "
                                           "got {}",
                                           max_tag_name_bytes, in_quotes(name))};
    if (value.is == json_value::kind::text && !value.text.empty() && value.text.size() <= max_tag_value_bytes &&
        !has_control_characters(value.text))
        return {};
    return problem{"tags." + std::string(name), fmt::format("must be a string of 1 to {} bytes without control "
                                                            "characters, got {}",
                                                            max_tag_value_bytes, value.shown())};
}

/// Puts the name of the series into `out`: that of the metric and its tags, as metric_id::name() does.
class series_name {
public:
    [[nodiscard]] std::optional<problem> read(std::string_view metric, const json_value& tags, std::string& out) {
        size_ = 0;
        if (!tags.absent()) {
            if (tags.is != json_value::kind::object) return problem{"tags", "must be an object, got " + tags.shown()};
            auto wrong = visit_inside(
                "tags", tags, [this](std::string_view name, const json_value& value) { return take(name, value); });
            if (wrong) return wrong;
        }
        std::sort(tags_.begin(), tags_.begin() + size_);
        out.assign(metric) += '\0';
        for (std::size_t i = 0; i < size_; ++i) {
            out.append(tags_[i].first) += '\0';
            out.append(tags_[i].second) += '\0';
        }
        return {};
    }

private:
    [[nodiscard]] std::optional<problem> take(std::string_view name, const json_value& value) {
        if (auto wrong = tag_problem(name, value)) return wrong;
        if (size_ == max_tags) return problem{"tags", fmt::format("must be at most {}", max_tags)};
        tags_[size_++] = {name, value.text};
        return {};
    }

    std::array<std::pair<std::string_view, std::string_view>, max_tags> tags_;
    std::size_t size_ = 0;
};

[[nodiscard]] event_report read_metrics(application& app, const request& rq, sample_batch& batch) {
    static constexpr std::array<std::string_view, 4> names = {"key", "value", "timestamp", "tags"};
    const acceptable_times times = app.metric_times();
    const instant now = app.now();
    series_name name;
    std::string series;
    return read_events(rq, names,
                       [&](std::uint64_t line, std::span<const json_value> fields) -> std::optional<problem> {
                           if (auto wrong = text_problem("key", fields[0])) return wrong;
                           if (auto wrong = metric_problem("key", fields[0].text)) return wrong;
                           if (auto wrong = number_problem("value", fields[1])) return wrong;
                           instant at = now;
                           if (!fields[2].absent())
                               if (auto wrong = read_time("timestamp", fields[2], times, at)) return wrong;
                           if (auto wrong = name.read(fields[0].text, fields[3], series)) return wrong;
                           batch.add(line, series, at, fields[1].number);
                           return {};
                       });
}

[[nodiscard]] event_report read_inserts(application& app, const request& rq, sample_batch& batch) {
    static constexpr std::array<std::string_view, 4> names = {"partition_key", "value", "timestamp", "metadata"};
    const acceptable_times times = app.metric_times();
    const instant now = app.now();
    return read_events(rq, names,
                       [&](std::uint64_t line, std::span<const json_value> fields) -> std::optional<problem> {
                           if (auto wrong = text_problem("partition_key", fields[0])) return wrong;
                           if (auto wrong = metric_problem("partition_key", fields[0].text)) return wrong;
                           if (auto wrong = number_problem("value", fields[1])) return wrong;
                           instant at = now;
                           if (!fields[2].absent())
                               if (auto wrong = read_time("timestamp", fields[2], times, at)) return wrong;
                           if (!fields[3].absent() && fields[3].is != json_value::kind::object)
                               return problem{"metadata", "must be an object, got " + fields[3].shown()};
                           batch.add(line, metric_id{std::string(fields[0].text), {}}.name(), at, fields[1].number);
                           return {};
                       });
}

/// Records of u64 length, key, f64 value, little-endian. A record counts as a line; where one is cut off there is no
/// telling what comes behind it.
[[nodiscard]] event_report read_binary_inserts(application& app, const request& rq, sample_batch& batch) {
    const instant now = app.now();
    event_report report;
    report.batch = true;
    std::string_view rest = rq.body;
    if (rest.empty()) throw malformed_request("the body is empty");
    for (std::uint64_t number = 1; !rest.empty(); ++number) {
        const auto word = [&](std::size_t at) {
            return qsketch::detail::load_little_endian<std::uint64_t>(rest.data() + at);
        };
        if (rest.size() < 16 || word(0) > rest.size() - 16) {
            report.reject(number, {"record", rest.size() < 8
                                                 ? fmt::format("is cut off after {} bytes", rest.size())
                                                 : fmt::format("announces a key of {} bytes, with {} bytes left for it "
                                                               "and the value",
                                                               word(0), rest.size() - 8)});
            break;
        }
        const auto length = static_cast<std::size_t>(word(0));
        const std::string_view key = rest.substr(8, length);
        const auto value = std::bit_cast<double>(word(8 + length));
        rest.remove_prefix(16 + length);
        if (auto wrong = metric_problem("key", key)) {
            report.reject(number, *wrong);
        } else if (!std::isfinite(value)) {
            report.reject(number, {"value", fmt::format("must be a finite number, got {}", value)});
        } else {
            batch.add(number, metric_id{std::string(key), {}}.name(), now, value);
            ++report.accepted;
        }
    }
    return report;
}

/// "1.2GB", as a person would say it.
[[nodiscard]] std::string size_text(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 5> units = {"B", "KB", "MB", "GB", "TB"};
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (size >= 999.95 && unit + 1 < units.size()) {
        size /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.1f}{}", size, units[unit]);
}

[[nodiscard]] std::string insert_fields(const application& app, std::string_view first_series) {
    const std::string_view key = first_series.substr(0, first_series.find('\0'));
    return fmt::format(R"("success":true,"partition":{},"storage_size":"{}")", qsketch::hash()(key) % partitions,
                       size_text(app.rows.now().bytes));
}

} // namespace

answer post_metrics(application& app, const request& rq) {
    sample_batch batch(app.names);
    event_report report = read_metrics(app, rq, batch);
    changes added = staged(app, std::move(batch), report, "key",
                           [&](changes& to, const auto& samples) { return app.metrics.table().stage(to, samples); });
    if (report.accepted > 0) added.then([&app, n = report.accepted] { app.ingested.metrics += n; });
    app.commit(rq, std::move(added));
    if (report.batch) return report.to_answer();
    return json_answer(200, fmt::format(R"({{"success":true,"message":"Metric inserted successfully",)"
                                        R"("worker_node":{}}})",
                                        json_string(app.opts.node_id)));
}

answer post_insert(application& app, const request& rq) {
    const bool binary = rq.content_type == "application/octet-stream";
    sample_batch batch(app.names);
    event_report report = binary ? read_binary_inserts(app, rq, batch) : read_inserts(app, rq, batch);
    const std::string first(batch.size() > 0 ? batch.name(0) : std::string_view());
    changes added = staged(app, std::move(batch), report, binary ? "key" : "partition_key",
                           [&](changes& to, const auto& samples) { return app.metrics.stage_inserts(to, samples); });
    if (report.accepted > 0) added.then([&app, n = report.accepted] { app.ingested.metrics += n; });
    app.commit(rq, std::move(added));
    if (!report.batch) return json_answer(200, "{" + insert_fields(app, first) + "}");
    answer out = report.to_answer();
    if (binary) out.body.insert(1, (report.accepted > 0 ? insert_fields(app, first) : R"("success":false)") + ",");
    return out;
}

answer get_average(application& app, const request& rq) {
    const double average = app.metrics.average().average();
    if (!rq.accepts("application/octet-stream"))
        return json_answer(200, fmt::format(R"({{"average":{},"is_partial":false,"total_nodes":1,)"
                                            R"("responding_nodes":1}})",
                                            json_number(average)));
    if (!std::isfinite(average)) return empty_answer(204);
    std::string bytes(sizeof average, '\0');
    qsketch::detail::store_little_endian(bytes.data(), std::bit_cast<std::uint64_t>(average));
    return {200, "application/octet-stream", std::move(bytes), {}};
}

} // namespace qsketch_server
