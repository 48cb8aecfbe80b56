#pragma once

#include "http/events.hpp"

#include <qsketch/detail/endian.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace qsketch_server {

/// Reads what nearly all events look like without making a document of it: a flat object of ASCII strings without
/// escapes and of numbers of few digits without an exponent. It judges nothing: whatever looks otherwise, right or
/// wrong, is for the parser.
class plain_event {
public:
    /// At least 8 bytes behind the text may be read.
    explicit plain_event(std::string_view text) noexcept : at_(text.data()), end_(text.data() + text.size()) {}

    /// Whether it was one; then the fields are as the parser would have them. They are to be absent before, and are to
    /// be made so again if it was none.
    [[nodiscard]] bool read(std::span<const std::string_view> names, std::span<json_value> fields) noexcept {
        json_value other;
        if (!next('{')) return false;
        do {
            std::string_view name;
            other.is = json_value::kind::absent;
            if (!next('"') || !string(name) || !next(':')) return false;
            json_value* to = &other;
            for (std::size_t i = 0; i < names.size(); ++i)
                if (names[i] == name) to = &fields[i];
            if (!to->absent() || !value(*to)) return false;
        } while (next(','));
        return next('}') && (skip_space(), at_ == end_);
    }

private:
    /// A double knows all whole numbers, and all powers of ten, of so many digits. So does an int64.
    static constexpr int exact_digits = 15;
    static constexpr std::array<double, exact_digits + 1> powers = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    void skip_space() noexcept {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
    }
    [[nodiscard]] bool next(char c) noexcept {
        if (at_ == end_ || *at_ != c) {
            skip_space();
            if (at_ == end_ || *at_ != c) return false;
        }
        ++at_;
        return true;
    }

    /// The high bit of the lowest of eight bytes that ends what is plain of a string, and perhaps of some above it.
    [[nodiscard]] static std::uint64_t unlike_plain(std::uint64_t bytes) noexcept {
        constexpr std::uint64_t each = 0x0101010101010101;
        const auto is = [=](char c) {
            const std::uint64_t differs = bytes ^ (each * static_cast<unsigned char>(c));
            return (differs - each) & ~differs;
        };
        return (bytes | is('"') | is('\\') | (bytes - each * 0x20)) & (each * 0x80);
    }

    /// Behind its opening quote.
    [[nodiscard]] bool string(std::string_view& out) noexcept {
        const char* const begin = at_;
        for (; at_ < end_; at_ += 8)
            if (const auto found = unlike_plain(qsketch::detail::load_little_endian<std::uint64_t>(at_))) {
                at_ += std::countr_zero(found) / 8;
                break;
            }
        if (at_ >= end_ || *at_ != '"') return false;
        out = {begin, static_cast<std::size_t>(at_ - begin)};
        ++at_;
        return true;
    }

    [[nodiscard]] bool value(json_value& out) noexcept {
        if (next('"')) {
            out.is = json_value::kind::text;
            return string(out.text);
        }
        const bool negative = next('-');
        std::uint64_t digits_read = 0;
        const char* const begin = at_;
        const int whole = digits(digits_read);
        if (whole == 0 || (whole > 1 && *begin == '0')) return false;
        int fraction = 0;
        const bool has_point = at_ != end_ && *at_ == '.';
        if (has_point) {
            ++at_;
            fraction = digits(digits_read);
            if (fraction == 0) return false;
        }
        // What has more digits, an exponent or a minus before zero ends here as well.
        if (whole + fraction > exact_digits || (negative && digits_read == 0)) return false;
        const auto size = static_cast<std::int64_t>(digits_read);
        const std::int64_t number = negative ? -size : size;
        out.number = static_cast<double>(number);
        if (has_point) {
            out.is = json_value::kind::number;
            out.number /= powers[static_cast<std::size_t>(fraction)];
        } else {
            out.is = json_value::kind::integer;
            out.integer = number;
            if (number >= 0) out.whole = static_cast<std::uint64_t>(number);
        }
        return true;
    }

    /// How many there are, though no more than one too many; appends them to the number.
    [[nodiscard]] int digits(std::uint64_t& number) noexcept {
        int n = 0;
        for (; at_ != end_ && *at_ >= '0' && *at_ <= '9' && n <= exact_digits; ++at_, ++n)
            number = number * 10 + static_cast<std::uint64_t>(*at_ - '0'); // may wrap: then there are too many
        return n;
    }

    const char* at_;
    const char* end_;
};

} // namespace qsketch_server
