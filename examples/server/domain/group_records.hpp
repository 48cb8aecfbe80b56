#pragma once

#include "domain/sample_batch.hpp"
#include "domain/sample_records.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

// The samples of one series, second by second and as records.
namespace qsketch_server {

/// Calls visit(second, values) for each second, in order.
template <class Visitor>
void each_second(const sample_batch::group& group, Visitor visit) {
    const auto& [name, seconds, values, lines] = group;
    for (std::size_t begin = 0; begin < seconds.size();) {
        std::size_t end = begin + 1;
        while (end < seconds.size() && seconds[end] == seconds[begin]) ++end;
        visit(seconds[begin], values.subspan(begin, end - begin));
        begin = end;
    }
}

/// Adds the samples as records.
inline void put_group(record_writer to, const sample_batch::group& group) {
    each_second(group, [&](std::int64_t second, auto values) { to.values(second, values); });
}

/// Those of several groups of one series.
inline void put_groups(std::string& to, std::span<const sample_batch::group> groups) {
    std::size_t samples = 0;
    for (const auto& group : groups) samples += group.values.size();
    std::vector<std::int64_t> seconds;
    std::vector<double> values;
    seconds.reserve(samples);
    values.reserve(samples);
    for (const auto& group : groups) {
        seconds.insert(seconds.end(), group.seconds.begin(), group.seconds.end());
        values.insert(values.end(), group.values.begin(), group.values.end());
    }
    std::vector<std::int64_t> seconds_in_order(seconds.size());
    std::vector<double> values_in_order(values.size());
    place_by_time(
        seconds.size(), [&](std::size_t i) { return seconds[i]; },
        [&](std::size_t i, std::size_t place) {
            seconds_in_order[place] = seconds[i];
            values_in_order[place] = values[i];
        });
    to.reserve(to.size() + samples * (sizeof(double) + 1));
    put_group(record_writer(to), {{}, seconds_in_order, values_in_order, {}});
}

} // namespace qsketch_server
