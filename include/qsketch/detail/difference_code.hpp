#pragma once

#include <qsketch/detail/bit_stream.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>

/// A row of counts in about as many bits as their differences are large: each difference to the count before, with its
/// sign in the lowest bit, is an exponential Golomb code whose order follows the row. One spelling per row.
/// Source: Teuhola, A compression method for clustered bit-vectors, Inf. Process. Lett. 7, 1978.
namespace qsketch::inline v0::detail {

/// The order: of three differences below 2^order it moves down by one, of three others up by one. Steps do not depend
/// on how far a difference is off, so that a single spike spoils nothing.
class difference_order {
public:
    [[nodiscard]] unsigned value() const noexcept { return steps_ / 3; }
    void follow(std::uint64_t coded) noexcept {
        if ((coded >> value()) != 0)
            steps_ = (std::min)(steps_ + 1, 3 * largest);
        else if (steps_ > 0)
            --steps_;
    }

private:
    static constexpr unsigned largest = 55;
    unsigned steps_ = 0;
};

class difference_writer {
public:
    explicit difference_writer(image_writer& out) noexcept : bits_(out) {}

    /// count <= 2^53.
    void put(std::uint64_t count) {
        const std::uint64_t coded = count >= last_ ? (count - last_) << 1 : ((last_ - count) << 1) - 1;
        last_ = count;
        const unsigned order = order_.value();
        const std::uint64_t quotient = (coded >> order) + 1;
        const auto width = static_cast<unsigned>(std::bit_width(quotient)) - 1;
        bits_.put_unary(width);
        put_wide(quotient & ((std::uint64_t{1} << width) - 1), width);
        put_wide(coded & ((std::uint64_t{1} << order) - 1), order);
        order_.follow(coded);
    }
    void finish() { bits_.finish(); }

private:
    void put_wide(std::uint64_t value, unsigned width) {
        bits_.put(static_cast<std::uint32_t>(value), (std::min)(width, 32u));
        if (width > 32) bits_.put(static_cast<std::uint32_t>(value >> 32), width - 32);
    }

    bit_writer bits_;
    std::uint64_t last_ = 0;
    difference_order order_;
};

class difference_reader {
public:
    explicit difference_reader(image_reader& in) : in_(in), bits_(in) {}

    /// No count takes less than a bit.
    [[nodiscard]] std::uint64_t bits_left() const noexcept { return bits_.bits_left(); }

    /// Throws format_error for a count outside 0 .. 2^53.
    [[nodiscard]] std::uint64_t take() {
        constexpr std::uint64_t limit = std::uint64_t{1} << 53;
        const unsigned order = order_.value();
        const std::uint64_t width = bits_.take_unary();
        in_.require(width + order <= 55, "has a count outside 0 .. 2^53");
        const std::uint64_t quotient = take_wide(static_cast<unsigned>(width)) | std::uint64_t{1} << width;
        const std::uint64_t coded = (quotient - 1) << order | take_wide(order);
        const std::uint64_t distance = (coded >> 1) + (coded & 1);
        const bool down = (coded & 1) != 0;
        in_.require(distance <= (down ? last_ : limit - last_), "has a count outside 0 .. 2^53");
        last_ = down ? last_ - distance : last_ + distance;
        order_.follow(coded);
        return last_;
    }
    void expect_end() const { bits_.expect_end(); }

private:
    [[nodiscard]] std::uint64_t take_wide(unsigned width) {
        const std::uint64_t low = bits_.take((std::min)(width, 32u));
        return width > 32 ? low | std::uint64_t{bits_.take(width - 32)} << 32 : low;
    }

    image_reader& in_;
    bit_reader bits_;
    std::uint64_t last_ = 0;
    difference_order order_;
};

} // namespace qsketch::inline v0::detail
