#pragma once

#include <string_view>
#include <vector>

namespace qsketch_server {

/// The parts of "a,b,c", empty ones too. A comma behind a backslash does not separate, unless that is behind another.
[[nodiscard]] inline std::vector<std::string_view> comma_separated(std::string_view list) {
    std::vector<std::string_view> parts;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (list[i] == '\\') {
            ++i;
        } else if (list[i] == ',') {
            parts.push_back(list.substr(begin, i - begin));
            begin = i + 1;
        }
    }
    parts.push_back(list.substr(begin));
    return parts;
}

} // namespace qsketch_server
