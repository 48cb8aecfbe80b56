#include "application.hpp"

#include "http/request.hpp"
#include "storage/key_file.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <bit>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace qsketch_server {
namespace {

[[nodiscard]] std::vector<metric_store::series::level> metric_levels(const options& opts) {
    return metric_store::levels(std::chrono::ceil<std::chrono::seconds>(opts.retention));
}

[[nodiscard]] std::array<table_rules, table_count>
rules_for(const options& opts, const wall_clock& now, const std::shared_ptr<const traffic_store::horizons>& kept) {
    std::array<table_rules, table_count> out;
    const slicing slices{opts.first_slice, opts.slice};
    out[static_cast<std::size_t>(table::audience)] =
        audience::rules([now, slices, retention = opts.retention] { return slices.slice_of(now() - retention); });
    out[static_cast<std::size_t>(table::samples)] = sample_table::rules(
        sample_table::levels(opts.window_retention), [now, kept = opts.window_retention] { return now() - kept; });
    out[static_cast<std::size_t>(table::metrics)] = metric_store::rules(metric_levels(opts));
    traffic_store::add_rules(out, kept);
    out[static_cast<std::size_t>(table::requests)] = repeats::rules(now);
    return out;
}

void put(storage& rows, std::string_view name, const std::string& value) {
    changes c;
    c.put(table::meta, name, value);
    rows.commit(std::move(c));
}

[[nodiscard]] std::optional<instant> restored_until(const options& opts, const wall_clock& now) {
    return opts.repair ? std::optional(now() + future_tolerance) : std::nullopt;
}

/// The numbers of slices mean something else with other options.
void require_same_slices(storage& rows, const options& opts) {
    const std::string slices = fmt::format("{} ms from {}", opts.slice.count(), iso_time(opts.first_slice));
    const auto known = rows.get(table::meta, "slices");
    if (!known)
        put(rows, "slices", slices);
    else if (known != slices)
        throw storage_error(fmt::format("{} has slices of {}, and --slice and --first-slice ask for {}", opts.data_dir,
                                        *known, slices));
}

[[nodiscard]] qsketch::sip_hash pseudonym_key(storage& rows, const options& opts) {
    require_same_slices(rows, opts);
    if (opts.durability == storage::sync::none) return qsketch::sip_hash(random_key());
    const std::string file = opts.data_dir + "/pseudonym.key";
    constexpr std::string_view consequence = "every user would count again; put the right one back, or start once with "
                                             "--repair to go on with another";
    const auto known = rows.get(table::meta, "pseudonym.key");
    if (known && !opts.repair && !std::filesystem::exists(file))
        throw storage_error(fmt::format("{} is missing: {}", file, consequence));
    const auto key = qsketch::sip_hash(key_in(file));
    const std::string id = fmt::format("{:08x}", key.id());
    if (known && !opts.repair && known != id)
        throw storage_error(fmt::format("{} is not the key that the rows were written with: {}", file, consequence));
    if (known != id) put(rows, "pseudonym.key", id);
    return key;
}

} // namespace

application::application(options o, wall_clock clock, std::function<bool()> unserved)
    : opts(std::move(o)), now(std::move(clock)), has_unserved(std::move(unserved)),
      names(std::bit_cast<std::array<std::uint64_t, 2>>(random_key())[0]),
      rows({opts.data_dir, opts.durability, opts.repair, [this] { return is_wanted(); }},
           rules_for(opts, now, views_kept)),
      answered(rows, now), audience(rows, pseudonym_key(rows, opts)),
      samples({.where = table::samples,
               .levels = sample_table::levels(opts.window_retention),
               .max_series = opts.max_series,
               .memory = opts.series_memory / 2,
               .hash = names,
               .restored_until = restored_until(opts, now)},
              rows),
      metrics({.where = table::metrics,
               .levels = metric_levels(opts),
               .max_series = opts.max_series,
               .memory = opts.series_memory / 2,
               .hash = names,
               .restored_until = restored_until(opts, now)},
              rows),
      traffic(rows, views_kept, opts.window_retention, now()) {}

void application::commit(const request& rq, changes&& what, const answer* acknowledged) {
    if (what.empty()) return;
    if (rq.turn != nullptr) rq.turn->join(what, acknowledged);
    if (opts.durability != storage::sync::none && rq.step_aside) rq.step_aside(load::slow);
    const auto begin = std::chrono::steady_clock::now();
    rows.commit(std::move(what));
    commit_times.record(std::chrono::steady_clock::now() - begin);
}

answer application::acknowledged(const request& rq, changes&& what, answer&& out) {
    if (rq.later && !what.empty())
        out.unsaved = std::make_shared<changes>(std::move(what));
    else
        commit(rq, std::move(what), &out);
    return std::move(out);
}

void application::expire() {
    const instant t = now();
    audience.expire_before(slices().slice_of(t - opts.retention));
    traffic.expire_before(t - opts.retention, t - opts.window_retention);
    if (limiter) limiter->expire(rate_limiter::clock::now());
    const auto expire = [&](auto& series, instant oldest) {
        series.drop_idle();
        changes gone;
        series.stage_expiry(gone, oldest);
        if (!gone.empty()) rows.commit(std::move(gone));
    };
    try {
        expire(samples, t - opts.window_retention);
        expire(metrics.table(), t - opts.retention);
    } catch (const storage_error& e) {
        spdlog::error("what has expired cannot be forgotten: {}", e.what()); // it is tried again
    }
}

void application::trim() {
    samples.trim();
    metrics.table().trim();
    try {
        samples.settle();
        metrics.table().settle();
    } catch (const std::exception& e) {
        spdlog::debug("logged batches cannot be settled: {}", e.what()); // it is tried again
    }
}

} // namespace qsketch_server
