#pragma once

#include "domain/audience.hpp"
#include "domain/metrics.hpp"
#include "domain/sample_table.hpp"
#include "domain/store.hpp"
#include "domain/traffic.hpp"
#include "http/access.hpp"
#include "http/gate.hpp"
#include "http/metrics.hpp"
#include "http/rate_limit.hpp"
#include "http/repeats.hpp"
#include "options.hpp"
#include "storage/storage.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace qsketch_server {

struct request;

/// A page view may not come from the future. Still, the clock of a client that sends one at once may be this much
/// ahead.
inline constexpr std::chrono::seconds view_tolerance{1};

/// Events taken since the start, those that replaced others too.
struct event_counts {
    std::atomic<std::uint64_t> samples = 0;
    std::atomic<std::uint64_t> visits = 0;
    std::atomic<std::uint64_t> views = 0;
    std::atomic<std::uint64_t> metrics = 0; ///< Inserts are among them.
};

/// What the endpoints work on.
struct application {
    /// Opens the data directory. `unserved` is as gate::has_unserved(). Throws storage_error, naming what is wrong with
    /// the directory.
    application(options o, wall_clock clock, std::function<bool()> unserved = {});

    options opts;
    wall_clock now;
    std::atomic<std::size_t> small_requests = 0; ///< That are worked on, and do not wait for anything.
    std::function<bool()> has_unserved;          ///< Empty where there is no gate.
    qsketch::hash names;                         ///< Of series, with a seed that strangers do not know.
    std::shared_ptr<traffic_store::horizons> views_kept = std::make_shared<traffic_store::horizons>();
    storage rows;
    repeats answered;
    qsketch_server::audience audience;
    sample_table samples;
    metric_store metrics;
    traffic_store traffic;
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    std::atomic<std::uint64_t> too_old = 0; ///< Events refused for their age.
    event_counts ingested{};
    std::atomic<bool> draining = false;
    access_control access{};
    std::unique_ptr<rate_limiter> limiter{}; ///< Null: no limit.
    std::atomic<std::size_t> unpacked_bytes = 0;
    request_metrics requests{};
    duration_histogram commit_times{};
    std::function<gate_figures()> connections{}; ///< Empty where there is no gate.

    /// Is there anything to do that should not have to wait for large requests?
    [[nodiscard]] bool is_wanted() const { return small_requests > 0 || (has_unserved && has_unserved()); }

    [[nodiscard]] slicing slices() const noexcept { return {opts.first_slice, opts.slice}; }

    /// What the audience counts take; with `counting`, the refusals for age are counted.
    [[nodiscard]] acceptable_times audience_times(bool counting) {
        const instant t = now();
        return {(std::max)(t - opts.retention, opts.first_slice), t + future_tolerance, "--retention",
                counting ? &too_old : nullptr};
    }
    [[nodiscard]] acceptable_times sample_times() {
        const instant t = now();
        return {t - opts.window_retention, t + future_tolerance, "--window-retention", &too_old};
    }
    [[nodiscard]] acceptable_times metric_times() {
        const instant t = now();
        return {t - opts.retention, t + future_tolerance, "--retention", &too_old};
    }
    [[nodiscard]] acceptable_times view_times() {
        const instant t = now();
        return {(std::max)(t - opts.retention, traffic.oldest()), t + view_tolerance, "--retention", &too_old,
                "a second"};
    }

    /// What every request that changes something ends with: returns when the changes are as durable as --durability
    /// says, and visible. All changes of a request go into one call, so that its Idempotency-Key is kept with them; so
    /// is the answer, if it is known by then. Throws storage_error; then nothing has changed.
    void commit(const request& rq, changes&& what, const answer* acknowledged = nullptr);

    /// The same for requests whose answer is made: returns it, perhaps with the changes for whoever sends it to commit.
    /// They may hold nothing that another thread must not let go.
    [[nodiscard]] answer acknowledged(const request& rq, changes&& what, answer&& out);

    /// Forgets what retention no longer covers. To be called now and then.
    void expire();

    /// Keeps the windows in memory within what is allowed, and settles logged batches. To be called often.
    void trim();
};

} // namespace qsketch_server
