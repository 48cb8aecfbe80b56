#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/mul128.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The frame around every serialized sketch.
///
///     offset  0   1   2   3   4   5   6   7   8  .. 11   12 ...
///            'Q' 'S' 'K' ver  kind  three options  checksum   body
///
/// All integers are little-endian; doubles are the bits of IEEE 754. The checksum covers every other byte. It finds
/// accidents; it is no defence against somebody who forges an image, so every reader validates what it reads.
namespace qsketch::inline v0::detail {

enum class image_kind : std::uint8_t {
    tdigest = 1,
    count_min = 2,
    hyperloglog = 3,
    sliding_window = 4,
    ultraloglog = 5,
    top_k = 6,
    log_histogram = 7,
    exp_window = 8,
    replica_set = 9,
};

/// Three bytes whose meaning belongs to the kind (a policy, a precision, a mode); unused ones are zero.
using image_options = std::array<std::uint8_t, 3>;

inline constexpr std::uint8_t image_version = 1;
inline constexpr std::size_t image_header_size = 12;
inline constexpr std::size_t image_checksum_offset = 8;

/// Eight independent lanes of folded products, because one lane would wait for its own multiplications.
[[nodiscard]] inline std::uint32_t image_checksum(std::span<const std::byte> bytes) noexcept {
    constexpr std::uint64_t odd_a = 0x9e3779b97f4a7c15; // 2^64 / golden ratio
    constexpr std::uint64_t odd_b = 0xd1b54a32d192ed03;
    constexpr std::size_t most_rounds = 32; // so that what is read twice is in the cache
    std::array<std::uint64_t, 8> lanes;
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] = odd_a * (lane + 1);
    const std::byte* p = bytes.data();
    std::size_t left = bytes.size();
    while (left >= 128) {
        const std::size_t rounds = (std::min)(left / 128, most_rounds);
        for (std::size_t first = 0; first < lanes.size(); first += 4) { // four lanes at a time have registers
            auto [a, b, c, d] = std::array{lanes[first], lanes[first + 1], lanes[first + 2], lanes[first + 3]};
            const std::byte* word = p + 16 * first;
            const auto next = [&](std::uint64_t lane) {
                const auto x = load_little_endian<std::uint64_t>(word) ^ lane;
                const auto y = load_little_endian<std::uint64_t>(word + 8) ^ odd_b;
                word += 16;
                return folded_product(x, y);
            };
            for (std::size_t round = 0; round < rounds; ++round, word += 64) {
                a = next(a);
                b = next(b);
                c = next(c);
                d = next(d);
            }
            lanes[first] = a;
            lanes[first + 1] = b;
            lanes[first + 2] = c;
            lanes[first + 3] = d;
        }
        left -= 128 * rounds;
        p += 128 * rounds;
    }
    std::uint64_t sum = bytes.size();
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        if (left > 0) {
            std::array<std::byte, 16> last{};
            const std::byte* word = p;
            if (left < last.size()) {
                std::memcpy(last.data(), p, left);
                word = last.data();
            }
            const std::size_t size = (std::min)(left, last.size());
            left -= size;
            p += size;
            lanes[lane] = folded_product(load_little_endian<std::uint64_t>(word) ^ lanes[lane],
                                         load_little_endian<std::uint64_t>(word + 8) ^ odd_b);
        }
        sum = folded_product(sum ^ lanes[lane], odd_a);
    }
    return static_cast<std::uint32_t>(sum ^ (sum >> 32));
}

/// The checksum with its own field taken as zero.
[[nodiscard]] inline std::uint32_t framed_checksum(std::span<const std::byte> image) noexcept {
    std::array<std::byte, image_checksum_offset> head;
    std::memcpy(head.data(), image.data(), head.size());
    const auto body = image.subspan(image_header_size);
    return static_cast<std::uint32_t>(
        folded_product(image_checksum(body), load_little_endian<std::uint64_t>(head.data()) | 1) ^
        image_checksum(head));
}

/// Builds one image: header at construction, body by put(), checksum by finish().
class image_writer : public byte_writer {
public:
    image_writer(image_kind kind, image_options options, std::size_t body_size)
        : byte_writer(image_header_size + body_size) {
        put(std::uint8_t{'Q'}, std::uint8_t{'S'}, std::uint8_t{'K'}, image_version, static_cast<std::uint8_t>(kind),
            options[0], options[1], options[2], std::uint32_t{0});
    }

    [[nodiscard]] std::vector<std::byte> finish() && {
        auto image = std::move(*this).byte_writer::finish();
        store_little_endian(image.data() + image_checksum_offset, framed_checksum(image));
        return image;
    }
};

/// Reads one image: the constructor checks the frame.
class image_reader : public byte_reader {
public:
    /// Throws format_error unless `image` is a whole, undamaged image of `kind` in a version known here.
    image_reader(std::span<const std::byte> image, image_kind kind, std::string_view name) : byte_reader(image, name) {
        if (image.size() < image_header_size)
            fail("has " + std::to_string(image.size()) + " bytes, the header alone takes " +
                 std::to_string(image_header_size));
        if (std::memcmp(image.data(), "QSK", 3) != 0) fail("does not start with the letters QSK");
        if (at(image, 3) != image_version)
            fail("has format version " + std::to_string(at(image, 3)) + ", this reader knows version " +
                 std::to_string(image_version));
        if (at(image, 4) != static_cast<std::uint8_t>(kind))
            fail("is of kind " + std::to_string(at(image, 4)) + ", expected kind " +
                 std::to_string(static_cast<unsigned>(kind)));
        if (load_little_endian<std::uint32_t>(image.data() + image_checksum_offset) != framed_checksum(image))
            fail("is damaged: its checksum does not match its bytes");
        options_ = {at(image, 5), at(image, 6), at(image, 7)};
        static_cast<void>(take_bytes(image_header_size));
    }

    [[nodiscard]] const image_options& options() const noexcept { return options_; }

private:
    [[nodiscard]] static std::uint8_t at(std::span<const std::byte> image, std::size_t i) noexcept {
        return std::to_integer<std::uint8_t>(image[i]);
    }

    image_options options_{};
};

} // namespace qsketch::inline v0::detail
