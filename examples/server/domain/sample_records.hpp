#pragma once

#include <qsketch/detail/endian.hpp>
#include <qsketch/error.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// How samples lie in the store until they are put into a window: records one after the other, so that two lists make
// one by being written one behind the other. A record is a varint of twice the number of values, a varint of the second
// and the values, little-endian; or a varint of twice the size of a sketch's image plus one, the second, the image.
namespace qsketch_server {

inline void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

[[noreturn]] inline void fail_records() { throw qsketch::format_error("samples in the store are damaged"); }

/// Takes it off the front. Throws qsketch::format_error.
[[nodiscard]] inline std::uint64_t take_varint(std::string_view& in) {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (in.empty() || shift > 63) fail_records();
        const auto byte = static_cast<unsigned char>(in.front());
        in.remove_prefix(1);
        value |= std::uint64_t{byte & 0x7fu} << shift;
        if (byte < 0x80) return value;
    }
}

class record_writer {
public:
    explicit record_writer(std::string& out) noexcept : out_(out) {}

    void values(std::int64_t second, std::span<const double> values) {
        begin(2 * values.size(), second);
        if constexpr (std::endian::native == std::endian::little) {
            out_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
        } else {
            for (const double value : values) {
                std::byte bytes[sizeof value];
                qsketch::detail::store_little_endian(bytes, std::bit_cast<std::uint64_t>(value));
                out_.append(reinterpret_cast<const char*>(bytes), sizeof bytes);
            }
        }
    }

    void image(std::int64_t second, std::span<const std::byte> image) {
        begin(2 * image.size() + 1, second);
        out_.append(reinterpret_cast<const char*>(image.data()), image.size());
    }

private:
    void begin(std::uint64_t what, std::int64_t second) {
        put_varint(out_, what);
        put_varint(out_, static_cast<std::uint64_t>(second));
    }

    std::string& out_;
};

/// Calls on_values(second, values) and on_image(second, image) for the records, in order.
/// Throws qsketch::format_error where the bytes are no list of records; those before have been visited then.
template <class OnValues, class OnImage>
void read_records(std::string_view records, OnValues on_values, OnImage on_image) {
    std::vector<double> values;
    while (!records.empty()) {
        const std::uint64_t what = take_varint(records);
        const auto second = static_cast<std::int64_t>(take_varint(records));
        const std::uint64_t n = what / 2;
        const std::size_t unit = what % 2 == 0 ? sizeof(double) : 1;
        if (n > records.size() / unit) fail_records();
        const std::size_t size = static_cast<std::size_t>(n) * unit;
        if (what % 2 == 0) {
            values.resize(static_cast<std::size_t>(n));
            for (std::size_t i = 0; i < values.size(); ++i)
                values[i] =
                    std::bit_cast<double>(qsketch::detail::load_little_endian<std::uint64_t>(records.data() + 8 * i));
            on_values(second, std::span<const double>(values));
        } else {
            on_image(second, std::as_bytes(std::span(records.data(), size)));
        }
        records.remove_prefix(size);
    }
}

} // namespace qsketch_server
