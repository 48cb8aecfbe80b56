#pragma once

#include <stdexcept>
#include <string>

namespace qsketch::inline v0::detail {

/// Throws std::invalid_argument unless 0 <= low < high <= 1.
inline void require_share(const char* sketch, double low, double high) {
    if (!(low >= 0 && low < high && high <= 1))
        throw std::invalid_argument(std::string(sketch) + ": a trimmed mean needs 0 <= low < high <= 1, got " +
                                    std::to_string(low) + " and " + std::to_string(high));
}

} // namespace qsketch::inline v0::detail
