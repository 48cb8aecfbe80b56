#pragma once

#include <qsketch/detail/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// Registers of six bits each, four of them in three bytes, filled from their low bits up; numbers of them are
/// multiples of four.
namespace qsketch::inline v0::detail {

inline void put_six_bits(byte_writer& out, std::span<const std::uint8_t> values) {
    for (std::size_t i = 0; i < values.size(); i += 4) {
        unsigned four = 0;
        for (std::size_t j = 0; j < 4; ++j) four |= unsigned{values[i + j]} << (6 * j);
        for (const unsigned shift : {0u, 8u, 16u}) out.put(static_cast<std::uint8_t>(four >> shift));
    }
}

[[nodiscard]] inline std::vector<std::uint8_t> take_six_bits(byte_reader& in, std::size_t count) {
    const auto bytes = in.take_bytes(count / 4 * 3);
    std::vector<std::uint8_t> values(count);
    for (std::size_t i = 0; i < count; i += 4) {
        unsigned four = 0;
        for (std::size_t j = 0; j < 3; ++j) four |= std::to_integer<unsigned>(bytes[i / 4 * 3 + j]) << (8 * j);
        for (std::size_t j = 0; j < 4; ++j) values[i + j] = static_cast<std::uint8_t>((four >> (6 * j)) & 0x3f);
    }
    return values;
}

} // namespace qsketch::inline v0::detail
