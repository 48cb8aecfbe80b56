#include "application.hpp"
#include "http/metrics.hpp"
#include "routes.hpp"

#include <qsketch/version.hpp>

#include <fmt/format.h>

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

// Family E: what operators watch.
namespace qsketch_server {
namespace {

[[nodiscard]] double seconds_of(const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
}

void write_process(const application& app, metrics_page& page) {
    using namespace std::chrono;
    const auto started = system_clock::now() - (steady_clock::now() - app.started);
    page.single("process_start_time_seconds", "gauge", "When this process started, since 1970.",
                duration<double>(started.time_since_epoch()).count());
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    page.single("process_cpu_seconds_total", "counter", "Processor time used.",
                seconds_of(used.ru_utime) + seconds_of(used.ru_stime));
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages >> pages; // the first is address space
    page.single("process_resident_memory_bytes", "gauge", "Memory in use.",
                pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
}

void write_events(const application& app, metrics_page& page) {
    page.metric("qsketch_events_total", "counter", "Events taken, by family of endpoints.");
    page.sample(app.ingested.visits.load(), R"(family="audience")");
    page.sample(app.ingested.samples.load(), R"(family="samples")");
    page.sample(app.ingested.views.load(), R"(family="traffic")");
    page.sample(app.ingested.metrics.load(), R"(family="metrics")");
    page.single("qsketch_events_too_old_total", "counter", "Events refused for being older than retention.",
                app.too_old.load());
}

void write_storage(const application& app, metrics_page& page) {
    const storage::figures rows = app.rows.now();
    page.single("qsketch_storage_writable", "gauge", "1, or 0 after a write that failed.",
                std::uint64_t{rows.writable});
    page.single("qsketch_storage_bytes", "gauge", "Size of the data directory.", rows.bytes);
    page.single("qsketch_storage_free_bytes", "gauge", "What is left on its disk.", rows.free);
    page.single("qsketch_syncs_total", "counter", "Times the disk was waited for.", rows.syncs);
    page.metric("qsketch_commit_duration_seconds", "histogram", "Time from a request's changes to their commit.");
    app.commit_times.write(page);
}

} // namespace

answer get_metrics_page(application& app, const request&) {
    metrics_page page;
    page.metric("qsketch_build_info", "gauge", "Which program this is.");
    page.sample(std::uint64_t{1}, fmt::format(R"(version="{}.{}.{}")", QSKETCH_VERSION_MAJOR, QSKETCH_VERSION_MINOR,
                                              QSKETCH_VERSION_PATCH));
    write_process(app, page);
    app.requests.write(page);
    write_events(app, page);
    page.metric("qsketch_series", "gauge", "Series held, by family of endpoints.");
    page.sample(std::uint64_t{app.samples.size()}, R"(family="samples")");
    page.sample(std::uint64_t{app.metrics.table().size()}, R"(family="metrics")");
    write_storage(app, page);
    const gate_figures gate = app.connections ? app.connections() : gate_figures{};
    page.single("qsketch_connections", "gauge", "Connections there are.", std::uint64_t{gate.open});
    page.single("qsketch_connections_refused_total", "counter", "Connections turned away for lack of room.",
                gate.turned_away);
    page.single("qsketch_buffered_bytes", "gauge", "Bytes of requests and answers under way, and of unpacked bodies.",
                std::uint64_t{gate.buffered + app.unpacked_bytes});
    return {200, "text/plain; version=0.0.4; charset=utf-8", std::move(page).text(), {}};
}

} // namespace qsketch_server
