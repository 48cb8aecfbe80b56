#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/bit_stream.hpp>
#include <qsketch/detail/byte_vector.hpp>
#include <qsketch/detail/entropy_code.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/token_set.hpp>
#include <qsketch/detail/varint.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

template <class Key, stable_hash<Key> Hash>
class concurrent_hyperloglog; // declared ahead of the friend: clang 16 takes it for another template otherwise

/// What hyperloglog and ultraloglog have in common: how many distinct keys were added, in 2^precision bytes or fewer;
/// nearly exact while they are few.
///
/// A hash picks one of m = 2^precision registers by its low bits and has a rank, the number of its leading zeros plus
/// one; `Registers` says what a register keeps of the ranks that it saw. Up to 3m/16 distinct keys the sketch is
/// sparse: it holds tokens with 27 bits of each hash, 31 from precision 15 on, from which the registers of any
/// precision follow exactly. The state, sparse or dense, is a function of the set of hashes alone, so merging is exact,
/// and order, repetition and grouping leave no trace. Source: Flajolet et al. 2007 (AofA) for the registers; Heule et
/// al. 2013 (EDBT), section 5.3, for the idea of a sparse form that converts without loss.
template <class Registers, class Key, stable_hash<Key> Hash>
class loglog {
public:
    using key_type = Key;
    using hash_type = Hash;

    static constexpr unsigned min_precision = 4;
    static constexpr unsigned max_precision = 18;

    /// Allocates nothing yet.
    /// Throws std::invalid_argument unless 4 <= precision <= 18.
    explicit loglog(unsigned precision = 14) requires std::default_initializable<Hash> : loglog(precision, Hash{}) {}

    /// The same with a hash of your own; sketches merge only if their hashes are equal.
    loglog(unsigned precision, Hash hasher) : precision_(precision), hash_(std::move(hasher)), tokens_(token_bits()) {
        if (precision < min_precision || precision > max_precision)
            throw std::invalid_argument(std::string(Registers::name) + ": precision must be in [4, 18], got " +
                                        std::to_string(precision));
    }

    /// The hyperloglog of the keys of an ultraloglog, equal in every bit to one that was built from them.
    /// Complexity: O(2^precision). Throws std::bad_alloc.
    template <class Others>
    requires requires(std::uint8_t value) { Others::template to<Registers>(value); }
    explicit loglog(const loglog<Others, Key, Hash>& other)
        : precision_(other.precision_), hash_(other.hash_), tokens_(other.tokens_), registers_(other.registers_) {
        for (std::uint8_t& value : registers_) value = Others::template to<Registers>(value);
    }

    /// An empty sketch of the least precision whose relative_error() is at most `relative_standard_error`.
    /// Throws std::invalid_argument if that of precision 18 is more: 0.00203 for hyperloglog, 0.00149 for ultraloglog.
    [[nodiscard]] static loglog for_error(double relative_standard_error, Hash hasher = {}) {
        for (unsigned precision = min_precision; precision <= max_precision; ++precision)
            if (standard_error(precision) <= relative_standard_error) return loglog(precision, std::move(hasher));
        throw std::invalid_argument(std::string(Registers::name) + ": relative_standard_error must be at least " +
                                    std::to_string(standard_error(max_precision)) + ", got " +
                                    std::to_string(relative_standard_error));
    }

    /// Throws std::bad_alloc while sparse, and nothing changes.
    void add(const Key& key) { add_hash(hash_(key)); }

    /// Faster than one by one. Throws std::bad_alloc while sparse; adding the same keys again is then safe, as after
    /// any failure.
    void add(std::span<const Key> keys) {
        std::array<std::uint64_t, block_size> hashes;
        while (!keys.empty()) {
            if (filters_one_by_one()) {
                for (const Key& key : keys) add_hash(hash_(key));
                return;
            }
            const std::size_t size = (std::min)(block_size, keys.size());
            for (std::size_t i = 0; i < size; ++i) hashes[i] = hash_(keys[i]);
            add_hashes(std::span(hashes.data(), size));
            keys = keys.subspan(size);
        }
    }

    /// Adds a key by its hash, of which every bit must be as good as random: a counter, an address or std::hash of an
    /// integer will not do. Anything but `Hash` applied to the key counts as another key.
    /// Throws std::bad_alloc while sparse, and nothing changes.
    void add_hash(std::uint64_t hash) {
        if (hash > reach_) return;
        if (hash <= rare_) [[unlikely]]
            add_rare(hash);
        else
            raise(registers_.data(), index_mask(), hash);
    }

    /// Faster than one by one. Throws std::bad_alloc while sparse; adding the same hashes again is then safe.
    void add_hashes(std::span<const std::uint64_t> hashes) {
        while (!hashes.empty() && registers_.empty()) {
            std::array<std::uint32_t, block_size> tokens;
            const std::size_t size = (std::min)(block_size, hashes.size());
            for (std::size_t i = 0; i < size; ++i) tokens[i] = token_of(hashes[i]);
            const std::size_t inserted = tokens_.insert(std::span(tokens.data(), size), token_limit());
            hashes = hashes.subspan(inserted);
            if (inserted < size) become_dense(registers());
        }
        while (!hashes.empty()) {
            const auto block = hashes.first((std::min)(block_size, hashes.size()));
            raise_block(block);
            hashes = hashes.subspan(block.size());
        }
    }

    /// The number of distinct keys; 0 if empty.
    /// Complexity: O(1) while sparse, O(2^precision) after that.
    /// Error: standard error below 7e-5 while sparse, below 2e-5 from precision 15 on, and relative_error() after that.
    /// Test: hyperloglog_accuracy.test.cpp, ultraloglog_accuracy.test.cpp.
    [[nodiscard]] double estimate() const noexcept {
        if (registers_.empty()) {
            // Linear counting over the M values a token can take: n = -M ln(1 - T/M) = T + T^2/2M + T^3/3M^2 ..., of
            // which the third term is below 1e-5 for the most tokens there can be.
            return static_cast<double>(tokens_.size()) + lost_tokens();
        }
        return Registers::figures_of(registers_, precision_).estimate;
    }

    /// What the truth is not below, with the confidence of that many standard deviations of a normal law; never above
    /// estimate(), and certain while sparse. `sigmas` that are not positive count as 0.
    /// Complexity: as estimate().
    /// Error: from precision 8 on, the truth is within both bounds with a probability of at least 68, 95 and 99.5 % for
    /// 1, 2 and 3 sigmas; at precision 4, where estimates are skewed, 68, 94.5 and 98.5 %.
    /// Test: hyperloglog_accuracy.test.cpp.
    [[nodiscard]] double lower_bound(double sigmas) const noexcept {
        if (registers_.empty()) return static_cast<double>(tokens_.size());
        const auto [estimate, zeros] = Registers::figures_of(registers_, precision_);
        const double bound = estimate / (1.0 + (std::max)(0.0, sigmas) * relative_error());
        const double filled = static_cast<double>(registers_.size() - zeros); // each took a key of its own
        return (std::min)(estimate, (std::max)(bound, filled));
    }

    /// What the truth is not above, as lower_bound(); never below estimate(). While sparse it allows for the keys whose
    /// tokens are expected to have met. Infinite where so few registers allow no bound: 4 sigmas at precision 4.
    [[nodiscard]] double upper_bound(double sigmas) const noexcept {
        sigmas = (std::max)(0.0, sigmas);
        if (registers_.empty())
            return (std::max)(estimate(), static_cast<double>(tokens_.size() + lost_at_most(sigmas)));
        const double share = 1.0 - sigmas * relative_error();
        return share > 0.0 ? estimate() / share : std::numeric_limits<double>::infinity();
    }

    /// The relative standard error of the dense form: two thirds of all estimates are closer to the truth than this,
    /// one in twenty is off by more than twice as much. It is the limit for many registers.
    [[nodiscard]] double relative_error() const noexcept { return standard_error(precision_); }

    [[nodiscard]] unsigned precision() const noexcept { return precision_; }

    /// Whether it holds tokens rather than registers, and so counts all but exactly.
    [[nodiscard]] bool is_sparse() const noexcept { return registers_.empty(); }

    /// The 2^precision registers, those that the tokens lead to if it is sparse.
    /// Complexity: O(2^precision). Throws std::bad_alloc.
    [[nodiscard]] std::vector<std::uint8_t> registers() const {
        if (!registers_.empty()) return registers_;
        std::vector<std::uint8_t> made(std::size_t{1} << precision_);
        raise(made, tokens_);
        return made;
    }

    /// A sketch of these registers, 2^precision of them. It is dense even if few are filled, and then not equal to the
    /// sketch of the same keys, which knows more about them; none filled makes an empty one.
    /// Complexity: O(2^precision).
    /// Throws std::invalid_argument unless the precision is in [4, 18] and hashes may lead to all registers.
    [[nodiscard]] static loglog from_registers(std::vector<std::uint8_t> registers, Hash hasher = {}) {
        const auto size = registers.size();
        if (!std::has_single_bit(size))
            throw std::invalid_argument(std::string(Registers::name) +
                                        ": the number of registers must be a power of two, got " +
                                        std::to_string(size));
        loglog result(static_cast<unsigned>(std::countr_zero(size)), std::move(hasher));
        if (!Registers::valid(registers, 65 - result.precision_))
            throw std::invalid_argument(std::string(Registers::name) + ": there is a register that no hashes lead to");
        if (Registers::any(registers)) result.become_dense(std::move(registers));
        return result;
    }

    /// Makes this the sketch of the union of both sets, equal in every bit to one that was given all the keys.
    /// Complexity: O(2^precision), while both are sparse O(tokens).
    /// Throws incompatible_error unless compatible(other), or std::bad_alloc; nothing changes then.
    void merge(const loglog& other) {
        if (precision_ != other.precision_)
            throw incompatible_error(std::string(Registers::name) + ": cannot merge precision " +
                                     std::to_string(other.precision_) + " into precision " +
                                     std::to_string(precision_));
        if (!(hash_ == other.hash_))
            throw incompatible_error(std::string(Registers::name) + ": cannot merge sketches of different hashes");
        if (other.registers_.empty()) {
            if (registers_.empty())
                merge_sparse(other.tokens_);
            else
                raise(registers_, other.tokens_);
        } else if (registers_.empty()) {
            auto registers = other.registers_;
            raise(registers, tokens_);
            become_dense(std::move(registers));
        } else {
            Registers::merge(registers_, other.registers_);
            rare_ = any_hash;
        }
    }

    /// The sketch of the same keys at a lower precision, equal in every bit to one that was built with it.
    /// From a dense one of precision 15 or more to 14 or less, that takes hashes as random as add_hash() asks for: had
    /// they been chosen so that half of the 31-bit tokens agree in 27 bits, the one that was built would be sparse yet.
    /// Complexity: O(2^precision()).
    /// Throws std::invalid_argument unless 4 <= precision <= precision(), or std::bad_alloc.
    [[nodiscard]] loglog reduced(unsigned precision) const {
        if (precision < min_precision || precision > precision_)
            throw std::invalid_argument(std::string(Registers::name) + ": reduced precision must be in [4, " +
                                        std::to_string(precision_) + "], got " + std::to_string(precision));
        loglog result(precision, hash_);
        if (registers_.empty()) {
            tokens_.all_of([&](std::uint32_t token) { // by their hashes, as the other precision may have other tokens
                result.add_hash(hash_of(token));
                return true;
            });
            return result;
        }
        std::vector<std::uint8_t> registers(std::size_t{1} << precision);
        for (std::size_t i = 0; i < registers_.size(); ++i)
            Registers::for_each_rank(registers_[i], [&](unsigned rank) { // the least hash that leads to it will do
                raise(registers.data(), result.index_mask(),
                      (std::uint64_t{rank <= 64 - precision_} << (64 - rank)) | i);
            });
        result.become_dense(std::move(registers));
        return result;
    }

    /// Same precision and equal hashes.
    [[nodiscard]] bool compatible(const loglog& other) const noexcept {
        return precision_ == other.precision_ && hash_ == other.hash_;
    }

    /// Gives the memory back, too.
    void clear() noexcept {
        tokens_ = detail::token_set(token_bits());
        registers_ = std::vector<std::uint8_t>(); // not {}, which would keep the capacity
        reach_ = any_hash;
        rare_ = any_hash;
        floor_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return registers_.empty() && tokens_.size() == 0; }

    /// Equal if compatible and in the same state, however it was reached.
    [[nodiscard]] friend bool operator==(const loglog& a, const loglog& b) noexcept {
        return a.compatible(b) && a.registers_ == b.registers_ && a.tokens_ == b.tokens_;
    }

    /// The object and what it allocated; apart from the object at most 2^precision bytes.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + tokens_.memory_bytes() + registers_.capacity();
    }

    /// Image options {precision, mode, 0}, u32 id of the hash, then by mode
    /// - 0, sparse: nothing if empty, else the number n of tokens in LEB128 and the tokens in ascending order as a Rice
    ///   code: with b the bits of a token, 27 or from precision 15 on 31, k the largest for which 2^k n <= 2^b, and d
    ///   the difference to the token before, or to 0, less one: k low bits of d, then d / 2^k zeros and a one; bytes
    ///   are filled from their low bits up, the last with zeros;
    /// - 1, dense: the registers, one byte each.
    /// For n keys some 17 + n (b + 1.6 - log2 n) / 8 bytes while sparse, 16 + 2^precision after that.
    /// Complexity: O(2^precision), while sparse O(tokens log tokens). Throws std::bad_alloc.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        if (registers_.empty()) return sparse_image();
        auto out = image_of(dense_mode, registers_.size());
        out.put(std::span<const std::uint8_t>(registers_));
        return std::move(out).finish();
    }

    /// An image of a third to a half of the size of that of serialize() for a dense sketch of some hundred registers or
    /// more, for disks and networks; it takes a hundred times as long to make. Equal sketches give equal bytes here,
    /// too. In mode 2 the registers are an entropy code (detail/entropy_code.hpp). It is used only where it is smaller
    /// than the dense form, and no smaller than an eighth of it, so that no image asks its reader for more than eight
    /// times its size; else this is serialize(). Complexity: O(2^precision), while sparse O(tokens log tokens). Throws
    /// std::bad_alloc.
    [[nodiscard]] std::vector<std::byte> serialize_compact() const {
        if (registers_.empty()) return sparse_image();
        auto out = image_of(coded_mode, registers_.size());
        detail::put_coded(out, registers_);
        auto coded = std::move(out).finish();
        return worth_coding(coded.size()) ? coded : serialize();
    }

    /// Complexity: O(image size).
    /// Throws format_error unless `image` is one that serialize() could have made with a hash of this id.
    [[nodiscard]] static loglog
    deserialize(std::span<const std::byte> image) requires std::default_initializable<Hash> {
        return deserialize(image, Hash{});
    }

    /// The same for a hash with a seed or key, which the image does not hold.
    [[nodiscard]] static loglog deserialize(std::span<const std::byte> image, Hash hasher) {
        detail::image_reader in(image, Registers::kind, Registers::name);
        const auto [precision, mode, unused] = in.options();
        in.require(precision >= min_precision && precision <= max_precision, "has a precision outside [4, 18]");
        in.require(mode <= coded_mode, "is neither sparse nor dense nor coded");
        in.require(unused == 0, "has a nonzero reserved byte");
        in.require(in.take<std::uint32_t>() == hasher.id(), "was made with another hash, or another seed or key of it");
        loglog sketch(precision, std::move(hasher));
        const std::size_t registers = std::size_t{1} << precision;
        if (mode == sparse_mode) {
            sketch.take_tokens(in);
        } else if (mode == dense_mode) {
            sketch.take_registers(in, in.template take_array<std::uint8_t>(registers));
        } else {
            in.require(sketch.worth_coding(image.size()), "is coded though that does not pay");
            sketch.take_registers(in, detail::take_coded(in, registers));
        }
        return sketch;
    }

private:
    template <class, class AnyKey, stable_hash<AnyKey> AnyHash>
    friend class loglog;
    /// Keeps the same tokens and registers, where many threads can write them.
    template <class AnyKey, stable_hash<AnyKey> AnyHash>
    friend class concurrent_hyperloglog;

    // A token holds what every precision up to the largest needs of a hash, and b = 27 or 31 of its bits:
    //
    //     bit   b   b - 1 .. 18             17 .. 0
    //           0   top bits of the hash    low bits of the hash    unless those top bits are all zero; then
    //           1   its leading zeros       low bits of the hash    where those beyond 46 do not count
    //
    // Neither form is ever 0. With 31 bits it holds all that one of 27 does.
    static constexpr unsigned low_bits = max_precision;
    static constexpr std::uint32_t low_mask = (std::uint32_t{1} << low_bits) - 1;

    /// Pairs of keys share a token with probability 2^-b, and there are the more pairs the later a sketch is dense:
    /// with these b, fewer than one token is lost on average at any precision, and small sketches have small images.
    [[nodiscard]] unsigned token_bits() const noexcept { return precision_ <= 14 ? 27 : 31; }

    [[nodiscard]] unsigned top_bits() const noexcept { return token_bits() - low_bits; }

    [[nodiscard]] std::uint32_t zeros_flag() const noexcept { return std::uint32_t{1} << token_bits(); }

    [[nodiscard]] std::uint32_t largest_token() const noexcept {
        return zeros_flag() | ((64 - low_bits) << low_bits) | low_mask;
    }

    static constexpr std::uint8_t sparse_mode = 0;
    static constexpr std::uint8_t dense_mode = 1;
    static constexpr std::uint8_t coded_mode = 2;

    static constexpr std::size_t block_size = 64;
    static constexpr std::uint64_t any_hash = ~std::uint64_t{0};
    /// The floors from which on it is faster to look for hashes that can change something: one by one, where a wrong
    /// guess of the processor costs as much as ten updates; packing those of a block; looking for a group with any.
    static constexpr unsigned floor_for_one = 6;
    static constexpr unsigned floor_for_packing = 2;
    static constexpr unsigned floor_for_groups = 8;
    static constexpr std::size_t group_size = 8;

    [[nodiscard]] static double standard_error(unsigned precision) noexcept {
        return std::sqrt(Registers::variance / static_cast<double>(std::uint32_t{1} << precision));
    }

    /// The most tokens of the sparse form: they fill its largest table, of 2^precision bytes, to three quarters.
    [[nodiscard]] std::size_t token_limit() const noexcept { return std::size_t{3} << (precision_ - 4); }

    [[nodiscard]] std::uint64_t index_mask() const noexcept { return (std::uint64_t{1} << precision_) - 1; }

    /// Whether to compare each hash as it is made is fastest: without vectors, once few have to be added.
    [[nodiscard]] bool filters_one_by_one() const noexcept {
        return detail::byte_vector::width <= 16 && reach_ != any_hash;
    }

    /// Leading zeros plus one. The index bits do not take part: set, they stop the count at 64 - precision.
    [[nodiscard]] static std::uint8_t rank_of(std::uint64_t hash, std::uint64_t mask) noexcept {
        return static_cast<std::uint8_t>(std::countl_zero(hash | mask | 1) + 1); // 1: tells compilers it is not 0
    }

    [[nodiscard]] std::uint32_t token_of(std::uint64_t hash) const noexcept {
        const auto low = static_cast<std::uint32_t>(hash) & low_mask;
        const auto top = static_cast<std::uint32_t>(hash >> (64 - top_bits()));
        if (top != 0) return (top << low_bits) | low;
        return zeros_flag() | (static_cast<std::uint32_t>(std::countl_zero(hash | low_mask)) << low_bits) | low;
    }

    /// The least hash with that token.
    [[nodiscard]] std::uint64_t hash_of(std::uint32_t token) const noexcept {
        const std::uint64_t low = token & low_mask;
        const std::uint64_t high = (token & ~zeros_flag()) >> low_bits;
        if ((token & zeros_flag()) == 0) return (high << (64 - top_bits())) | low;
        return high == 64 - low_bits ? low : (std::uint64_t{1} << (63 - high)) | low;
    }

    static void raise(std::uint8_t* registers, std::uint64_t mask, std::uint64_t hash) noexcept {
        Registers::raise(registers[static_cast<std::size_t>(hash & mask)], rank_of(hash, mask));
    }

    /// Tokens and registers of this precision.
    void raise(std::vector<std::uint8_t>& registers, const detail::token_set& tokens) const noexcept {
        tokens.all_of([&](std::uint32_t token) {
            raise(registers.data(), index_mask(), hash_of(token));
            return true;
        });
    }

    /// For a dense sketch: no more than block_size hashes.
    void raise_block(std::span<const std::uint64_t> hashes) noexcept {
        std::array<std::uint64_t, block_size> packed;
        if (floor_ >= floor_for_packing) hashes = std::span(packed.data(), pack(hashes, packed.data()));
        std::uint8_t* const registers = registers_.data();
        const std::uint64_t mask = index_mask();
        std::uint64_t rare = rare_;
        for (const std::uint64_t hash : hashes) {
            if (hash <= rare) {
                raise_rare(hash);
                rare = rare_;
            } else {
                raise(registers, mask, hash);
            }
        }
    }

    /// Copies the hashes that may change something; without a branch for each, as no one can tell which they are.
    std::size_t pack(std::span<const std::uint64_t> hashes, std::uint64_t* packed) const noexcept {
        const std::uint64_t reach = any_hash >> floor_;
        const auto within = [reach](std::uint64_t hash) { return static_cast<std::uint32_t>(hash <= reach); };
        std::size_t size = 0;
        const auto pack_all = [&](auto group) {
            for (const std::uint64_t hash : group) {
                packed[size] = hash;
                size += within(hash);
            }
        };
        for (; hashes.size() >= group_size; hashes = hashes.subspan(group_size)) {
            const auto group = hashes.template first<group_size>();
            if (floor_ >= floor_for_groups) {
                std::uint32_t any = 0;
                for (std::size_t i = 0; i < group_size; i += 4) // by fours, which GCC would not unroll at -O2
                    any |= (within(group[i]) | within(group[i + 1])) | (within(group[i + 2]) | within(group[i + 3]));
                if (any == 0) continue;
            }
            pack_all(group);
        }
        pack_all(hashes);
        return size;
    }

    /// What add_hash() has no time for: a sparse sketch, and to see how far the registers have come.
    void add_rare(std::uint64_t hash) {
        if (registers_.empty())
            add_token(token_of(hash));
        else
            raise_rare(hash);
    }

    /// Rare enough to look at all registers, but only if the hash changes one: it may be that of a frequent key.
    void raise_rare(std::uint64_t hash) noexcept {
        std::uint8_t& value = registers_[static_cast<std::size_t>(hash & index_mask())];
        const std::uint8_t before = value;
        Registers::raise(value, rank_of(hash, index_mask()));
        if (value == before && rare_ != any_hash) return;
        floor_ = static_cast<std::uint8_t>(Registers::floor_of(registers_));
        reach_ = floor_ >= floor_for_one ? any_hash >> floor_ : any_hash;
        rare_ = any_hash >> (precision_ + 2);
    }

    void become_dense(std::vector<std::uint8_t>&& registers) noexcept {
        registers_ = std::move(registers);
        tokens_ = detail::token_set(token_bits());
    }

    void add_token(std::uint32_t token) {
        if (tokens_.insert(token, token_limit())) return;
        auto made = registers();
        raise(made.data(), index_mask(), hash_of(token));
        become_dense(std::move(made));
    }

    void merge_sparse(const detail::token_set& others) {
        auto both = tokens_; // a copy, so that running out of memory half way leaves no trace
        if (others.all_of([&](std::uint32_t token) { return both.insert(token, token_limit()); })) {
            tokens_ = std::move(both);
        } else {
            auto made = registers();
            raise(made, others);
            become_dense(std::move(made));
        }
    }

    /// The expected number of keys whose token another key had.
    [[nodiscard]] double lost_tokens() const noexcept {
        const double tokens = static_cast<double>(tokens_.size());
        return tokens * tokens / 2.0 / static_cast<double>(zeros_flag());
    }

    /// The least number that a Poisson law of that mean exceeds as rarely as a normal one exceeds `sigmas` of its
    /// standard deviations, or one more: what is above k is less than term(k) / (1 - mean / (k + 1)) in all.
    [[nodiscard]] std::size_t lost_at_most(double sigmas) const noexcept {
        const double mean = lost_tokens();
        const double unlikely = 0.5 * std::erfc(sigmas / std::sqrt(2.0));
        double k = 1.0; // one more than the answer
        for (double term = mean * std::exp(-mean); k + 1.0 <= mean || term > unlikely * (1.0 - mean / (k + 1.0));
             term *= mean / k)
            k += 1.0;
        return static_cast<std::size_t>(k) - 1;
    }

    [[nodiscard]] detail::image_writer image_of(std::uint8_t mode, std::size_t body) const {
        detail::image_writer out(Registers::kind, {static_cast<std::uint8_t>(precision_), mode, 0},
                                 sizeof(std::uint32_t) + body);
        out.put(hash_.id());
        return out;
    }

    [[nodiscard]] std::vector<std::byte> sparse_image() const {
        const auto tokens = tokens_.sorted();
        auto out = image_of(sparse_mode, most_bytes_of(tokens));
        put_tokens(out, tokens);
        return std::move(out).finish();
    }

    /// Of a coded image of that size, frame and all.
    [[nodiscard]] bool worth_coding(std::size_t size) const noexcept {
        const std::size_t dense = detail::image_header_size + sizeof(std::uint32_t) + (std::size_t{1} << precision_);
        return dense / 8 <= size && size < dense;
    }

    void take_registers(const detail::image_reader& in, std::vector<std::uint8_t>&& registers) {
        in.expect_end();
        in.require(Registers::valid(registers, 65 - precision_), "has a register that no hashes lead to");
        in.require(Registers::any(registers), "is dense but without a single key");
        registers_ = std::move(registers);
    }

    /// k of the Rice code for that many tokens, at least one: random ones have differences of 2^k to 2^(k+1) on
    /// average.
    [[nodiscard]] unsigned rice_width(std::size_t tokens) const noexcept {
        return static_cast<unsigned>(std::bit_width(zeros_flag() / tokens)) - 1;
    }

    [[nodiscard]] std::size_t most_bytes_of(std::span<const std::uint32_t> tokens) const noexcept {
        if (tokens.empty()) return 0;
        const unsigned width = rice_width(tokens.size());
        return 4 + (tokens.size() * (width + 1) + (tokens.back() >> width)) / 8;
    }

    void put_tokens(detail::image_writer& out, std::span<const std::uint32_t> tokens) const {
        if (tokens.empty()) return;
        detail::put_varint(out, static_cast<std::uint32_t>(tokens.size()));
        const unsigned width = rice_width(tokens.size());
        detail::bit_writer bits(out);
        std::uint32_t next = 1; // the least that the next token can be
        for (const std::uint32_t token : tokens) {
            const std::uint32_t gap = token - next;
            bits.put(gap & ((std::uint32_t{1} << width) - 1), width);
            bits.put_unary(gap >> width);
            next = token + 1;
        }
        bits.finish();
    }

    void take_tokens(detail::image_reader& in) {
        if (in.remaining() == 0) return;
        const std::size_t count = detail::take_varint(in);
        in.require(count > 0, "announces no tokens");
        in.require(count <= token_limit(), "is sparse but holds more tokens than fit");
        const unsigned width = rice_width(count);
        detail::bit_reader bits(in);
        in.require(count * (width + 1) <= bits.bits_left(), "is truncated: it announces more tokens than it holds");
        std::vector<std::uint32_t> tokens(count);
        std::uint64_t next = 1;
        for (std::uint32_t& token : tokens) {
            const std::uint64_t low = bits.take(width);
            const std::uint64_t high = bits.take_unary();
            in.require(high <= largest_token() >> width, "has a token that no hash leads to"); // or it might overflow
            next += (high << width) | low;
            in.require(next <= largest_token(), "has a token that no hash leads to");
            token = static_cast<std::uint32_t>(next++);
            in.require(valid(token), "has a token that no hash leads to");
        }
        bits.expect_end();
        tokens_ = detail::token_set(token_bits(), tokens, token_limit());
    }

    [[nodiscard]] bool valid(std::uint32_t token) const noexcept {
        return token != 0 && token_of(hash_of(token)) == token;
    }

    unsigned precision_;
    [[no_unique_address]] Hash hash_;
    detail::token_set tokens_;            // empty once the sketch is dense
    std::vector<std::uint8_t> registers_; // empty while the sketch is sparse

    // What speeds up adding to a dense sketch, and is no part of the state. Ranks are leading zeros, so a hash of at
    // least 2^(64 - f) has a rank of at most f, and changes nothing where no register is below f.
    std::uint64_t reach_ = any_hash; // hashes above change nothing; all of them while the floor is low
    std::uint64_t rare_ = any_hash; // hashes up to here go to add_rare(); all while sparse, or if to look for the floor
    std::uint8_t floor_ = 0;        // no register is below
};

} // namespace qsketch::inline v0
