#pragma once

#include "domain/metrics.hpp"
#include "domain/sample_table.hpp"
#include "domain/store.hpp"
#include "options.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>

namespace qsketch_server {

struct request;

/// What the endpoints work on.
struct application {
    options opts;
    wall_clock now;
    qsketch::hash names; ///< With a seed that strangers do not know.
    std::unique_ptr<storage> rows;
    std::unique_ptr<audience_store> audience;
    std::unique_ptr<sample_table> samples;
    std::unique_ptr<metric_store> metrics;
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    std::atomic<std::uint64_t> too_old = 0; ///< Events refused for their age.
    std::atomic<bool> draining = false;

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

    /// Makes the changes durable; they are visible when it returns.
    void commit(const request&, changes&& what) { rows->commit(std::move(what)); }

    /// Forgets what retention no longer covers. To be called now and then.
    void expire() {
        const instant t = now();
        audience->expire_before(slices().slice_of(t - opts.retention));
        expire_series(*samples, t - opts.window_retention);
        expire_series(metrics->table(), t - opts.retention);
    }

    /// Keeps the windows in memory within what is allowed. To be called often.
    void trim() {
        samples->trim();
        metrics->table().trim();
    }

private:
    template <class Table>
    void expire_series(Table& table, instant oldest) {
        changes gone;
        table.stage_expiry(gone, oldest);
        if (!gone.empty()) rows->commit(std::move(gone));
        table.drop_idle();
    }
};

} // namespace qsketch_server
