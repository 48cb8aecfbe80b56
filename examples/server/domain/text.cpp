#include "domain/text.hpp"

#include <algorithm>

namespace qsketch_server {

bool is_utf8(std::string_view text) noexcept {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned char lead = at(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (lead < 0xc2 || lead > 0xf4 || text.size() - i < length) return false;
        for (std::size_t k = 1; k < length; ++k)
            if ((at(i + k) & 0xc0) != 0x80) return false;
        const unsigned char second = at(i + 1);
        if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return false;
        if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return false;
        i += length;
    }
    return true;
}

bool has_control_characters(std::string_view text) noexcept {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_plain_name(std::string_view text, std::size_t most) noexcept {
    return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
               c == '.';
    });
}

std::string in_quotes(std::string_view value) {
    constexpr std::size_t shown = 64;
    std::string out = "\"";
    std::string_view head = value.substr(0, shown);
    // A cut may not leave half a character behind.
    while (head.size() < value.size() && !head.empty() &&
           (static_cast<unsigned char>(value[head.size()]) & 0xc0) == 0x80)
        head.remove_suffix(1);
    const bool readable = is_utf8(head);
    for (const char c : head) {
        const auto byte = static_cast<unsigned char>(c);
        out += byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !readable) ? '?' : c;
    }
    if (head.size() < value.size()) out += "...";
    return out += '"';
}

} // namespace qsketch_server
