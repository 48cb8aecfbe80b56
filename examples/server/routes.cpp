#include "routes.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>

namespace qsketch_server {
namespace {

constexpr auto envelope = error_style::envelope;
constexpr auto sentence = error_style::sentence;

using enum asker;
using enum pace;
using enum scope;

constexpr route all_routes[] = {
    {"POST", "/analytics", post_analytics, envelope, write, client, quick,
     "Counts one click or impression, or a batch of them"},
    {"GET", "/analytics", get_analytics, envelope, read, client, slow,
     "Unique users, clicks and impressions of the slice that holds a time"},
    {"GET", "/analytics/perworker", get_per_worker, envelope, read, client, slow, "The same, node by node"},
    {"GET", "/analytics/allslices", get_all_slices, envelope, read, client, slow,
     "The same for every known slice, oldest first"},
    {"POST", "/worker", post_worker, envelope, write, node, slow, "Counts one click or impression in a slice"},
    {"GET", "/worker", get_worker, envelope, read, node, slow, "Unique users, clicks and impressions of a slice"},
    {"GET", "/workers", get_worker, envelope, read, node, slow, "The same on all nodes"},
    {"POST", "/samples", post_samples, sentence, write, client, quick, "Takes one sample or a batch of them"},
    {"GET", "/quantile", get_quantile, sentence, read, client, slow, "Quantiles of the samples in a window"},
    {"GET", "/cdf", get_cdf, sentence, read, client, slow,
     "Share of the samples in a window that do not exceed a value"},
    {"GET", "/frequency", get_frequency, sentence, read, client, slow, "How often a value came in a window"},
    {"GET", "/topk", get_topk, sentence, read, client, slow, "The most frequent values in a window"},
    {"GET", "/keys", get_keys, sentence, read, client, slow, "Known keys, page by page"},
    {"DELETE", "/keys/{key}", delete_key, sentence, admin, client, slow, "Forgets a key and its samples"},
    {"POST", "/api/traffic", post_views, envelope, write, client, slow,
     "Writes page views that bring their request_id"},
    {"POST", "/api/traffic/{request_id}", post_view, envelope, write, client, slow, "Writes one page view, or again"},
    {"PUT", "/api/traffic/{request_id}", put_view, envelope, write, client, slow, "Replaces one page view"},
    {"GET", "/api/traffic/daily/{user_id}", get_daily_pages, envelope, read, client, slow,
     "How often a user viewed which page in the last 24 hours"},
    {"GET", "/api/traffic/pages", get_pages, envelope, read, client, slow,
     "The most viewed pages and the visitors of a window"},
    {"POST", "/metrics", post_metrics, envelope, write, client, slow,
     "Takes one value of a tagged metric or a batch of them"},
    {"POST", "/insert", post_insert, envelope, write, node, slow,
     "Takes one value by its partition key or a batch of them"},
    {"GET", "/aggregate", get_aggregate, envelope, read, client, slow, "Figures of a metric, by group and by window"},
    {"POST", "/compute", post_compute, envelope, read, node, slow,
     "Figures of a metric as this node has it, or the average of all inserts"},
    {"GET", "/v1/sketches/{key}", get_sketch, envelope, read, client, slow,
     "The t-digest of the samples in a window, as bytes"},
    {"PUT", "/v1/sketches/{key}/merge", put_sketch, envelope, write, client, slow,
     "Merges a t-digest into the samples of a key"},
    {"GET", "/health", get_health, envelope, open, client, quick, "State of this node, for people"},
    {"GET", "/metrics", get_metrics_page, envelope, read, client, slow, "State of this node, for Prometheus"},
    {"GET", "/livez", get_livez, envelope, open, client, quick, "200 while the process runs"},
    {"GET", "/readyz", get_readyz, envelope, open, client, quick, "200 while requests are taken"},
    {"GET", "/openapi.yaml", get_openapi, envelope, read, client, slow, "This interface, for programs"},
    {"GET", "/", get_page, envelope, open, client, slow, "A page that shows what the others answer"},
};

/// Whether the path fits, and what its {…} stands for.
[[nodiscard]] std::optional<std::string_view> match(std::string_view pattern, std::string_view path) noexcept {
    const std::size_t brace = pattern.find('{');
    if (brace == pattern.npos) return pattern == path ? std::optional(std::string_view()) : std::nullopt;
    const std::string_view before = pattern.substr(0, brace);
    const std::string_view behind = pattern.substr(pattern.find('}') + 1);
    if (path.size() <= before.size() + behind.size() || !path.starts_with(before) || !path.ends_with(behind)) return {};
    return path.substr(brace, path.size() - before.size() - behind.size());
}

[[nodiscard]] bool matches(std::string_view pattern, std::string_view path) noexcept {
    return match(pattern, path).has_value();
}

} // namespace

std::span<const route> routes() noexcept { return all_routes; }

const route* row_of(std::string_view method, std::string_view path) noexcept {
    if (method == "HEAD") method = "GET";
    const auto row = std::find_if(std::begin(all_routes), std::end(all_routes),
                                  [&](const route& r) { return r.method == method && matches(r.pattern, path); });
    return row == std::end(all_routes) ? nullptr : row;
}

std::string_view rest_of(const route& row, std::string_view path) noexcept {
    return match(row.pattern, path).value_or(std::string_view());
}

std::string allowed_at(std::string_view path) {
    std::string out;
    for (const route& r : all_routes) {
        if (!matches(r.pattern, path) && path != "*") continue;
        if (out.find(r.method) == out.npos) out.append(r.method).append(r.method == "GET" ? ", HEAD, " : ", ");
    }
    return out.empty() ? out : out + "OPTIONS";
}

error_style error_style_at(std::string_view path) noexcept {
    const auto row = std::find_if(std::begin(all_routes), std::end(all_routes),
                                  [&](const route& r) { return matches(r.pattern, path); });
    return row == std::end(all_routes) ? envelope : row->errors;
}

} // namespace qsketch_server
