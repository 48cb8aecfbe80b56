#include "application.hpp"
#include "embedded.hpp"
#include "routes.hpp"

#include <qsketch/version.hpp>

#include <fmt/format.h>

#include <random>

// Family E: operations.
namespace qsketch_server {
namespace {

[[nodiscard]] std::string uptime_text(std::chrono::seconds up) {
    using namespace std::chrono;
    return fmt::format("{}d {}h {}m", up / days(1), up % days(1) / hours(1), up % hours(1) / minutes(1));
}

/// The page's own script and style, and nothing else of anybody, run where this nonce is written; it asks only this
/// server, and is in nobody's frame.
[[nodiscard]] std::string content_policy(std::string_view nonce) {
    return fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; img-src data:; "
                       "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                       nonce);
}

} // namespace

answer get_health(application& app, const request&) {
    const auto up = std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - app.started);
    const storage::figures rows = app.rows.now();
    const std::string storage_json = fmt::format(
        R"({{"durability":"{}","writable":{},"total_size":{},"free_space":{},"commits":{},"syncs":{}}})",
        durability_name(app.opts.durability), rows.writable, rows.bytes,
        app.opts.durability == storage::sync::none ? "null" : std::to_string(rows.free), rows.commits, rows.syncs);
    return json_answer(
        rows.writable ? 200 : 503,
        fmt::format(R"({{"status":"{}","uptime":"{}","version":"{}.{}.{}","nodes":{{"total":1,"healthy":{}}},)"
                    R"("storage":{},"cluster":{{"enabled":false,"node_id":{}}},"series":{},)"
                    R"("refused":{{"too_old":{}}},"ingested":{{"samples":{},"visits":{},"views":{},"metrics":{}}}}})",
                    rows.writable ? "ok" : "degraded", uptime_text(up), QSKETCH_VERSION_MAJOR, QSKETCH_VERSION_MINOR,
                    QSKETCH_VERSION_PATCH, rows.writable ? 1 : 0, storage_json, json_string(app.opts.node_id),
                    app.samples.size() + app.metrics.table().size(), app.too_old.load(), app.ingested.samples.load(),
                    app.ingested.visits.load(), app.ingested.views.load(), app.ingested.metrics.load()));
}

answer get_livez(application&, const request&) { return empty_answer(200); }

answer get_readyz(application& app, const request&) {
    return empty_answer(app.draining || !app.rows.now().writable ? 503 : 200);
}

answer get_openapi(application&, const request&) { return {200, "application/yaml", std::string(openapi_yaml), {}}; }

answer get_page(application&, const request&) {
    std::random_device random;
    const std::string nonce = fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
    static constexpr std::string_view place = "{nonce}";
    answer out{200, "text/html; charset=utf-8", std::string(page_html), {}};
    for (std::size_t at = 0; (at = out.body.find(place, at)) != std::string::npos;)
        out.body.replace(at, place.size(), nonce);
    out.headers = {{"Content-Security-Policy", content_policy(nonce)},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cache-Control", "no-store"}};
    return out;
}

} // namespace qsketch_server
