#pragma once

#include "domain/aggregate.hpp"
#include "domain/series_table.hpp"

#include <qsketch/detail/endian.hpp>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// Count and sum of any number of values; the sum is kept to twice the precision of a double, so that neither the order
/// nor the grouping of the values shows in it.
struct running_average {
    std::uint64_t count = 0;
    double sum = 0;
    double rest = 0; ///< What rounding took from sum.

    void add(double value) noexcept {
        ++count;
        add_to_sum(value);
    }
    void merge(const running_average& other) noexcept {
        count += other.count;
        add_to_sum(other.sum);
        rest += other.rest;
    }
    /// NaN without values.
    [[nodiscard]] double average() const noexcept { return (sum + rest) / static_cast<double>(count); }

    /// 25 bytes: a mark, and the members.
    static constexpr char mark = 'a';
    [[nodiscard]] std::string row() const {
        std::string out(1 + 3 * sizeof(std::uint64_t), mark);
        qsketch::detail::store_little_endian(out.data() + 1, count);
        qsketch::detail::store_little_endian(out.data() + 9, std::bit_cast<std::uint64_t>(sum));
        qsketch::detail::store_little_endian(out.data() + 17, std::bit_cast<std::uint64_t>(rest));
        return out;
    }
    /// Throws qsketch::format_error.
    [[nodiscard]] static running_average of(std::string_view row) {
        if (row.size() != 25 || row[0] != mark) throw qsketch::format_error("an average in the store is damaged");
        const auto at = [&](std::size_t i) {
            return qsketch::detail::load_little_endian<std::uint64_t>(row.data() + i);
        };
        return {at(1), std::bit_cast<double>(at(9)), std::bit_cast<double>(at(17))};
    }

private:
    void add_to_sum(double value) noexcept {
        const double total = sum + value;
        if (!std::isfinite(total)) { // beyond doubles there is nothing to be exact about
            sum = total;
            rest = 0;
            return;
        }
        rest += std::abs(sum) >= std::abs(value) ? (sum - total) + value : (value - total) + sum;
        sum = total;
    }
};

/// What to find out about a metric.
struct metric_query {
    std::string metric;
    std::vector<tag_filter> filters; ///< A series has to pass all.
    std::vector<std::string> group_by;
    bool quantiles = false;
    std::vector<time_span> rows; ///< Whole seconds.
};

/// The values of tagged metrics (family D): by the second for an hour, by the minute for a day, by the hour for the
/// retention; finer while there are few. And the average of what came by POST /insert.
class metric_store {
public:
    using series = series_table<metric_sketch>;

    // Values may come from five minutes ahead of now; resolution is promised for ages that count from now.
    static constexpr std::chrono::minutes slack{6};

    [[nodiscard]] static std::vector<series::level> levels(std::chrono::seconds retention) {
        using namespace std::chrono;
        std::vector<series::level> out;
        for (const auto& [span, keep] : {std::pair<seconds, seconds>(1s, 1h), {1min, 24h}, {1h, retention}}) {
            out.push_back({span, (std::min)(keep, retention) + slack});
            if (keep >= retention) break;
        }
        return out;
    }

    [[nodiscard]] static table_rules rules(const std::vector<series::level>& levels) {
        table_rules out = series::rules(levels);
        out.fold = [series = std::move(out.fold)](std::optional<std::string_view> existing,
                                                  std::span<const std::string_view> operands) {
            if (!operands.front().starts_with(running_average::mark)) return series(existing, operands);
            running_average all;
            if (existing) all = running_average::of(*existing);
            for (const std::string_view o : operands) all.merge(running_average::of(o));
            return all.row();
        };
        out.combine = [series = std::move(out.combine)](std::span<const std::string_view> operands) {
            if (operands.front().starts_with(running_average::mark)) return std::optional<std::string>();
            return series(operands);
        };
        return out;
    }

    metric_store(const series::settings& s, storage& store) : where_(s.where), series_(s, store) {
        if (const auto row = store.get(where_, average_key))
            average_ = read_row(where_, average_key, [&] { return running_average::of(*row); });
    }

    [[nodiscard]] series& table() noexcept { return series_; }
    [[nodiscard]] const series& table() const noexcept { return series_; }

    /// As series_table::stage(), and counts the values that there is room for in the average.
    [[nodiscard]] std::vector<std::size_t> stage_inserts(changes& to,
                                                         const std::shared_ptr<const sample_batch>& batch) {
        std::vector<std::size_t> refused = series_.stage(to, batch);
        running_average added;
        auto skip = refused.begin();
        for (std::size_t i = 0; i < batch->size(); ++i) {
            if (skip != refused.end() && *skip == i) {
                ++skip;
                continue;
            }
            for (const double value : (*batch)[i].values) added.add(value);
        }
        if (added.count == 0) return refused;
        to.merge(where_, average_key, added.row());
        to.then([this, added] {
            const std::lock_guard lock(mutex_);
            average_.merge(added);
        });
        return refused;
    }

    /// Of all values that ever came by POST /insert.
    [[nodiscard]] running_average average() const {
        const std::lock_guard lock(mutex_);
        return average_;
    }

    /// A row for each of the query's; none if nothing is known of the metric.
    [[nodiscard]] std::vector<aggregate_row> aggregate(const metric_query& query) {
        std::vector<aggregate_row> rows;
        std::vector<std::string> names = series_.names(query.metric + '\0', "", series_.size());
        if (names.empty()) return rows;
        for (const time_span& row : query.rows) rows.emplace_back(row);
        for (const std::string& name : names) {
            const metric_id id = metric_id::of(name);
            if (!std::all_of(query.filters.begin(), query.filters.end(),
                             [&](const tag_filter& f) { return f.passes(id); }))
                continue;
            group_key group;
            for (const std::string& tag : query.group_by) group.emplace_back(id.tag(tag));
            series_.read(name, [&](const series::view& w) {
                for (aggregate_row& row : rows) add(row, group, w, query.quantiles);
            });
        }
        return rows;
    }

private:
    static constexpr std::string_view average_key = "t";

    static void add(aggregate_row& row, const group_key& group, const series::view& w, bool quantiles) {
        using namespace std::chrono;
        const auto from = floor<seconds>(row.asked().from);
        const auto to = ceil<seconds>(row.asked().to);
        if (from >= to) return;
        const auto found = w.query(to - from, to - seconds(1));
        if (found.sketch.empty()) return;
        row.add(group, found.sketch, {found.from, found.to}, quantiles);
    }

    qsketch_server::table where_;
    series series_;
    mutable std::mutex mutex_;
    running_average average_;
};

} // namespace qsketch_server
