#include "routes.hpp"

#include "application.hpp"
#include "domain/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace qsketch_server {
namespace {

constexpr auto envelope = error_style::envelope;
constexpr auto sentence = error_style::sentence;

constexpr route all_routes[] = {
    {"POST", "/analytics", post_analytics, envelope, "Counts one click or impression, or a batch of them"},
    {"GET", "/analytics", get_analytics, envelope,
     "Unique users, clicks and impressions of the slice that holds a time"},
    {"GET", "/analytics/perworker", get_per_worker, envelope, "The same, node by node"},
    {"GET", "/analytics/allslices", get_all_slices, envelope, "The same for every known slice, oldest first"},
    {"POST", "/worker", post_worker, envelope, "Counts one click or impression in a slice"},
    {"GET", "/worker", get_worker, envelope, "Unique users, clicks and impressions of a slice"},
    {"GET", "/workers", get_worker, envelope, "The same on all nodes"},
    {"POST", "/samples", post_samples, sentence, "Takes one sample or a batch of them"},
    {"GET", "/quantile", get_quantile, sentence, "Quantiles of the samples in a window"},
    {"GET", "/cdf", get_cdf, sentence, "Share of the samples in a window that do not exceed a value"},
    {"GET", "/frequency", get_frequency, sentence, "How often a value came in a window"},
    {"GET", "/topk", get_topk, sentence, "The most frequent values in a window"},
    {"GET", "/keys", get_keys, sentence, "Known keys, page by page"},
    {"DELETE", "/keys/{key}", delete_key, sentence, "Forgets a key and its samples"},
    {"POST", "/api/traffic", post_views, envelope, "Writes page views that bring their request_id"},
    {"POST", "/api/traffic/{request_id}", post_view, envelope, "Writes one page view, or again"},
    {"PUT", "/api/traffic/{request_id}", put_view, envelope, "Replaces one page view"},
    {"GET", "/api/traffic/daily/{user_id}", get_daily_pages, envelope,
     "How often a user viewed which page in the last 24 hours"},
    {"GET", "/api/traffic/pages", get_pages, envelope, "The most viewed pages and the visitors of a window"},
    {"GET", "/health", get_health, envelope, "State of this node, for people"},
    {"GET", "/livez", get_livez, envelope, "200 while the process runs"},
    {"GET", "/readyz", get_readyz, envelope, "200 while requests are taken"},
    {"GET", "/openapi.yaml", get_openapi, envelope, "This interface, for programs"},
    {"GET", "/", get_page, envelope, "A page that shows what the others answer"},
};

[[nodiscard]] bool matches(std::string_view pattern, std::string_view path) noexcept {
    const std::size_t brace = pattern.find('{');
    if (brace == pattern.npos) return pattern == path;
    return path.size() > brace && path.starts_with(pattern.substr(0, brace));
}

/// "GET, HEAD, POST, OPTIONS"; empty for an unknown path.
[[nodiscard]] std::string allowed(std::string_view path) {
    std::string out;
    for (const route& r : all_routes) {
        if (!matches(r.pattern, path) && path != "*") continue;
        if (out.find(r.method) == out.npos) out.append(r.method).append(r.method == "GET" ? ", HEAD, " : ", ");
    }
    return out.empty() ? out : out + "OPTIONS";
}

[[nodiscard]] error_style style_of(std::string_view path) noexcept {
    const auto row = std::find_if(std::begin(all_routes), std::end(all_routes),
                                  [&](const route& r) { return matches(r.pattern, path); });
    return row == std::end(all_routes) ? envelope : row->errors;
}

[[nodiscard]] answer route_request(application& app, request& rq, std::string_view query) {
    const std::string path = percent_decoded(rq.path, false);
    const std::string allow = allowed(path);
    if (allow.empty()) return error_answer(404, "there is nothing at " + in_quotes(path), envelope);
    if (rq.method == "OPTIONS") {
        answer out = empty_answer(204);
        out.headers.emplace_back("Allow", allow);
        return out;
    }
    const std::string_view method = rq.method == "HEAD" ? std::string_view("GET") : std::string_view(rq.method);
    for (const route& r : all_routes) {
        if (r.method != method || !matches(r.pattern, path)) continue;
        rq.query = parse_query(query);
        rq.path_rest = path.substr((std::min)(r.pattern.find('{'), path.size()));
        if (rq.encoded_body)
            throw refused_request(415, "compressed bodies are not taken here; send them without Content-Encoding");
        return r.handler(app, rq);
    }
    answer out =
        error_answer(405, in_quotes(rq.method) + " is not among what is allowed here: " + allow, style_of(path));
    out.headers.emplace_back("Allow", allow);
    return out;
}

} // namespace

std::span<const route> routes() noexcept { return all_routes; }

error_style error_style_of(std::string_view target) noexcept {
    return style_of(target.substr(0, (std::min)(target.find('?'), target.size())));
}

answer dispatch(application& app, request& rq, std::string_view target) {
    const std::size_t mark = (std::min)(target.find('?'), target.size());
    rq.path = target.substr(0, mark);
    try {
        return route_request(app, rq, target.substr((std::min)(mark + 1, target.size())));
    } catch (...) {
        return exception_answer(std::current_exception(), rq, style_of(rq.path));
    }
}

} // namespace qsketch_server
