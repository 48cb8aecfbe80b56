#pragma once

#include "domain/instant.hpp"
#include "domain/value_sketch.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace qsketch_server {

/// Does the text match a pattern in which each * stands for any bytes, or none, but what is behind a backslash, as all
/// else, for itself?
[[nodiscard]] inline bool matches_wildcard(std::string_view pattern, std::string_view text) noexcept {
    std::size_t p = 0;
    std::size_t star = pattern.npos; // the last one seen, and what it has taken so far
    std::size_t taken = 0;
    for (std::size_t t = 0; t < text.size();) {
        const std::size_t escape = p + 1 < pattern.size() && pattern[p] == '\\' ? 1 : 0;
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            taken = t;
        } else if (p < pattern.size() && pattern[p + escape] == text[t]) {
            p += escape + 1;
            ++t;
        } else if (star != pattern.npos) {
            p = star + 1;
            t = ++taken;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', p) == pattern.npos;
}

/// A tag of a series. Neither part is empty or has control characters.
struct metric_tag {
    std::string name;
    std::string value;
    friend auto operator<=>(const metric_tag&, const metric_tag&) = default;
};

/// A metric and its tags, which together name a series.
struct metric_id {
    std::string metric;
    std::vector<metric_tag> tags; ///< By name, each name once.

    /// The name of the series: "metric\0" and for every tag "name\0value\0".
    [[nodiscard]] std::string name() const {
        std::string out = metric + '\0';
        for (const metric_tag& tag : tags) out.append(tag.name + '\0').append(tag.value + '\0');
        return out;
    }
    /// What name() was called of.
    [[nodiscard]] static metric_id of(std::string_view name) {
        const auto next = [&] {
            const std::size_t end = (std::min)(name.find('\0'), name.size());
            std::string part(name.substr(0, end));
            name.remove_prefix((std::min)(end + 1, name.size()));
            return part;
        };
        metric_id out{next(), {}};
        while (!name.empty()) {
            std::string tag = next();
            out.tags.push_back({std::move(tag), next()});
        }
        return out;
    }
    /// Empty if there is no such tag.
    [[nodiscard]] std::string_view tag(std::string_view name) const noexcept {
        for (const metric_tag& tag : tags)
            if (tag.name == name) return tag.value;
        return {};
    }
};

/// Lets series pass that have the tag, with a value that one of the patterns matches.
struct tag_filter {
    std::string name;
    std::vector<std::string> patterns;

    [[nodiscard]] bool passes(const metric_id& id) const noexcept {
        const std::string_view value = id.tag(name);
        return !value.empty() && std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
            return matches_wildcard(pattern, value);
        });
    }
};

/// One figure of any number of values.
struct aggregation {
    enum class kind { avg, min, max, sum, count, quantile };
    kind is;
    double q = 0; ///< Of a quantile.
    std::string name;

    /// "avg", "min", "max", "sum", "count", or "p" and a number from 0 to 100. Nothing for another text.
    [[nodiscard]] static std::optional<aggregation> named(std::string_view name) {
        constexpr std::pair<std::string_view, kind> names[] = {
            {"avg", kind::avg}, {"min", kind::min}, {"max", kind::max}, {"sum", kind::sum}, {"count", kind::count}};
        for (const auto& [known, is] : names)
            if (name == known) return aggregation{is, 0, std::string(name)};
        if (name.size() < 2 || name[0] != 'p' || name.find_first_not_of("0123456789.", 1) != name.npos) return {};
        double percent = 0;
        const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), percent);
        if (error != std::errc{} || end != name.data() + name.size() || !(percent >= 0 && percent <= 100)) return {};
        return aggregation{kind::quantile, percent / 100, std::string(name)};
    }
};

/// What is known of the values of one group in one interval, enough for the aggregations asked for.
class aggregate_cell {
public:
    void add(const metric_sketch& values, bool quantiles) {
        totals_.merge(values.totals());
        if (quantiles) sketch_.merge(values);
    }
    void merge(const aggregate_cell& other) {
        totals_.merge(other.totals_);
        sketch_.merge(other.sketch_);
    }
    [[nodiscard]] std::uint64_t count() const noexcept { return totals_.count; }

    /// In the order of the aggregations; NaN where there are no values, but for sum and count.
    [[nodiscard]] std::vector<double> figures(std::span<const aggregation> wanted) const {
        constexpr double none = std::numeric_limits<double>::quiet_NaN();
        std::vector<double> out;
        std::optional<metric_sketch::digest_type> digest;
        for (const aggregation& a : wanted) {
            const bool empty = totals_.count == 0;
            switch (a.is) {
            case aggregation::kind::avg:
                out.push_back(empty ? none : totals_.sum / static_cast<double>(totals_.count));
                break;
            case aggregation::kind::min:
                out.push_back(empty ? none : totals_.min);
                break;
            case aggregation::kind::max:
                out.push_back(empty ? none : totals_.max);
                break;
            case aggregation::kind::sum:
                out.push_back(totals_.sum);
                break;
            case aggregation::kind::count:
                out.push_back(static_cast<double>(totals_.count));
                break;
            case aggregation::kind::quantile:
                if (!digest) {
                    digest = sketch_.digest();
                    digest->flush();
                }
                out.push_back(digest->quantile(a.q));
                break;
            }
        }
        return out;
    }

private:
    value_totals totals_;
    metric_sketch sketch_;
};

/// Values of tags, one for each tag grouped by; empty for series without that tag.
using group_key = std::vector<std::string>;

struct time_span {
    instant from;
    instant to; ///< Excluded.
};

/// The cells of one interval by group.
class aggregate_row {
public:
    explicit aggregate_row(time_span asked) : asked_(asked), covered_(asked) {}

    [[nodiscard]] time_span asked() const noexcept { return asked_; }
    /// What the cells cover: the interval asked for, made longer or shorter by what the series keep apart.
    [[nodiscard]] time_span covered() const noexcept { return covered_; }
    [[nodiscard]] const std::map<group_key, aggregate_cell>& groups() const noexcept { return groups_; }

    void add(const group_key& group, const metric_sketch& values, time_span covered, bool quantiles) {
        groups_[group].add(values, quantiles);
        cover(covered);
    }
    void merge(const aggregate_row& other) {
        for (const auto& [key, cell] : other.groups_) groups_[key].merge(cell);
        cover(other.covered_);
    }

    [[nodiscard]] aggregate_cell total() const {
        aggregate_cell out;
        for (const auto& [key, cell] : groups_) out.merge(cell);
        return out;
    }
    /// The groups by one of the tags alone.
    [[nodiscard]] std::map<group_key, aggregate_cell> groups_by(std::size_t tag) const {
        std::map<group_key, aggregate_cell> out;
        for (const auto& [key, cell] : groups_) out[{key[tag]}].merge(cell);
        return out;
    }

private:
    void cover(time_span t) noexcept {
        covered_ = touched_ ? time_span{(std::min)(covered_.from, t.from), (std::max)(covered_.to, t.to)} : t;
        touched_ = true;
    }

    time_span asked_;
    time_span covered_;
    bool touched_ = false; // by values
    std::map<group_key, aggregate_cell> groups_;
};

/// The order of groups, and how many of them are wanted.
struct group_order {
    /// Index of an aggregation, or beyond them of a tag grouped by; none: by the tags' values.
    std::optional<std::size_t> by;
    bool descending = false;
    std::size_t limit = std::numeric_limits<std::size_t>::max();
};

struct group_figures {
    group_key key;
    std::vector<double> figures;
};

/// The groups with their figures, in order and no more than wanted. What has no figure comes last, equal ones by key.
[[nodiscard]] inline std::vector<group_figures> ordered_groups(const std::map<group_key, aggregate_cell>& groups,
                                                               std::span<const aggregation> wanted,
                                                               const group_order& order) {
    std::vector<group_figures> out;
    for (const auto& [key, cell] : groups) out.push_back({key, cell.figures(wanted)});
    if (order.by && *order.by < wanted.size()) {
        std::stable_sort(out.begin(), out.end(), [&](const group_figures& a, const group_figures& b) {
            const double x = a.figures[*order.by];
            const double y = b.figures[*order.by];
            if (std::isnan(x) || std::isnan(y)) return !std::isnan(x);
            return order.descending ? x > y : x < y;
        });
    } else if (order.by) {
        std::stable_sort(out.begin(), out.end(), [&](const group_figures& a, const group_figures& b) {
            const std::size_t tag = (std::min)(*order.by - wanted.size(), a.key.size() - 1);
            return order.descending ? a.key[tag] > b.key[tag] : a.key[tag] < b.key[tag];
        });
    }
    if (out.size() > order.limit) out.resize(order.limit);
    return out;
}

} // namespace qsketch_server
