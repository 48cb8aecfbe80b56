#pragma once

#include <qsketch/detail/bytes.hpp>

#include <cstdint>

/// LEB128 for 32-bit integers inside an image: seven bits per byte, low ones first, the top bit says that more follow.
/// Exactly one spelling per value is written and accepted.
namespace qsketch::inline v0::detail {

inline void put_varint(byte_writer& out, std::uint32_t value) {
    for (; value >= 0x80; value >>= 7) out.put(static_cast<std::uint8_t>(value | 0x80));
    out.put(static_cast<std::uint8_t>(value));
}

/// Throws format_error for a truncated, overlong or more than 32 bits long one.
[[nodiscard]] inline std::uint32_t take_varint(byte_reader& in) {
    std::uint32_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const auto byte = in.take<std::uint8_t>();
        in.require(shift < 28 || byte <= 0x0f, "has a variable-length integer of more than 32 bits");
        value |= static_cast<std::uint32_t>(byte & 0x7f) << shift;
        if (byte < 0x80) {
            in.require(byte != 0 || shift == 0, "has an overlong variable-length integer");
            return value;
        }
    }
}

} // namespace qsketch::inline v0::detail
