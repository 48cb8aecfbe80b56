#pragma once

#include <qsketch/detail/bit_stream.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/varint.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// Bytes whose values are unevenly likely, in little more than their entropy: a range variant of asymmetric numeral
/// systems with the frequencies in front, so that the same bytes always give the same code.
/// Source: Duda 2013 (arXiv 1311.2540); the choice of sizes (12 bits of frequency, words of 16 bits) is ours.
namespace qsketch::inline v0::detail {

class entropy_model {
public:
    static constexpr unsigned scale_bits = 12;
    static constexpr std::uint32_t scale = std::uint32_t{1} << scale_bits;

    using frequencies = std::array<std::uint32_t, 256>;

    /// That of at least one byte: what is rare becomes 1 of 4096, and what that takes too much, or rounding too little,
    /// is settled one by one with the value that is most frequent then, the least of those.
    [[nodiscard]] static frequencies of(std::span<const std::uint8_t> bytes) noexcept {
        frequencies counts{};
        for (const std::uint8_t byte : bytes) ++counts[byte];
        std::uint32_t sum = 0;
        for (std::uint32_t& count : counts) {
            if (count == 0) continue;
            const auto share = static_cast<std::uint32_t>(std::uint64_t{count} * scale / bytes.size());
            count = (std::max)(std::uint32_t{1}, share);
            sum += count;
        }
        std::uint32_t& most = *std::max_element(counts.begin(), counts.end());
        if (sum < scale) most += scale - sum;
        for (; sum > scale; --sum) --*std::max_element(counts.begin(), counts.end());
        return counts;
    }

    explicit entropy_model(const frequencies& f) noexcept : frequencies_(f) {
        for (std::size_t i = 1; i < first_.size(); ++i) first_[i] = first_[i - 1] + frequencies_[i - 1];
    }

    [[nodiscard]] std::uint32_t frequency(std::uint8_t byte) const noexcept { return frequencies_[byte]; }
    [[nodiscard]] std::uint32_t first(std::uint8_t byte) const noexcept { return first_[byte]; }

private:
    frequencies frequencies_;
    frequencies first_{};
};

/// Words of a code and the state that reading begins with.
struct entropy_code {
    static constexpr std::uint32_t least_state = std::uint32_t{1} << 16;

    std::uint32_t state = least_state;
    std::vector<std::uint16_t> words;

    [[nodiscard]] static entropy_code of(std::span<const std::uint8_t> bytes, const entropy_model& model) {
        entropy_code code;
        for (std::size_t i = bytes.size(); i-- > 0;) { // backwards, as what was put last comes out first
            const std::uint32_t frequency = model.frequency(bytes[i]);
            if (code.state >> (32 - entropy_model::scale_bits) >= frequency) {
                code.words.push_back(static_cast<std::uint16_t>(code.state));
                code.state >>= 16;
            }
            code.state =
                (code.state / frequency << entropy_model::scale_bits) + code.state % frequency + model.first(bytes[i]);
        }
        std::reverse(code.words.begin(), code.words.end());
        return code;
    }
};

/// Number of words (LEB128), u32 state, the words (u16), and for the byte values 0, 1, .. up to the largest that occurs
/// their frequencies f of 4096 as bits, until those add up: as many zeros as f has bits, a one, and the bits of f below
/// its leading one.
inline void put_coded(image_writer& out, std::span<const std::uint8_t> bytes) {
    const auto frequencies = entropy_model::of(bytes);
    const auto code = entropy_code::of(bytes, entropy_model(frequencies));
    put_varint(out, static_cast<std::uint32_t>(code.words.size()));
    out.put(code.state);
    out.put(std::span<const std::uint16_t>(code.words));
    bit_writer bits(out);
    std::uint32_t sum = 0;
    for (std::size_t byte = 0; sum < entropy_model::scale; ++byte) {
        const std::uint32_t frequency = frequencies[byte];
        const auto width = static_cast<unsigned>(std::bit_width(frequency));
        bits.put_unary(width);
        if (width > 1) bits.put(frequency & ((std::uint32_t{1} << (width - 1)) - 1), width - 1);
        sum += frequency;
    }
    bits.finish();
}

/// The `count` > 0 bytes of put_coded(), which must be all that `in` has left.
/// Throws format_error for anything that it cannot have written.
[[nodiscard]] inline std::vector<std::uint8_t> take_coded(image_reader& in, std::size_t count) {
    const std::uint32_t size = take_varint(in);
    auto state = in.take<std::uint32_t>();
    in.require(state >= entropy_code::least_state, "has an entropy code that starts from nothing");
    const auto words = in.take_array<std::uint16_t>(size);

    bit_reader bits(in);
    entropy_model::frequencies frequencies{};
    std::vector<std::uint8_t> values; // by slot of 4096
    values.reserve(entropy_model::scale);
    for (std::size_t byte = 0; values.size() < entropy_model::scale; ++byte) {
        in.require(byte < frequencies.size(), "has frequencies that do not add up");
        const std::uint64_t width = bits.take_unary();
        in.require(width <= entropy_model::scale_bits + 1, "has a frequency above 4096");
        if (width == 0) continue;
        const auto below = static_cast<unsigned>(width - 1);
        const std::uint32_t frequency = std::uint32_t{1} << below | (below > 0 ? bits.take(below) : 0);
        in.require(frequency <= entropy_model::scale - values.size(), "has frequencies that do not add up");
        frequencies[byte] = frequency;
        values.insert(values.end(), frequency, static_cast<std::uint8_t>(byte));
    }
    bits.expect_end();

    const entropy_model model(frequencies);
    std::vector<std::uint8_t> bytes(count);
    std::size_t next = 0;
    for (std::uint8_t& byte : bytes) {
        const std::uint32_t slot = state & (entropy_model::scale - 1);
        byte = values[slot];
        state = model.frequency(byte) * (state >> entropy_model::scale_bits) + slot - model.first(byte);
        if (state >= entropy_code::least_state) continue;
        in.require(next < words.size(), "has an entropy code that ends too early");
        state = state << 16 | words[next++];
    }
    in.require(next == words.size() && state == entropy_code::least_state, "has an entropy code that does not end");
    in.require(frequencies == entropy_model::of(bytes), "has frequencies that are not those of its bytes");
    return bytes;
}

} // namespace qsketch::inline v0::detail
