#include "routes.hpp"

#include "application.hpp"
#include "domain/text.hpp"
#include "http/compression.hpp"
#include "http/framing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

namespace qsketch_server {
namespace {

constexpr auto envelope = error_style::envelope;
constexpr auto sentence = error_style::sentence;

using enum asker;
using enum pace;
using enum scope;

constexpr std::size_t quick_body = 16 * 1024; // bytes; a larger body takes long whatever is done with it

constexpr std::size_t least_packed = 1024; // bytes of an answer that is worth it

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

/// The row of a method and a decoded path, HEAD being GET; null if there is none.
[[nodiscard]] const route* row_of(std::string_view method, std::string_view path) noexcept {
    if (method == "HEAD") method = "GET";
    const auto row = std::find_if(std::begin(all_routes), std::end(all_routes),
                                  [&](const route& r) { return r.method == method && matches(r.pattern, path); });
    return row == std::end(all_routes) ? nullptr : row;
}

[[nodiscard]] scope scope_of(const route* row) noexcept { return row == nullptr ? any : row->needs; }

/// What is said to whom more than its share is not given; nothing to others.
[[nodiscard]] std::optional<answer> slowed_down(application& app, const request& rq, asker who, error_style style) {
    // No token has a name with an @ in it.
    const std::string key = rq.client.empty() ? "@" + network_of(rq.peer) : rq.client;
    const auto wait = app.limiter->take(who, key, rate_limiter::clock::now());
    if (wait <= wait.zero()) return {};
    const std::uint32_t limit = app.limiter->limit_of(who);
    const instant next = app.now() + std::chrono::ceil<std::chrono::milliseconds>(wait);
    answer out = error_answer(429, "RATE_LIMIT_EXCEEDED", fmt::format("more than {} requests a minute", limit), style,
                              fmt::format(R"({{"limit":{},"window":{},"reset_at":"{}"}})", limit,
                                          rate_limiter::window.count(), iso_time(next)));
    out.headers.emplace_back("Retry-After", fmt::format("{}", std::chrono::ceil<std::chrono::seconds>(wait).count()));
    return out;
}

/// What is said to who may not come in; nothing to others.
[[nodiscard]] std::optional<answer> turned_away(application& app, request& rq, scope needed, asker who,
                                                error_style style) {
    if (needed == open) return {};
    const access_control::tokens tokens = app.access.current();
    token_list::finding found;
    if (tokens) found = tokens->find(rq.authorization, needed, app.now());
    rq.client = found.name;
    if (app.limiter)
        if (auto out = slowed_down(app, rq, who, style)) return out;
    if (found.refusal.empty()) return {};
    const bool known = !found.name.empty();
    answer out = error_answer(known ? 403 : 401, found.refusal, style);
    std::string challenge = R"(Bearer realm="qsketch")";
    if (!found.error.empty())
        challenge += fmt::format(R"(, error="{}", error_description="{}")", found.error, found.refusal);
    if (known) challenge += fmt::format(R"(, scope="{}")", name_of(needed));
    out.headers.emplace_back("WWW-Authenticate", std::move(challenge));
    return out;
}

[[nodiscard]] answer route_request(application& app, request& rq, std::string_view query) {
    const std::string path = percent_decoded(rq.path, false);
    const route* const row = row_of(rq.method, path);
    const error_style style = row == nullptr ? style_of(path) : row->errors;
    if (row != nullptr) rq.route = static_cast<std::size_t>(row - std::begin(all_routes));
    if (auto refusal = turned_away(app, rq, scope_of(row), row == nullptr ? client : row->who, style))
        return *std::move(refusal);
    if (row == nullptr) {
        const std::string allow = allowed(path);
        if (allow.empty()) return error_answer(404, "there is nothing at " + in_quotes(path), style);
        answer out =
            rq.method == "OPTIONS"
                ? empty_answer(204)
                : error_answer(405, in_quotes(rq.method) + " is not among what is allowed here: " + allow, style);
        out.headers.emplace_back("Allow", allow);
        return out;
    }
    rq.query = parse_query(query);
    rq.path_rest = *match(row->pattern, path);
    const bool packed = !rq.body.empty() && !rq.content_encoding.empty() && rq.content_encoding != "identity";
    if ((row->takes == slow || packed || rq.body.size() > quick_body) && rq.step_aside) rq.step_aside();
    if (!packed) return row->handler(app, rq);
    const auto how = coding_of(rq.content_encoding);
    if (!how) {
        answer out = error_answer(
            415, "a body may be compressed by gzip or deflate, and not by " + in_quotes(rq.content_encoding), style);
        out.headers.emplace_back("Accept-Encoding", "gzip, deflate");
        return out;
    }
    const unpacked_body unpacked(rq.body, *how, {app.opts.max_body, bodies_together(app.opts.max_body)},
                                 app.unpacked_bytes);
    rq.body = unpacked.text();
    return row->handler(app, rq);
}

/// Packs what gets much smaller, for those who take it.
void pack(const request& rq, answer& out) {
    if (out.body.size() < least_packed || out.content_type == "application/octet-stream") return;
    out.headers.emplace_back("Vary", "Accept-Encoding");
    if (!takes_gzip(rq.accept_encoding)) return;
    std::string packed = gzipped(out.body);
    if (packed.size() >= out.body.size()) return;
    out.body = std::move(packed);
    out.headers.emplace_back("Content-Encoding", "gzip");
}

/// The path of a target, still encoded.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept {
    return target.substr(0, (std::min)(target.find('?'), target.size()));
}

} // namespace

std::span<const route> routes() noexcept { return all_routes; }

bool may_send_body(const application& app, std::string_view method, std::string_view target,
                   const std::optional<std::string>& authorization) {
    const access_control::tokens tokens = app.access.current();
    if (!tokens) return true;
    const scope needed = scope_of(row_of(method, path_of(target)));
    return needed == open || tokens->find(authorization, needed, app.now()).refusal.empty();
}

error_style error_style_of(std::string_view target) noexcept { return style_of(path_of(target)); }

answer dispatch(application& app, request& rq, std::string_view target) {
    rq.path = path_of(target);
    try {
        answer out = route_request(app, rq, target.substr((std::min)(rq.path.size() + 1, target.size())));
        pack(rq, out);
        return out;
    } catch (...) {
        return exception_answer(std::current_exception(), rq, style_of(rq.path));
    }
}

} // namespace qsketch_server
