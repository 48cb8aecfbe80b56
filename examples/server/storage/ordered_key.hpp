#pragma once

#include "storage/storage.hpp"

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>

// Numbers as bytes in the order of the numbers: big-endian.
namespace qsketch_server {

template <std::unsigned_integral T>
[[nodiscard]] std::string ordered(T number) {
    std::string out(sizeof number, '\0');
    for (auto at = out.rbegin(); at != out.rend(); ++at, number = static_cast<T>(number >> 8))
        *at = static_cast<char>(static_cast<unsigned char>(number));
    return out;
}

/// The number that begins at that byte. Throws storage_error if the bytes end before it does.
template <std::unsigned_integral T>
[[nodiscard]] T ordered_at(std::string_view bytes, std::size_t at) {
    if (bytes.size() < at + sizeof(T)) throw storage_error("a stored row is too short");
    T out = 0;
    for (const char c : bytes.substr(at, sizeof out)) out = static_cast<T>((out << 8) | static_cast<unsigned char>(c));
    return out;
}

} // namespace qsketch_server
