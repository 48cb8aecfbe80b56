#pragma once

#include "domain/series_table.hpp"
#include "domain/value_sketch.hpp"

#include <chrono>
#include <vector>

namespace qsketch_server {

/// The samples of the keys of family B.
using sample_table = series_table<sample_sketch>;

/// Some 130 buckets at most: exact to the second while there are no more seconds with samples than that, and for the
/// last 8 seconds always; further back an end of a window is moved by at most a sixteenth of its age.
[[nodiscard]] inline std::vector<sample_table::level> sample_levels(std::chrono::seconds retention) {
    // Samples may be five minutes ahead of now; those must not push out what is still inside the retention. The rest
    // is for the time that passes between the check of a sample and its arrival.
    constexpr std::chrono::minutes slack{6};
    return sample_table::window::exponential(std::chrono::seconds(1), 8, retention + slack);
}

} // namespace qsketch_server
