#pragma once

#include <string_view>
#include <vector>

namespace qsketch_server {

/// The parts of "a,b,c", empty ones too.
[[nodiscard]] inline std::vector<std::string_view> comma_separated(std::string_view list) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t comma = list.find(',');
        parts.push_back(list.substr(0, comma));
        if (comma == list.npos) return parts;
        list.remove_prefix(comma + 1);
    }
}

} // namespace qsketch_server
