#pragma once

#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/mul128.hpp>
#include <qsketch/error.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The frame around every serialized sketch, and the only code that reads or writes raw bytes.
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
    std::array<std::uint64_t, 8> lanes;
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] = odd_a * (lane + 1);
    const std::byte* p = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 128; left -= 128, p += 128)
        for (std::size_t lane = 0; lane < lanes.size(); ++lane)
            lanes[lane] = folded_product(load_little_endian<std::uint64_t>(p + 16 * lane) ^ lanes[lane],
                                         load_little_endian<std::uint64_t>(p + 16 * lane + 8) ^ odd_b);
    std::array<std::byte, 128> tail{};
    if (left > 0) std::memcpy(tail.data(), p, left);
    std::uint64_t sum = bytes.size();
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const std::byte* word = tail.data() + 16 * lane;
        if (16 * lane < left)
            lanes[lane] = folded_product(load_little_endian<std::uint64_t>(word) ^ lanes[lane],
                                         load_little_endian<std::uint64_t>(word + 8) ^ odd_b);
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
class image_writer {
public:
    image_writer(image_kind kind, image_options options, std::size_t body_size) {
        bytes_.reserve(image_header_size + body_size);
        for (const char c : std::string_view("QSK")) put(static_cast<std::uint8_t>(c));
        put(image_version);
        put(static_cast<std::uint8_t>(kind));
        for (const auto option : options) put(option);
        put(std::uint32_t{0});
    }

    template <std::unsigned_integral T>
    void put(T value) {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + sizeof value);
        store_little_endian(bytes_.data() + at, value);
    }
    void put(double value) { put(std::bit_cast<std::uint64_t>(value)); }

    template <std::unsigned_integral T>
    void put(std::span<const T> values) {
        if constexpr (std::endian::native == std::endian::little) {
            const auto raw = std::as_bytes(values);
            bytes_.insert(bytes_.end(), raw.begin(), raw.end());
        } else {
            for (const T value : values) put(value);
        }
    }
    void put(std::span<const std::byte> raw) { bytes_.insert(bytes_.end(), raw.begin(), raw.end()); }

    [[nodiscard]] std::vector<std::byte> finish() && {
        store_little_endian(bytes_.data() + image_checksum_offset, framed_checksum(bytes_));
        return std::move(bytes_);
    }

private:
    std::vector<std::byte> bytes_;
};

/// Reads one image: the constructor checks the frame, take() checks every length against what is left.
class image_reader {
public:
    /// Throws format_error unless `image` is a whole, undamaged image of `kind` in a version known here.
    image_reader(std::span<const std::byte> image, image_kind kind, std::string_view name) : name_(name) {
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
        rest_ = image.subspan(image_header_size);
    }

    [[nodiscard]] const image_options& options() const noexcept { return options_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }

    template <std::unsigned_integral T>
    [[nodiscard]] T take() {
        return load_little_endian<T>(take_bytes(sizeof(T)).data());
    }
    [[nodiscard]] double take_double() { return std::bit_cast<double>(take<std::uint64_t>()); }

    /// `count` integers; the count is checked against the bytes that are left before anything is allocated.
    template <std::unsigned_integral T>
    [[nodiscard]] std::vector<T> take_array(std::uint64_t count) {
        if (count > rest_.size() / sizeof(T))
            fail("is truncated: " + std::to_string(count) + " values of " + std::to_string(sizeof(T)) +
                 " bytes announced, " + std::to_string(rest_.size()) + " bytes left");
        const auto raw = take_bytes(static_cast<std::size_t>(count) * sizeof(T));
        std::vector<T> values(static_cast<std::size_t>(count));
        if (!raw.empty()) std::memcpy(values.data(), raw.data(), raw.size());
        if constexpr (std::endian::native != std::endian::little)
            for (T& value : values) value = little_endian(value);
        return values;
    }

    [[nodiscard]] std::span<const std::byte> take_bytes(std::size_t size) {
        if (size > rest_.size())
            fail("is truncated: " + std::to_string(size) + " bytes needed, " + std::to_string(rest_.size()) + " left");
        const auto taken = rest_.first(size);
        rest_ = rest_.subspan(size);
        return taken;
    }

    /// Throws unless every byte has been taken.
    void expect_end() const {
        if (!rest_.empty()) fail("has " + std::to_string(rest_.size()) + " bytes too many");
    }

    /// Throws format_error: "<name> image <what>".
    [[noreturn]] void fail(const std::string& what) const { throw format_error(std::string(name_) + " image " + what); }

    void require(bool holds, const char* what) const {
        if (!holds) fail(what);
    }

private:
    [[nodiscard]] static std::uint8_t at(std::span<const std::byte> image, std::size_t i) noexcept {
        return std::to_integer<std::uint8_t>(image[i]);
    }

    std::string_view name_;
    image_options options_{};
    std::span<const std::byte> rest_;
};

} // namespace qsketch::inline v0::detail
