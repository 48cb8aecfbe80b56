#include "application.hpp"

#include "domain/series.hpp"
#include "http/request.hpp"
#include "storage/key_file.hpp"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <string>
#include <utility>

namespace qsketch_server {
namespace {

[[nodiscard]] std::array<table_rules, table_count> rules_for(const options& opts, const wall_clock& now) {
    std::array<table_rules, table_count> out;
    const slicing slices{opts.first_slice, opts.slice};
    out[static_cast<std::size_t>(table::audience)] =
        audience::rules([now, slices, retention = opts.retention] { return slices.slice_of(now() - retention); });
    out[static_cast<std::size_t>(table::requests)] = repeats::rules(now);
    return out;
}

void put(storage& rows, std::string_view name, const std::string& value) {
    changes c;
    c.put(table::meta, name, value);
    rows.commit(std::move(c));
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

application::application(options o, wall_clock clock)
    : opts(std::move(o)), now(std::move(clock)),
      rows({opts.data_dir, opts.durability, opts.repair}, rules_for(opts, now)), answered(rows, now),
      audience(rows, pseudonym_key(rows, opts)),
      series(std::make_unique<memory_series>(opts.window_retention, opts.max_series)) {}

void application::commit(const request& rq, changes&& what, const answer* acknowledged) {
    if (rq.turn != nullptr && !what.empty()) rq.turn->join(what, acknowledged);
    if (opts.durability != storage::sync::none && rq.step_aside) rq.step_aside();
    const auto begin = std::chrono::steady_clock::now();
    rows.commit(std::move(what));
    commit_times.record(std::chrono::steady_clock::now() - begin);
}

} // namespace qsketch_server
