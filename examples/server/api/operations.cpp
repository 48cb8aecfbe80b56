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
    return json_answer(
        200, fmt::format(R"({{"status":"ok","uptime":"{}","version":"{}.{}.{}","nodes":{{"total":1,"healthy":1}},)"
                         R"("storage":{{"durability":"none","total_size":0,"free_space":null}},)"
                         R"("cluster":{{"enabled":false,"node_id":{}}},"series":{},"refused":{{"too_old":{}}}}})",
                         uptime_text(up), QSKETCH_VERSION_MAJOR, QSKETCH_VERSION_MINOR, QSKETCH_VERSION_PATCH,
                         json_string(app.opts.node_id), app.samples->size() + app.metrics->table().size(),
                         app.too_old.load()));
}

answer get_livez(application&, const request&) { return empty_answer(200); }

answer get_readyz(application& app, const request&) { return empty_answer(app.draining ? 503 : 200); }

answer get_openapi(application&, const request&) { return {200, "application/yaml", std::string(openapi_yaml), {}}; }

} // namespace qsketch_server
