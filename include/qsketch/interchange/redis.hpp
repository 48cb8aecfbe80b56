#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/six_bits.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hyperloglog.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The strings that Redis keeps for PFADD, PFCOUNT and PFMERGE, to be written with SET and read with GET.
namespace qsketch::inline v0::redis {

/// The hash of PFADD, rearranged so that hyperloglog sees the register and the rank that Redis sees: the index in the
/// low 14 bits as it is, and the other 50 in reverse, since Redis counts zeros from their low end.
/// Not keyed, and what it does is public: whoever may choose keys can steer the estimate.
/// Source: MurmurHash64A (Appleby, public domain) with the seed of Redis.
class hash {
public:
    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept {
        constexpr std::uint64_t factor = 0xc6a4a7935bd1e995;
        const auto mixed = [](std::uint64_t word) {
            word *= factor;
            return (word ^ (word >> 47)) * factor;
        };
        std::uint64_t state = seed ^ (key.size() * factor);
        for (; key.size() >= 8; key.remove_prefix(8))
            state = (state ^ mixed(detail::load_little_endian<std::uint64_t>(key.data()))) * factor;
        if (!key.empty()) {
            for (std::size_t i = 0; i < key.size(); ++i)
                state ^= std::uint64_t{static_cast<unsigned char>(key[i])} << (8 * i);
            state *= factor;
        }
        state = (state ^ (state >> 47)) * factor;
        state ^= state >> 47;
        return reversed(state >> 14) | (state & 0x3fff);
    }

    [[nodiscard]] constexpr std::uint32_t id() const noexcept { return seed; }
    friend constexpr bool operator==(const hash&, const hash&) noexcept = default;

private:
    static constexpr std::uint32_t seed = 0xadc83b19;

    [[nodiscard]] static constexpr std::uint64_t reversed(std::uint64_t bits) noexcept {
        bits = ((bits >> 1) & 0x5555555555555555) | ((bits & 0x5555555555555555) << 1);
        bits = ((bits >> 2) & 0x3333333333333333) | ((bits & 0x3333333333333333) << 2);
        bits = ((bits >> 4) & 0x0f0f0f0f0f0f0f0f) | ((bits & 0x0f0f0f0f0f0f0f0f) << 4);
        bits = ((bits >> 8) & 0x00ff00ff00ff00ff) | ((bits & 0x00ff00ff00ff00ff) << 8);
        bits = ((bits >> 16) & 0x0000ffff0000ffff) | ((bits & 0x0000ffff0000ffff) << 16);
        return (bits >> 32) | (bits << 32);
    }
};

/// Counts keys as Redis does; those of other hashes cannot be merged into it. Of precision 14, which is the default.
using hyperloglog = qsketch::hyperloglog<std::string_view, hash>;

} // namespace qsketch::inline v0::redis

namespace qsketch::inline v0::detail {

/// The layout: "HYLL", u8 encoding, three zeros, u64 cached estimate with its highest bit set if out of date, then 2^14
/// registers, either of 6 bits each from the low bits of each byte up, or as runs:
///
///     00llllll            l + 1 registers of 0
///     01llllll llllllll   l + 1 registers of 0, high bits first
///     1vvvvvll            l + 1 registers of v + 1
///
/// Source: the comments in hyperloglog.c of Redis 7.
struct hyll {
    static constexpr unsigned precision = 14;
    static constexpr std::size_t registers = std::size_t{1} << precision;
    static constexpr std::size_t header_size = 16;
    static constexpr std::size_t dense_size = header_size + registers * 6 / 8;
    static constexpr unsigned largest_in_run = 32;
    /// As long as Redis itself, unless configured otherwise, keeps runs.
    static constexpr std::size_t most_sparse_bytes = 3000;
    enum class encoding : std::uint8_t { dense = 0, sparse = 1 };

    [[nodiscard]] static std::vector<std::uint8_t> runs_of(std::span<const std::uint8_t> values) {
        std::vector<std::uint8_t> runs;
        for (std::size_t i = 0; i < values.size();) {
            const std::uint8_t value = values[i];
            const std::size_t longest = value == 0 ? registers : 4;
            std::size_t length = 1;
            while (length < longest && i + length < values.size() && values[i + length] == value) ++length;
            i += length;
            const std::size_t l = length - 1;
            if (value != 0) {
                runs.push_back(static_cast<std::uint8_t>(0x80u | (value - 1u) << 2 | l));
            } else {
                if (l > 0x3f) runs.push_back(static_cast<std::uint8_t>(0x40u | l >> 8));
                runs.push_back(static_cast<std::uint8_t>(l));
            }
        }
        return runs;
    }

    [[nodiscard]] static std::vector<std::uint8_t> take_runs(byte_reader& in) {
        std::vector<std::uint8_t> values;
        values.reserve(registers);
        while (in.remaining() > 0) {
            const unsigned first = in.take<std::uint8_t>();
            std::size_t length = (first & 0x3f) + 1;
            unsigned value = 0;
            if (first >= 0x80) {
                value = ((first >> 2) & 0x1f) + 1;
                length = (first & 3) + 1;
            } else if (first >= 0x40) {
                length = ((first & 0x3f) << 8 | in.take<std::uint8_t>()) + std::size_t{1};
            }
            in.require(length <= registers - values.size(), "has runs of more than 16384 registers");
            values.insert(values.end(), length, static_cast<std::uint8_t>(value));
        }
        in.require(values.size() == registers, "has runs of fewer than 16384 registers");
        return values;
    }
};

} // namespace qsketch::inline v0::detail

namespace qsketch::inline v0::redis {

/// The string that a Redis key would hold after PFADD of the same keys, but for the estimate that Redis caches in it,
/// which is marked as out of date. Up to 12304 bytes, fewer while keys are few.
/// Throws std::invalid_argument unless the precision is 14: see hyperloglog::reduced().
[[nodiscard]] inline std::vector<std::byte> serialize(const hyperloglog& sketch) {
    using detail::hyll;
    if (sketch.precision() != hyll::precision)
        throw std::invalid_argument("redis: the precision must be 14, got " + std::to_string(sketch.precision()));
    const auto registers = sketch.registers();
    auto encoding = hyll::encoding::dense;
    std::vector<std::uint8_t> runs;
    if (*std::max_element(registers.begin(), registers.end()) <= hyll::largest_in_run) {
        runs = hyll::runs_of(registers);
        if (hyll::header_size + runs.size() <= hyll::most_sparse_bytes) encoding = hyll::encoding::sparse;
    }
    detail::byte_writer out(hyll::dense_size);
    for (const char c : std::string_view("HYLL")) out.put(static_cast<std::uint8_t>(c));
    out.put(static_cast<std::uint32_t>(encoding));
    out.put(std::uint64_t{1} << 63);
    if (encoding == hyll::encoding::sparse)
        out.put(std::span<const std::uint8_t>(runs));
    else
        detail::put_six_bits(out, registers);
    return std::move(out).finish();
}

/// Reads what GET returns for a key of PFADD. Redis keeps registers only, and so does the sketch: it is dense even if
/// keys are few, and its error then that of the registers.
/// Throws format_error for anything else, for runs that do not add up, and for registers that no key leads to.
[[nodiscard]] inline hyperloglog deserialize(std::span<const std::byte> bytes) {
    using detail::hyll;
    detail::byte_reader in(bytes, "Redis hyperloglog");
    for (const char c : std::string_view("HYLL"))
        in.require(in.take<std::uint8_t>() == static_cast<std::uint8_t>(c), "does not start with the letters HYLL");
    const auto encoding = in.take<std::uint32_t>();
    in.require(encoding <= 1, "is neither dense nor sparse, or has a reserved byte that is not zero");
    static_cast<void>(in.take<std::uint64_t>()); // the cached estimate
    auto registers = encoding == 1 ? hyll::take_runs(in) : detail::take_six_bits(in, hyll::registers);
    in.expect_end();
    in.require(*std::max_element(registers.begin(), registers.end()) <= 65 - hyll::precision,
               "has a register above 51");
    return hyperloglog::from_registers(std::move(registers));
}

} // namespace qsketch::inline v0::redis
