#pragma once

#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace support {

/// 32 bytes a line.
inline std::string to_hex(const std::vector<std::byte>& bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        text += digits[std::to_integer<unsigned>(bytes[i]) >> 4];
        text += digits[std::to_integer<unsigned>(bytes[i]) & 15];
        if (i % 32 == 31 || i + 1 == bytes.size()) text += '\n';
    }
    return text;
}

inline std::vector<std::byte> from_hex(const std::string& text) {
    std::vector<std::byte> bytes;
    unsigned high = 16;
    for (const char c : text) {
        if (c == '\n' || c == '\r') continue;
        const auto digit = static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
        if (high == 16) {
            high = digit;
        } else {
            bytes.push_back(std::byte(high * 16 + digit));
            high = 16;
        }
    }
    return bytes;
}

/// Empty if there is no such file.
inline std::string text_of_file(const std::string& path) {
    std::ifstream file(path);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

} // namespace support
