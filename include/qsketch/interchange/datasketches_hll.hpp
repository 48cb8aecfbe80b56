#pragma once

#include <qsketch/detail/bytes.hpp>
#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/six_bits.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hyperloglog.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// The layout: u8 words before the data (2, 3 or 10), u8 1, u8 7, u8 lg k, u8 lg of the size of a table, u8 flags (2
/// read-only, 4 empty, 8 compact, 16 out of order, 32 full size in C++ and sums out of date in Java), u8 number of the
/// coupons of a list or least register, u8 form (list, set, registers) + 4 * type (HLL_4, HLL_6, HLL_8). Then
/// - of a list, coupons; of a set, their u32 number and they: each u32 slot of 26 bits + 2^26 * rank, compact or as a
///   table with empty places of 0;
/// - of registers, f64 estimate so far, f64 sum of 2^-rank of ranks below 32, f64 of the others, u32 number of least
///   registers, u32 number of exceptions, and the registers: a byte each; or six bits each and a byte of 0; or four
///   bits each, which count from the least register on, 15 for an exception, and the exceptions as a set of coupons.
///
/// Source: PreambleUtil.java of datasketches-java.
struct datasketches_hll {
    static constexpr unsigned max_lg_k = 21;
    static constexpr unsigned max_precision = 18;
    static constexpr unsigned max_rank = 63;
    /// The ranks that a 64-bit hash has room for beside the registers of every precision.
    static constexpr unsigned max_rank_kept = 64 - max_precision;
    static constexpr unsigned slot_bits = 26;
    static constexpr std::uint32_t slot_mask = (std::uint32_t{1} << slot_bits) - 1;
    static constexpr std::uint32_t most_in_list = 7;
    static constexpr std::uint8_t exception = 0xff;
    static constexpr std::size_t header_size = 40;
    /// Of lg k from 4 on: the lg of the size of a table of exceptions that has none and does not say it.
    static constexpr std::array<std::uint8_t, 18> lg_least_table{2, 2, 2, 3, 3, 3,  4,  4,  5,
                                                                 5, 6, 7, 8, 9, 10, 11, 12, 13};
    enum class form : std::uint8_t { list, set, registers };
    enum class type : std::uint8_t { hll_4, hll_6, hll_8 };
    enum flags : std::uint8_t { empty = 4, compact = 8, out_of_order = 16, out_of_date = 32, unknown = 0xc1 };

    /// Of 2^-rank, of the ranks below 32 and of those from 32 on; exact, as there are at most 2^21.
    [[nodiscard]] static std::pair<double, double> sums_of(std::span<const std::uint8_t> ranks) noexcept {
        std::array<std::uint32_t, max_rank + 1> counts{};
        for (const auto rank : ranks) ++counts[rank];
        const auto sum = [&counts](std::size_t from) {
            double result = 0;
            for (std::size_t i = 32; i-- > 0;) result = result * 0.5 + counts[from + i];
            return result;
        };
        return {sum(0), sum(32) * 0x1p-32};
    }

    /// To the end of the image.
    [[nodiscard]] static std::vector<std::uint32_t> take_coupons(byte_reader& in, bool is_compact, unsigned lg_table,
                                                                 std::uint32_t count) {
        auto coupons = in.take_array<std::uint32_t>(in.remaining() / sizeof(std::uint32_t));
        in.expect_end();
        if (!is_compact) {
            in.require(lg_table < 32 && coupons.size() == std::uint64_t{1} << lg_table,
                       "has a table that does not have the size that it announces");
            std::erase(coupons, 0u);
        }
        in.require(coupons.size() == count, "does not have the coupons that it announces");
        std::sort(coupons.begin(), coupons.end());
        in.require(coupons.empty() || coupons.front() >> slot_bits > 0, "has a coupon without a rank");
        in.require(std::adjacent_find(coupons.begin(), coupons.end()) == coupons.end(), "has a coupon twice");
        return coupons;
    }

    [[nodiscard]] static std::vector<std::uint8_t> take_four_bits(byte_reader& in, std::size_t count, unsigned least) {
        const auto bytes = in.take_bytes(count / 2);
        std::vector<std::uint8_t> ranks(count);
        for (std::size_t i = 0; i < count; ++i) {
            const unsigned above = std::to_integer<unsigned>(bytes[i / 2]) >> (i % 2 * 4) & 15;
            ranks[i] = above == 15 ? exception : static_cast<std::uint8_t>(least + above);
        }
        return ranks;
    }

    static void take_exceptions(byte_reader& in, std::span<std::uint8_t> ranks, unsigned least,
                                std::span<const std::uint32_t> coupons) {
        for (const std::uint32_t coupon : coupons) {
            const std::size_t slot = coupon & slot_mask;
            const unsigned rank = coupon >> slot_bits;
            in.require(slot < ranks.size() && ranks[slot] == exception && rank >= least + 15,
                       "has an exception where there is none");
            ranks[slot] = static_cast<std::uint8_t>(rank);
        }
    }

    [[nodiscard]] static std::vector<std::uint8_t> registers_of(std::span<const std::byte> bytes) {
        byte_reader in(bytes, "DataSketches HLL");
        const auto words = in.take<std::uint8_t>();
        in.require(in.take<std::uint8_t>() == 1, "is of an unknown version");
        in.require(in.take<std::uint8_t>() == 7, "is of another sketch");
        const unsigned lg_k = in.take<std::uint8_t>();
        in.require(lg_k >= 4 && lg_k <= max_lg_k, "has a lg k outside [4, 21]");
        const unsigned lg_table = in.take<std::uint8_t>();
        const unsigned flags = in.take<std::uint8_t>();
        in.require((flags & unknown) == 0, "has unknown flags");
        const bool is_compact = (flags & compact) != 0;
        const unsigned count_or_least = in.take<std::uint8_t>();
        const unsigned mode = in.take<std::uint8_t>();
        in.require(mode < 12 && mode % 4 < 3, "is of an unknown mode");
        in.require(words == std::array{2, 3, 10}[mode % 4], "has a preamble that does not fit its mode");

        std::vector<std::uint8_t> ranks;
        std::vector<std::uint32_t> coupons;
        if (const auto is = static_cast<form>(mode % 4); is == form::registers) {
            ranks = take_ranks(in, static_cast<type>(mode / 4), lg_k, count_or_least, lg_table, flags);
        } else {
            std::uint32_t count = count_or_least;
            if (is == form::set) {
                in.require(lg_k >= 8, "is a set, which its lg k does not have");
                count = in.take<std::uint32_t>();
            }
            in.require(count <= (is == form::set ? 3u << (lg_k - 5) : most_in_list), "has more coupons than fit");
            coupons = take_coupons(in, is_compact, lg_table, count);
        }
        std::vector<std::uint8_t> registers(std::size_t{1} << (std::min)(lg_k, max_precision));
        const auto raise = [&registers](std::size_t slot, unsigned rank) {
            auto& value = registers[slot & (registers.size() - 1)];
            value = (std::max)(value, static_cast<std::uint8_t>((std::min)(rank, max_rank_kept)));
        };
        for (std::size_t i = 0; i < ranks.size(); ++i) raise(i, ranks[i]);
        for (const std::uint32_t coupon : coupons) raise(coupon & slot_mask, coupon >> slot_bits);
        in.require((flags & (empty | out_of_date)) != empty ||
                       *std::max_element(registers.begin(), registers.end()) == 0,
                   "says that it is empty, but is not");
        return registers;
    }

private:
    [[nodiscard]] static std::vector<std::uint8_t> take_ranks(byte_reader& in, type of, unsigned lg_k, unsigned least,
                                                              unsigned lg_table, unsigned flags) {
        const std::size_t count = std::size_t{1} << lg_k;
        static_cast<void>(in.take_double()); // the estimate so far
        const double sum = in.take_double() + in.take_double();
        static_cast<void>(in.take<std::uint32_t>()); // the number of least registers
        const auto exceptions = in.take<std::uint32_t>();
        std::vector<std::uint8_t> ranks;
        if (of == type::hll_4) {
            in.require(least <= max_rank, "has a least register above 63");
            if (exceptions == 0 && lg_table == 0) lg_table = lg_least_table[lg_k - 4];
            ranks = take_four_bits(in, count, least);
            take_exceptions(in, ranks, least, take_coupons(in, (flags & compact) != 0, lg_table, exceptions));
        } else {
            in.require(exceptions == 0, "has exceptions that its type does not have");
            if (of == type::hll_8) {
                ranks = in.take_array<std::uint8_t>(count);
            } else {
                ranks = take_six_bits(in, count);
                in.require(in.take<std::uint8_t>() == 0, "has a register too many");
            }
            in.expect_end();
        }
        in.require(*std::max_element(ranks.begin(), ranks.end()) <= max_rank, "has a register above 63");
        // Unions of theirs round their sums, and put some of the one into the other.
        const auto [below_32, others] = sums_of(ranks);
        in.require((flags & out_of_date) != 0 ||
                       std::abs(sum - (below_32 + others)) <= 1e-9 * static_cast<double>(count),
                   "has sums that are not those of its registers");
        return ranks;
    }
};

} // namespace qsketch::inline v0::detail

/// The sketches of Apache DataSketches, in the bytes that its libraries for C++, Java and others exchange.
namespace qsketch::inline v0::datasketches {

/// The hash of their HLL sketches, rearranged so that hyperloglog sees the register and the rank that they see: the low
/// bits of the first half of 128 pick the register, the second half has the rank. Ranks above 46, of one key in 2^46,
/// count as 46: for up to 2^(precision + 38) keys estimates differ by less than 0.1 % for it.
/// Test: datasketches_hll.test.cpp.
/// Not keyed, and what it does is public: whoever may choose keys can steer the estimate.
/// Source: MurmurHash3 x64 128 (Appleby, public domain) with the seed of DataSketches.
class hash {
public:
    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept {
        const std::size_t size = key.size();
        std::uint64_t a = seed;
        std::uint64_t b = seed;
        for (; key.size() >= 16; key.remove_prefix(16)) {
            a ^= mixed_first(detail::load_little_endian<std::uint64_t>(key.data()));
            a = (std::rotl(a, 27) + b) * 5 + 0x52dce729;
            b ^= mixed_second(detail::load_little_endian<std::uint64_t>(key.data() + 8));
            b = (std::rotl(b, 31) + a) * 5 + 0x38495ab5;
        }
        std::array<char, 16> rest{};
        if (!key.empty()) std::memcpy(rest.data(), key.data(), key.size());
        return finished(a ^ mixed_first(detail::load_little_endian<std::uint64_t>(rest.data())),
                        b ^ mixed_second(detail::load_little_endian<std::uint64_t>(rest.data() + 8)), size);
    }

    /// As 64 bits, and narrower ones, even unsigned, extended by their highest bit: so does DataSketches.
    template <std::integral Integer>
    requires(!std::same_as<Integer, bool>) [[nodiscard]] constexpr std::uint64_t
    operator()(Integer key) const noexcept {
        const auto extended = static_cast<std::uint64_t>(static_cast<std::make_signed_t<Integer>>(key));
        return finished(seed ^ mixed_first(extended), seed, sizeof extended);
    }

    /// Doubles hash by value: -0.0 as 0.0, and every NaN as one.
    [[nodiscard]] constexpr std::uint64_t operator()(double key) const noexcept {
        if (key == 0.0) return (*this)(std::uint64_t{0});
        if (key != key) return (*this)(std::uint64_t{0x7ff8000000000000});
        return (*this)(std::bit_cast<std::uint64_t>(key));
    }

    [[nodiscard]] constexpr std::uint32_t id() const noexcept { return 0xda7a9001; }
    friend constexpr bool operator==(const hash&, const hash&) noexcept = default;

private:
    static constexpr std::uint64_t seed = 9001;
    static constexpr std::uint64_t first_factor = 0x87c37b91114253d5;
    static constexpr std::uint64_t second_factor = 0x4cf5ad432745937f;

    [[nodiscard]] static constexpr std::uint64_t mixed_first(std::uint64_t word) noexcept {
        return std::rotl(word * first_factor, 31) * second_factor;
    }
    [[nodiscard]] static constexpr std::uint64_t mixed_second(std::uint64_t word) noexcept {
        return std::rotl(word * second_factor, 33) * first_factor;
    }
    [[nodiscard]] static constexpr std::uint64_t mixed(std::uint64_t x) noexcept {
        x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
        x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
        return x ^ (x >> 33);
    }

    [[nodiscard]] static constexpr std::uint64_t finished(std::uint64_t a, std::uint64_t b, std::size_t size) noexcept {
        a ^= size;
        b ^= size;
        a += b;
        b += a;
        a = mixed(a);
        b = mixed(b);
        a += b;
        b += a;
        // The bit in between ends the zeros that are counted, so that no bits of the register take part.
        constexpr std::uint64_t between = std::uint64_t{1} << detail::datasketches_hll::max_precision;
        return (b & ~(2 * between - 1)) | between | (a & (between - 1));
    }
};

/// Counts keys as DataSketches does; those of other hashes cannot be merged into it. An empty string, which
/// DataSketches leaves out, counts.
template <class Key = std::string_view>
using hyperloglog = qsketch::hyperloglog<Key, hash>;

/// An HLL_8 sketch of lg k = precision, as a union of theirs has it for the same keys: without what they know from the
/// order in which keys came, and never a list or set, as a hyperloglog does not keep the 26 bits of a slot.
/// Complexity: O(2^precision). Throws std::bad_alloc.
template <class Key>
[[nodiscard]] std::vector<std::byte> serialize(const hyperloglog<Key>& sketch) {
    using layout = detail::datasketches_hll;
    const auto lg_k = static_cast<std::uint8_t>(sketch.precision());
    const auto head = [lg_k](detail::byte_writer& out, std::uint8_t words, std::uint8_t lg_table, unsigned flags,
                             layout::form form) {
        for (const auto byte : {words, std::uint8_t{1}, std::uint8_t{7}, lg_k, lg_table}) out.put(byte);
        out.put(static_cast<std::uint8_t>(flags | layout::compact));
        out.put(std::uint8_t{0});
        out.put(
            static_cast<std::uint8_t>(static_cast<unsigned>(form) | 4 * static_cast<unsigned>(layout::type::hll_8)));
    };
    if (sketch.empty()) {
        detail::byte_writer out(8);
        head(out, 2, 3, layout::empty, layout::form::list);
        return std::move(out).finish();
    }
    const auto registers = sketch.registers();
    detail::byte_writer out(layout::header_size + registers.size());
    head(out, 10, 0, layout::out_of_order, layout::form::registers);
    const auto [below_32, others] = layout::sums_of(registers);
    out.put(0.0); // what order would tell
    out.put(below_32);
    out.put(others);
    out.put(static_cast<std::uint32_t>(std::count(registers.begin(), registers.end(), std::uint8_t{0})));
    out.put(std::uint32_t{0});
    out.put(std::span<const std::uint8_t>(registers));
    return std::move(out).finish();
}

/// Reads HLL sketches of every type, compact or updatable; of those with lg k above 18 what they would be with 18. It
/// is dense even if keys are few, and its error then that of the registers. Which keys were counted is not said in
/// them. Throws format_error for anything else, or std::bad_alloc.
template <class Key = std::string_view>
[[nodiscard]] hyperloglog<Key> deserialize_hyperloglog(std::span<const std::byte> bytes) {
    return hyperloglog<Key>::from_registers(detail::datasketches_hll::registers_of(bytes));
}

} // namespace qsketch::inline v0::datasketches
