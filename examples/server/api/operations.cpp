#include "application.hpp"
#include "openapi.hpp"
#include "routes.hpp"

#include <qsketch/version.hpp>

#include <fmt/format.h>

// Family E: operations.
namespace qsketch_server {
namespace {

[[nodiscard]] std::string uptime_text(std::chrono::seconds up) {
    using namespace std::chrono;
    return fmt::format("{}d {}h {}m", up / days(1), up % days(1) / hours(1), up % hours(1) / minutes(1));
}

} // namespace

answer get_health(application& app, const request&) {
    const auto up = std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - app.started);
    const storage::figures rows = app.rows.now();
    const std::string storage_json = fmt::format(
        R"({{"durability":"{}","writable":{},"total_size":{},"free_space":{},"commits":{},"syncs":{},)"
        R"("in_memory_only":["samples"]}})",
        durability_name(app.opts.durability), rows.writable, rows.bytes,
        app.opts.durability == storage::sync::none ? "null" : std::to_string(rows.free), rows.commits, rows.syncs);
    return json_answer(
        rows.writable ? 200 : 503,
        fmt::format(R"({{"status":"{}","uptime":"{}","version":"{}.{}.{}","nodes":{{"total":1,"healthy":{}}},)"
                    R"("storage":{},"cluster":{{"enabled":false,"node_id":{}}},"series":{},)"
                    R"("refused":{{"too_old":{}}}}})",
                    rows.writable ? "ok" : "degraded", uptime_text(up), QSKETCH_VERSION_MAJOR, QSKETCH_VERSION_MINOR,
                    QSKETCH_VERSION_PATCH, rows.writable ? 1 : 0, storage_json, json_string(app.opts.node_id),
                    app.series->size(), app.too_old.load()));
}

answer get_livez(application&, const request&) { return empty_answer(200); }

answer get_readyz(application& app, const request&) {
    return empty_answer(app.draining || !app.rows.now().writable ? 503 : 200);
}

answer get_openapi(application&, const request&) { return {200, "application/yaml", std::string(openapi_yaml), {}}; }

} // namespace qsketch_server
