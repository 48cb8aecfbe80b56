#include "domain/aggregate.hpp"
#include "domain/metrics.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"
#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace qsketch_server;
using namespace std::chrono_literals;
using server_test::directory;

namespace {

const instant now = *parse_instant("2024-01-20T15:30:00.500Z");

/// What a pattern means, in so many words: the first * takes nothing, or one byte more.
bool matches_slowly(std::string_view pattern, std::string_view text) {
    if (pattern.empty()) return text.empty();
    if (pattern[0] == '\\' && pattern.size() > 1)
        return !text.empty() && text[0] == pattern[1] && matches_slowly(pattern.substr(2), text.substr(1));
    if (pattern[0] == '*')
        return matches_slowly(pattern.substr(1), text) || (!text.empty() && matches_slowly(pattern, text.substr(1)));
    return !text.empty() && text[0] == pattern[0] && matches_slowly(pattern.substr(1), text.substr(1));
}

struct sample {
    metric_id id;
    instant at;
    double value;
};

/// A store of metrics, and all that is in it.
struct recorded {
    explicit recorded(const std::string& path, std::chrono::seconds retention = 35 * 24h)
        : rows({path, storage::sync::async},
               [&] {
                   std::array<table_rules, table_count> rules;
                   rules[static_cast<std::size_t>(table::metrics)] =
                       metric_store::rules(metric_store::levels(retention));
                   return rules;
               }()),
          metrics({table::metrics, metric_store::levels(retention), 10'000, std::size_t{1} << 28}, rows) {}

    void add(const std::vector<sample>& samples) {
        auto batch = std::make_shared<sample_batch>();
        for (const sample& s : samples) batch->add(1, s.id.name(), s.at, s.value);
        batch->group_by_series();
        changes c;
        REQUIRE(metrics.table().stage(c, batch).empty());
        rows.commit(std::move(c));
        all.insert(all.end(), samples.begin(), samples.end());
    }

    storage rows;
    metric_store metrics;
    std::vector<sample> all;
};

std::vector<sample> random_samples(std::mt19937_64& random, std::size_t n, std::chrono::milliseconds span) {
    const auto any = [&](std::initializer_list<const char*> of) {
        return std::string(of.begin()[random() % of.size()]);
    };
    std::vector<sample> out;
    for (std::size_t i = 0; i < n; ++i) {
        metric_id id{any({"cpu", "cpu.load", "disk"}), {}};
        if (random() % 4 != 0) id.tags.push_back({"datacenter", any({"us-east", "us-west", "eu"})});
        if (random() % 5 != 0) id.tags.push_back({"host", any({"web-1", "web-2", "web-20", "db-1"})});
        if (random() % 2 != 0) id.tags.push_back({"os", any({"linux", "bsd"})});
        const auto age = std::chrono::milliseconds(random() % static_cast<std::uint64_t>(span.count()));
        out.push_back({std::move(id), now - age, static_cast<double>(random() % 2000) / 4});
    }
    return out;
}

using exact_groups = std::map<group_key, std::vector<double>>;

/// The samples of the interval that the query asks for, by group.
exact_groups matching(const std::vector<sample>& all, const metric_query& query, time_span covered) {
    exact_groups out;
    for (const sample& s : all) {
        if (s.id.metric != query.metric || s.at < covered.from || s.at >= covered.to) continue;
        bool passes = true;
        for (const tag_filter& f : query.filters) {
            bool any = false;
            for (const metric_tag& tag : s.id.tags)
                for (const std::string& pattern : f.patterns)
                    any = any || (tag.name == f.name && matches_slowly(pattern, tag.value));
            passes = passes && any;
        }
        if (!passes) continue;
        group_key key;
        for (const std::string& name : query.group_by) {
            key.emplace_back();
            for (const metric_tag& tag : s.id.tags)
                if (tag.name == name) key.back() = tag.value;
        }
        out[key].push_back(s.value);
    }
    return out;
}

std::vector<aggregation> named(std::initializer_list<const char*> names) {
    std::vector<aggregation> out;
    for (const char* name : names) out.push_back(*aggregation::named(name));
    return out;
}

void check_cell(const aggregate_cell& cell, std::vector<double> values) {
    const auto wanted = named({"avg", "min", "max", "sum", "count", "p0", "p50", "p99.5", "p100"});
    const auto figures = cell.figures(wanted);
    std::sort(values.begin(), values.end());
    double sum = 0;
    for (const double v : values) sum += v; // quarters: exact
    const auto n = static_cast<double>(values.size());
    CHECK(figures[0] == sum / n);
    CHECK(figures[1] == values.front());
    CHECK(figures[2] == values.back());
    CHECK(figures[3] == sum);
    CHECK(figures[4] == n);
    CHECK(figures[5] == values.front());
    CHECK(figures[8] == values.back());
    // As for the windows of samples: a cell of the digest's scale, and one value.
    for (const auto& [q, index] : {std::pair(0.5, 6u), std::pair(0.995, 7u)})
        CHECK(support::rank_error(values, q, figures[index]) <=
              0.008 * std::pow(2 * (std::min)(q, 1 - q), 0.75) + 1 / n);
}

} // namespace

TEST_CASE("A * in a pattern stands for any bytes or none, unless it is behind a backslash") {
    for (const char* pattern : {"web-*", "*", "*-1", "w*b*1", "**1", "web-1"})
        CHECK(matches_wildcard(pattern, "web-1"));
    for (const char* pattern : {"web-", "eb-1", "*2", "web-1?", "", "web-1*x", "*w*w*"})
        CHECK_FALSE(matches_wildcard(pattern, "web-1"));
    for (const char* pattern : {"a\\*b", "*\\*b", "a*\\b", "\\a\\*\\b"}) CHECK(matches_wildcard(pattern, "a*b"));
    for (const char* pattern : {"a\\*b", "a\\b", "a*b\\*"}) CHECK_FALSE(matches_wildcard(pattern, "a-b"));
    CHECK(matches_wildcard("", ""));
    CHECK(matches_wildcard("***", ""));
    std::mt19937_64 random(3);
    int hits = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string pattern;
        std::string text;
        for (auto n = random() % 7; n > 0; --n) pattern += "ab**\\"[random() % 5];
        for (auto n = random() % 7; n > 0; --n) text += "aabb*\\"[random() % 6];
        CHECK(matches_wildcard(pattern, text) == matches_slowly(pattern, text));
        hits += matches_wildcard(pattern, text) ? 1 : 0;
    }
    CHECK(hits > 1000);
    CHECK_FALSE(matches_wildcard("*a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(10'000, 'a')));
}

TEST_CASE("Aggregations are known by their names, percentiles by any number from 0 to 100") {
    for (const auto& [name, q] : {std::pair("p50", 0.5), std::pair("p99.9", 0.999), std::pair("p0", 0.0),
                                  std::pair("p100", 1.0), std::pair("p5", 0.05), std::pair("p.5", 0.005)}) {
        CAPTURE(name);
        const auto found = aggregation::named(name);
        REQUIRE(found);
        CHECK(found->is == aggregation::kind::quantile);
        CHECK(std::abs(found->q - q) < 1e-12);
        CHECK(found->name == name);
    }
    for (const char* name : {"avg", "min", "max", "sum", "count"}) CHECK(aggregation::named(name));
    for (const char* name :
         {"", "p", "p101", "p-1", "p1e1", "pnan", "pinf", "p5.5.5", "p 5", "P50", "AVG", "mean", "50"}) {
        CAPTURE(name);
        CHECK_FALSE(aggregation::named(name));
    }
}

TEST_CASE("The name of a series gives back its metric and its tags") {
    for (const metric_id& id : {metric_id{"m", {}}, metric_id{"m", {{"a", "b"}}},
                                metric_id{"a.b-c_d", {{"host", "x=y,z:*"}, {"os", "\xc3\xa9 "}}}}) {
        const metric_id again = metric_id::of(id.name());
        CHECK(again.metric == id.metric);
        CHECK(again.tags == id.tags);
        CHECK(again.tag("os") == (id.tags.size() == 2 ? "\xc3\xa9 " : ""));
    }
    CHECK(metric_id{"m", {}}.name() < metric_id{"m", {{"a", "b"}}}.name());
    CHECK_FALSE(std::string_view(metric_id{"mm", {}}.name()).starts_with(metric_id{"m", {}}.name()));
}

TEST_CASE("Filters, wildcards and groups give what an evaluation of all samples gives, also after opening again") {
    const directory place;
    std::mt19937_64 random(7);
    std::vector<sample> all;
    const std::vector<std::vector<tag_filter>> filters = {
        {},
        {{"host", {"web-*"}}},
        {{"host", {"web-2", "db-*"}}, {"datacenter", {"us-*", "eu"}}},
        {{"os", {"*"}}},
        {{"host", {"nobody"}}},
        {{"rack", {"*"}}},
        {{"host", {"*2*"}}, {"host", {"web-20"}}},
    };
    const std::vector<std::vector<std::string>> groups = {
        {}, {"datacenter"}, {"host", "os"}, {"rack"}, {"os", "datacenter", "host"}};
    for (int round = 0; round < 2; ++round) {
        recorded store(place.path());
        store.all = all;
        if (round == 0)
            for (int i = 0; i < 4; ++i) store.add(random_samples(random, 1500, i % 2 == 0 ? 50min : 20h));
        for (const char* metric : {"cpu", "cpu.load", "disk"})
            for (const auto& filter : filters)
                for (const auto& group_by : groups) {
                    const metric_query query{
                        metric, filter, group_by, true, {{now - 24h, now + 1s}, {now - 40min, now}}};
                    const auto rows = store.metrics.aggregate(query);
                    REQUIRE(rows.size() == 2);
                    for (const aggregate_row& row : rows) {
                        const exact_groups expected = matching(store.all, query, row.covered());
                        REQUIRE(row.groups().size() == expected.size());
                        exact_groups by_last;
                        std::vector<double> total;
                        for (const auto& [key, values] : expected) {
                            REQUIRE(row.groups().count(key) == 1);
                            check_cell(row.groups().at(key), values);
                            total.insert(total.end(), values.begin(), values.end());
                            if (key.empty()) continue;
                            auto& last = by_last[{key.back()}];
                            last.insert(last.end(), values.begin(), values.end());
                        }
                        if (!total.empty()) check_cell(row.total(), total);
                        if (group_by.empty()) continue;
                        const auto by = row.groups_by(group_by.size() - 1);
                        REQUIRE(by.size() == by_last.size());
                        for (const auto& [key, values] : by_last) check_cell(by.at(key), values);
                    }
                }
        CHECK(store.metrics.aggregate({"unknown", {}, {}, true, {{now - 1h, now}}}).empty());
        all = store.all;
    }
}

TEST_CASE("Resolution is a second for an hour, a minute for a day, an hour for the retention") {
    const directory place;
    recorded store(place.path());
    std::vector<sample> samples;
    // More seconds than buckets, so that old ones are joined as far as they may be.
    for (int i = 0; i < 9000; ++i)
        samples.push_back({{"m", {}}, now - std::chrono::seconds(i * 97), static_cast<double>(i % 50)});
    for (int i = 0; i < 3600; ++i) samples.push_back({{"m", {}}, now - std::chrono::seconds(i), 1});
    store.add(samples);
    const auto check = [&](instant from, instant to) {
        const auto rows = store.metrics.aggregate({"m", {}, {}, true, {{from, to}}});
        REQUIRE(rows.size() == 1);
        const exact_groups expected = matching(store.all, {"m", {}, {}, true, {}}, rows[0].covered());
        if (expected.empty()) {
            CHECK(rows[0].total().count() == 0);
        } else {
            check_cell(rows[0].total(), expected.begin()->second);
        }
        return rows[0].covered();
    };
    const instant second = std::chrono::floor<std::chrono::seconds>(now);
    const instant minute = std::chrono::floor<std::chrono::minutes>(now);
    const instant hour = std::chrono::floor<std::chrono::hours>(now);
    for (const auto age : {1s, 30s, 1000s, 3500s}) {
        const auto covered = check(second - age, second - age + 1s);
        CHECK(covered.from == second - age);
        CHECK(covered.to == second - age + 1s);
    }
    for (const auto age : {2min, 61min, 700min, 1430min}) {
        const auto covered = check(minute - age, minute - age + 5min);
        CHECK(covered.from == minute - age);
        CHECK(covered.to == minute - age + 5min);
    }
    for (const auto age : {1h, 30h, 100h, 240h}) {
        const auto covered = check(hour - age, hour - age + 3h);
        CHECK(covered.from == hour - age);
        CHECK(covered.to == hour - age + 3h);
    }
    // What is asked for in between is answered for what there is, and said so.
    const auto covered = check(hour - 100h + 10min, hour - 99h + 50min);
    CHECK((covered.from == hour - 100h && covered.to == hour - 98h));
    check(now - 300h, now + 1s);
}

TEST_CASE("Groups come in the order asked for, those without a figure last") {
    std::map<group_key, aggregate_cell> groups;
    const auto add = [&](const char* name, std::vector<double> values) {
        metric_sketch s;
        s.add(std::span<const double>(values));
        groups[{name}].add(s, true);
    };
    add("a", {3});
    add("b", {1, 2, 3});
    add("c", {});
    add("d", {9});
    const auto wanted = named({"max", "count"});
    const auto order = [&](group_order o) {
        std::string out;
        for (const auto& g : ordered_groups(groups, wanted, o)) out += g.key[0];
        return out;
    };
    CHECK(order({}) == "abcd");
    CHECK(order({0, false}) == "abdc");
    CHECK(order({0, true}) == "dabc");
    CHECK(order({1, true}) == "badc");
    CHECK(order({1, false}) == "cadb");
    CHECK(order({2, true}) == "dcba");
    CHECK(order({0, true, 2}) == "da");
    CHECK(order({std::nullopt, false, 3}) == "abc");
}

TEST_CASE("The average of all inserts is the same however they are grouped") {
    std::mt19937_64 random(11);
    std::vector<double> values;
    for (int i = 0; i < 10'000; ++i)
        values.push_back(
            std::ldexp(static_cast<double>(random() % 1'000'003) - 500'000, static_cast<int>(random() % 60)));
    running_average one_by_one;
    running_average in_parts;
    for (std::size_t i = 0; i < values.size();) {
        running_average part;
        for (auto n = 1 + random() % 500; n > 0 && i < values.size(); --n, ++i) {
            part.add(values[i]);
            one_by_one.add(values[i]);
        }
        in_parts.merge(running_average::of(part.row()));
    }
    CHECK(in_parts.count == 10'000);
    CHECK(in_parts.average() == one_by_one.average());
    long double exact = 0;
    for (const double v : values) exact += v;
    CHECK(in_parts.average() == static_cast<double>(exact / 10'000));
    CHECK(std::isnan(running_average().average()));
    CHECK_THROWS_AS(running_average::of(std::string(24, 'a')), qsketch::format_error);
    CHECK_THROWS_AS(running_average::of(std::string(25, 'b')), qsketch::format_error);
}
