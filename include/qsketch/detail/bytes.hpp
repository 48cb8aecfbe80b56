#pragma once

#include <qsketch/detail/endian.hpp>
#include <qsketch/error.hpp>

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

/// The only code that reads or writes raw bytes.
namespace qsketch::inline v0::detail {

class byte_writer {
public:
    explicit byte_writer(std::size_t size) { bytes_.reserve(size); }

    template <std::unsigned_integral... T>
    void put(T... values) {
        std::size_t at = bytes_.size();
        bytes_.resize(at + (sizeof values + ...));
        ((store_little_endian(bytes_.data() + at, values), at += sizeof values), ...);
    }
    template <std::same_as<double>... T>
    void put(T... values) {
        put(std::bit_cast<std::uint64_t>(values)...);
    }

    template <class T>
    requires std::unsigned_integral<T> || std::same_as<T, double>
    void put(std::span<const T> values) {
        if constexpr (std::endian::native == std::endian::little)
            put(std::as_bytes(values));
        else
            for (const T value : values) put(value);
    }
    /// word(0) .. word(count - 1).
    template <class Word>
    void put_each(std::size_t count, Word word) {
        constexpr std::size_t width = sizeof(word(0));
        const std::size_t at = bytes_.size();
        bytes_.resize(at + count * width);
        std::byte* const to = bytes_.data() + at;
        for (std::size_t i = 0; i < count; ++i) store_little_endian(to + i * width, word(i));
    }
    void put(std::span<const std::byte> raw) { bytes_.insert(bytes_.end(), raw.begin(), raw.end()); }

    [[nodiscard]] std::vector<std::byte> finish() && { return std::move(bytes_); }

private:
    std::vector<std::byte> bytes_;
};

/// Takes from the front; take() checks every length against what is left.
class byte_reader {
public:
    byte_reader(std::span<const std::byte> bytes, std::string_view name) : name_(name), rest_(bytes) {}

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
    std::string_view name_;
    std::span<const std::byte> rest_;
};

} // namespace qsketch::inline v0::detail
