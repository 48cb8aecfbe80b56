#pragma once

#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/image.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

/// Numbers of any number of bits inside an image, low bits first, byte after byte; the last byte is filled with zeros.
namespace qsketch::inline v0::detail {

class bit_writer {
public:
    explicit bit_writer(image_writer& out) noexcept : out_(out) {}

    /// The low `width` <= 32 bits of `value`, of which the others are zero.
    void put(std::uint32_t value, unsigned width) {
        pending_ |= static_cast<std::uint64_t>(value) << size_;
        size_ += width;
        if (size_ < 32) return;
        out_.put(static_cast<std::uint32_t>(pending_));
        pending_ >>= 32;
        size_ -= 32;
    }

    /// `value` zeros and a one.
    void put_unary(std::uint32_t value) {
        for (; value >= 32; value -= 32) put(0, 32);
        put(std::uint32_t{1} << value, value + 1);
    }

    /// Writes out the last byte; nothing may follow.
    void finish() {
        for (unsigned written = 0; written < size_; written += 8)
            out_.put(static_cast<std::uint8_t>(pending_ >> written));
    }

private:
    image_writer& out_;
    std::uint64_t pending_ = 0;
    unsigned size_ = 0; // of pending_, below 32 between calls
};

/// Throws format_error where the bits end too early or the last ones are not zero.
class bit_reader {
public:
    /// Takes all that `in` has left, and refers to it.
    explicit bit_reader(image_reader& in) : in_(in), rest_(in.take_bytes(in.remaining())) {}

    [[nodiscard]] std::uint64_t bits_left() const noexcept { return std::uint64_t{rest_.size()} * 8 + size_; }

    /// Of `width` <= 32 bits.
    [[nodiscard]] std::uint32_t take(unsigned width) {
        if (size_ < width) refill();
        in_.require(size_ >= width, "is truncated within a number");
        const auto value = static_cast<std::uint32_t>(pending_ & ((std::uint64_t{1} << width) - 1));
        pending_ >>= width;
        size_ -= width;
        return value;
    }

    /// The number of zeros before the next one, which is taken too.
    [[nodiscard]] std::uint64_t take_unary() {
        std::uint64_t value = 0;
        while (pending_ == 0) {
            value += size_;
            size_ = 0;
            refill();
            in_.require(size_ > 0, "is truncated within a number");
        }
        const auto zeros = static_cast<unsigned>(std::countr_zero(pending_));
        pending_ >>= zeros; // in two steps, as both together may be all 64 bits
        pending_ >>= 1;
        size_ -= zeros + 1;
        return value + zeros;
    }

    /// Throws unless all that is left are the zeros that fill the last byte.
    void expect_end() const {
        in_.require(rest_.empty() && size_ < 8, "has bytes too many");
        in_.require(pending_ == 0, "has bits set after its last number");
    }

private:
    void refill() noexcept {
        if (size_ <= 32 && rest_.size() >= 4) {
            pending_ |= std::uint64_t{load_little_endian<std::uint32_t>(rest_.data())} << size_;
            rest_ = rest_.subspan(4);
            size_ += 32;
            return;
        }
        while (size_ <= 56 && !rest_.empty()) {
            pending_ |= std::to_integer<std::uint64_t>(rest_.front()) << size_;
            rest_ = rest_.subspan(1);
            size_ += 8;
        }
    }

    image_reader& in_;
    std::span<const std::byte> rest_;
    std::uint64_t pending_ = 0; // zero above its size_ bits
    unsigned size_ = 0;
};

} // namespace qsketch::inline v0::detail
