#include "routes.hpp"

#include <algorithm>
#include <iterator>

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
    {"GET", "/analytics", get_analytics, envelope, read, client, quick,
     "Unique users, clicks and impressions of the slice that holds a time"},
    {"GET", "/analytics/perworker", get_per_worker, envelope, read, client, slow, "The same, node by node"},
    {"GET", "/analytics/allslices", get_all_slices, envelope, read, client, slow,
     "The same for every known slice, oldest first"},
    {"POST", "/worker", post_worker, envelope, write, node, quick, "Counts one click or impression in a slice"},
    {"GET", "/worker", get_worker, envelope, read, node, quick, "Unique users, clicks and impressions of a slice"},
    {"GET", "/workers", get_worker, envelope, read, node, quick, "The same on all nodes"},
    {"POST", "/samples", post_samples, sentence, write, client, slow, "Takes one sample or a batch of them"},
    {"GET", "/quantile", get_quantile, sentence, read, client, slow, "Quantiles of the samples in a window"},
    {"GET", "/cdf", get_cdf, sentence, read, client, slow,
     "Share of the samples in a window that do not exceed a value"},
    {"GET", "/frequency", get_frequency, sentence, read, client, slow, "How often a value came in a window"},
    {"GET", "/topk", get_topk, sentence, read, client, slow, "The most frequent values in a window"},
    {"GET", "/keys", get_keys, sentence, read, client, slow, "Known keys, page by page"},
    {"DELETE", "/keys/{key}", delete_key, sentence, admin, client, slow, "Forgets a key and its samples"},
    {"GET", "/health", get_health, envelope, open, client, quick, "State of this node, for people"},
    {"GET", "/metrics", get_metrics_page, envelope, read, client, slow, "State of this node, for Prometheus"},
    {"GET", "/livez", get_livez, envelope, open, client, quick, "200 while the process runs"},
    {"GET", "/readyz", get_readyz, envelope, open, client, quick, "200 while requests are taken"},
    {"GET", "/openapi.yaml", get_openapi, envelope, read, client, slow, "This interface, for programs"},
};

[[nodiscard]] bool matches(std::string_view pattern, std::string_view path) noexcept {
    const std::size_t brace = pattern.find('{');
    if (brace == pattern.npos) return pattern == path;
    return path.size() > brace && path.starts_with(pattern.substr(0, brace));
}

} // namespace

std::span<const route> routes() noexcept { return all_routes; }

const route* row_of(std::string_view method, std::string_view path) noexcept {
    if (method == "HEAD") method = "GET";
    const auto row = std::find_if(std::begin(all_routes), std::end(all_routes),
                                  [&](const route& r) { return r.method == method && matches(r.pattern, path); });
    return row == std::end(all_routes) ? nullptr : row;
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
