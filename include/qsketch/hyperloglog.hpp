#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/hll_estimate.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/token_set.hpp>
#include <qsketch/detail/varint.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>

#include <algorithm>
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

/// How many distinct keys were added, in 2^precision bytes or fewer; nearly exact while they are few.
///
/// A hash picks one of m = 2^precision registers by its low bits; the register keeps the largest number of leading
/// zeros, plus one, that it saw. Up to 3m/16 distinct keys the sketch is sparse: it holds 32-bit tokens with 31 bits of
/// each hash, from which registers follow exactly. The state, sparse or dense, is a function of the set of hashes
/// alone, so merging is exact, and order, repetition and grouping leave no trace.
/// Source: Flajolet et al. 2007 (AofA) for the registers, Ertl 2017 (arXiv 1702.01284) for the estimate, Heule et al.
/// 2013 (EDBT), section 5.3, for the idea of a sparse form that converts without loss.
template <class Key = std::string_view, stable_hash<Key> Hash = hash>
class hyperloglog {
public:
    static constexpr unsigned min_precision = 4;
    static constexpr unsigned max_precision = 18;

    /// Allocates nothing yet.
    /// Throws std::invalid_argument unless 4 <= precision <= 18.
    explicit hyperloglog(unsigned precision = 14) requires std::default_initializable<Hash>
        : hyperloglog(precision, Hash{}) {}

    /// The same with a hash of your own; sketches merge only if their hashes are equal.
    hyperloglog(unsigned precision, Hash hasher) : precision_(precision), hash_(std::move(hasher)) {
        if (precision < min_precision || precision > max_precision)
            throw std::invalid_argument("hyperloglog: precision must be in [4, 18], got " + std::to_string(precision));
    }

    /// An empty sketch of the least precision whose relative_error() is at most `relative_standard_error`.
    /// Throws std::invalid_argument unless 0.00203 (that of precision 18) <= relative_standard_error.
    [[nodiscard]] static hyperloglog for_error(double relative_standard_error, Hash hasher = {}) {
        for (unsigned precision = min_precision; precision <= max_precision; ++precision)
            if (standard_error(precision) <= relative_standard_error) return hyperloglog(precision, std::move(hasher));
        throw std::invalid_argument("hyperloglog: relative_standard_error must be at least " +
                                    std::to_string(standard_error(max_precision)) + ", got " +
                                    std::to_string(relative_standard_error));
    }

    /// Throws std::bad_alloc while sparse, and nothing changes.
    void add(const Key& key) { add_hash(hash_(key)); }

    /// Throws std::bad_alloc while sparse; adding the same keys again is then safe, as after any failure.
    void add(std::span<const Key> keys) {
        for (const Key& key : keys) add(key);
    }

    /// Adds a key by its hash, of which every bit must be as good as random: a counter, an address or std::hash of an
    /// integer will not do. Anything but `Hash` applied to the key counts as another key.
    /// Throws std::bad_alloc while sparse, and nothing changes.
    void add_hash(std::uint64_t hash) {
        if (registers_.empty())
            add_token(token_of(hash));
        else
            raise(hash);
    }

    /// Throws std::bad_alloc while sparse; adding the same hashes again is then safe.
    void add_hashes(std::span<const std::uint64_t> hashes) {
        std::size_t i = 0;
        for (; i < hashes.size() && registers_.empty(); ++i) add_token(token_of(hashes[i]));
        for (; i < hashes.size(); ++i) raise(hashes[i]);
    }

    /// The number of distinct keys; 0 if empty.
    /// Complexity: O(1) while sparse, O(2^precision) after that.
    /// Error: standard error below 2e-5 while sparse, relative_error() after that. Bias within 0.5 % at precision 4,
    /// 0.1 % from 8 on, for every number of keys up to 10^18. Test: hyperloglog_accuracy.test.cpp.
    [[nodiscard]] double estimate() const noexcept {
        if (registers_.empty()) {
            // Linear counting over the 2^31 values a token can take: n = -M ln(1 - T/M) = T + T^2/2M + T^3/3M^2 + ...,
            // of which the third term is below 1e-5 for the most tokens there can be.
            return static_cast<double>(tokens_.size()) + lost_tokens();
        }
        return detail::hll_estimate(detail::histogram_of(registers_), precision_);
    }

    /// What the truth is not below, with the confidence of that many standard deviations of a normal law; never above
    /// estimate(), and certain while sparse. `sigmas` that are not positive count as 0.
    /// Complexity: as estimate().
    /// Error: from precision 8 on, the truth is within both bounds with a probability of at least 68, 95 and 99.5 % for
    /// 1, 2 and 3 sigmas; at precision 4, where estimates are skewed, 68, 94.5 and 98.5 %.
    /// Test: hyperloglog_accuracy.test.cpp.
    [[nodiscard]] double lower_bound(double sigmas) const noexcept {
        if (registers_.empty()) return static_cast<double>(tokens_.size());
        const auto counts = detail::histogram_of(registers_);
        const double estimate = detail::hll_estimate(counts, precision_);
        const double bound = estimate / (1.0 + (std::max)(0.0, sigmas) * relative_error());
        const double filled = static_cast<double>(registers_.size() - counts[0]); // each took a key of its own
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

    /// The relative standard error of the dense form, 1.039 / sqrt(2^precision): two thirds of all estimates are
    /// closer to the truth than this, one in twenty is off by more than twice as much.
    /// Error: this is the limit for many registers; at precision 4 it is 6 % too small, from 8 on less than 1 %.
    /// Test: hyperloglog_accuracy.test.cpp.
    [[nodiscard]] double relative_error() const noexcept { return standard_error(precision_); }

    [[nodiscard]] unsigned precision() const noexcept { return precision_; }

    /// Makes this the sketch of the union of both sets, equal in every bit to one that was given all the keys.
    /// Complexity: O(2^precision), while both are sparse O(tokens).
    /// Throws incompatible_error unless compatible(other), or std::bad_alloc; nothing changes then.
    void merge(const hyperloglog& other) {
        if (precision_ != other.precision_)
            throw incompatible_error("hyperloglog: cannot merge precision " + std::to_string(other.precision_) +
                                     " into precision " + std::to_string(precision_));
        if (!(hash_ == other.hash_)) throw incompatible_error("hyperloglog: cannot merge sketches of different hashes");
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
            std::uint8_t* const mine = registers_.data();
            const std::uint8_t* const theirs = other.registers_.data();
            for (std::size_t i = 0, m = registers_.size(); i < m; ++i) mine[i] = (std::max)(mine[i], theirs[i]);
        }
    }

    /// Same precision and equal hashes.
    [[nodiscard]] bool compatible(const hyperloglog& other) const noexcept {
        return precision_ == other.precision_ && hash_ == other.hash_;
    }

    /// Gives the memory back, too.
    void clear() noexcept {
        tokens_ = {};
        registers_ = std::vector<std::uint8_t>(); // not {}, which would keep the capacity
    }

    [[nodiscard]] bool empty() const noexcept { return registers_.empty() && tokens_.size() == 0; }

    /// Equal if compatible and in the same state, however it was reached.
    [[nodiscard]] friend bool operator==(const hyperloglog& a, const hyperloglog& b) noexcept {
        return a.compatible(b) && a.registers_ == b.registers_ && a.tokens_ == b.tokens_;
    }

    /// The object and what it allocated; apart from the object at most 2^precision bytes.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + tokens_.memory_bytes() + registers_.capacity();
    }

    /// Image options {precision, mode, 0}, u32 id of the hash, then by mode
    /// - 0, sparse: the tokens in ascending order, each as the difference to the one before, in LEB128;
    /// - 1, dense: the registers, one byte each.
    /// Some 16 + 4.3 bytes per key while sparse, 16 + 2^precision after that.
    /// Complexity: O(2^precision), while sparse O(tokens log tokens). Throws std::bad_alloc.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        const bool dense = !registers_.empty();
        const std::size_t body = dense ? registers_.size() : tokens_.size() * 5;
        detail::image_writer out(detail::image_kind::hyperloglog,
                                 {static_cast<std::uint8_t>(precision_), dense ? dense_mode : sparse_mode, 0},
                                 sizeof(std::uint32_t) + body);
        out.put(hash_.id());
        if (dense) {
            out.put(std::span<const std::uint8_t>(registers_));
        } else {
            std::uint32_t previous = 0;
            for (const std::uint32_t token : tokens_.sorted()) {
                detail::put_varint(out, token - previous);
                previous = token;
            }
        }
        return std::move(out).finish();
    }

    /// Complexity: O(image size).
    /// Throws format_error unless `image` is one that serialize() could have made with a hash of this id.
    [[nodiscard]] static hyperloglog
    deserialize(std::span<const std::byte> image) requires std::default_initializable<Hash> {
        return deserialize(image, Hash{});
    }

    /// The same for a hash with a seed or key, which the image does not hold.
    [[nodiscard]] static hyperloglog deserialize(std::span<const std::byte> image, Hash hasher) {
        detail::image_reader in(image, detail::image_kind::hyperloglog, "hyperloglog");
        const auto [precision, mode, unused] = in.options();
        in.require(precision >= min_precision && precision <= max_precision, "has a precision outside [4, 18]");
        in.require(mode == sparse_mode || mode == dense_mode, "is neither sparse nor dense");
        in.require(unused == 0, "has a nonzero reserved byte");
        in.require(in.take<std::uint32_t>() == hasher.id(), "was made with another hash, or another seed or key of it");
        hyperloglog sketch(precision, std::move(hasher));
        if (mode == dense_mode)
            sketch.take_registers(in);
        else
            sketch.take_tokens(in);
        return sketch;
    }

private:
    // A token holds 31 bits of a hash and the rank in full, laid out so that its low bits are the register:
    //
    //     bit  31   30 .. precision          precision-1 .. 0
    //          0    top bits of the hash     low bits of the hash     unless those top bits are all zero; then
    //          1    rank - 1                 low bits of the hash
    //
    // Neither form is ever 0. With the first, the rank is the number of leading zeros of the token itself.
    static constexpr std::uint32_t rank_flag = 0x80000000;

    static constexpr std::uint8_t sparse_mode = 0;
    static constexpr std::uint8_t dense_mode = 1;

    [[nodiscard]] static double standard_error(unsigned precision) noexcept {
        return std::sqrt(detail::hll_variance / static_cast<double>(std::uint32_t{1} << precision));
    }

    /// The most tokens of the sparse form: they fill its largest table, of 2^precision bytes, to three quarters.
    [[nodiscard]] std::size_t token_limit() const noexcept { return std::size_t{3} << (precision_ - 4); }

    [[nodiscard]] std::uint64_t index_mask() const noexcept { return (std::uint64_t{1} << precision_) - 1; }

    /// Leading zeros plus one. The index bits do not take part: set, they stop the count at 64 - precision.
    [[nodiscard]] static std::uint8_t rank_of(std::uint64_t hash, std::uint64_t mask) noexcept {
        return static_cast<std::uint8_t>(std::countl_zero(hash | mask) + 1);
    }

    [[nodiscard]] std::uint32_t token_of(std::uint64_t hash) const noexcept {
        const std::uint64_t mask = index_mask();
        const std::uint64_t top = (hash >> 33) & ~mask;
        const std::uint64_t form =
            top != 0 ? top : rank_flag | (static_cast<std::uint64_t>(rank_of(hash, mask) - 1) << precision_);
        return static_cast<std::uint32_t>(form | (hash & mask));
    }

    [[nodiscard]] static std::uint8_t rank_of_token(std::uint32_t token, int precision) noexcept {
        return static_cast<std::uint8_t>((token & rank_flag) == 0 ? static_cast<std::uint32_t>(std::countl_zero(token))
                                                                  : ((token ^ rank_flag) >> precision) + 1);
    }

    void raise(std::uint64_t hash) noexcept {
        const std::uint64_t mask = registers_.size() - 1;
        std::uint8_t& value = registers_[static_cast<std::size_t>(hash & mask)];
        value = (std::max)(value, rank_of(hash, mask));
    }

    static void raise(std::vector<std::uint8_t>& registers, std::uint32_t token) noexcept {
        const std::size_t mask = registers.size() - 1;
        std::uint8_t& value = registers[token & mask];
        value = (std::max)(value, rank_of_token(token, std::countr_one(mask)));
    }

    static void raise(std::vector<std::uint8_t>& registers, const detail::token_set& tokens) noexcept {
        tokens.all_of([&registers](std::uint32_t token) { return raise(registers, token), true; });
    }

    void become_dense(std::vector<std::uint8_t>&& registers) noexcept {
        registers_ = std::move(registers);
        tokens_ = {};
    }

    void add_token(std::uint32_t token) {
        if (tokens_.insert(token, token_limit())) return;
        std::vector<std::uint8_t> registers(std::size_t{1} << precision_);
        raise(registers, tokens_);
        raise(registers, token);
        become_dense(std::move(registers));
    }

    void merge_sparse(const detail::token_set& others) {
        auto both = tokens_; // a copy, so that running out of memory half way leaves no trace
        if (others.all_of([&](std::uint32_t token) { return both.insert(token, token_limit()); })) {
            tokens_ = std::move(both);
        } else {
            std::vector<std::uint8_t> registers(std::size_t{1} << precision_);
            raise(registers, tokens_);
            raise(registers, others);
            become_dense(std::move(registers));
        }
    }

    /// The expected number of keys whose token another key had: a pair shares one with probability 2^-31.
    [[nodiscard]] double lost_tokens() const noexcept {
        const double tokens = static_cast<double>(tokens_.size());
        return tokens * tokens / 4294967296.0;
    }

    /// That number is Poisson distributed with mean a, and so k or more with probability at most a^k / k!. The least k
    /// that is as unlikely as `sigmas` standard deviations of a normal law on one side, less one.
    [[nodiscard]] std::size_t lost_at_most(double sigmas) const noexcept {
        const double mean = lost_tokens();
        const double unlikely = 0.5 * std::erfc(sigmas / std::sqrt(2.0));
        std::size_t lost = 0;
        for (double tail = mean; tail > unlikely; tail *= mean / static_cast<double>(lost + 1)) ++lost;
        return lost;
    }

    void take_registers(detail::image_reader& in) {
        auto registers = in.take_array<std::uint8_t>(std::uint64_t{1} << precision_);
        in.expect_end();
        const auto largest = *std::max_element(registers.begin(), registers.end());
        in.require(largest <= 65 - precision_, "has a register above 65 - precision");
        in.require(largest > 0, "is dense but without a single key");
        registers_ = std::move(registers);
    }

    void take_tokens(detail::image_reader& in) {
        for (std::uint32_t token = 0; in.remaining() > 0;) {
            const std::uint32_t step = detail::take_varint(in);
            in.require(step > 0 && step <= ~token, "has tokens that do not ascend");
            token += step;
            in.require(valid(token), "has a token that no hash leads to");
            in.require(tokens_.insert(token, token_limit()), "is sparse but holds more tokens than fit");
        }
    }

    [[nodiscard]] bool valid(std::uint32_t token) const noexcept {
        const std::uint32_t top = (token & ~rank_flag) >> precision_;
        if ((token & rank_flag) == 0) return top != 0;
        return top >= 31 - precision_ && top <= 64 - precision_;
    }

    unsigned precision_;
    [[no_unique_address]] Hash hash_;
    detail::token_set tokens_;            // empty once the sketch is dense
    std::vector<std::uint8_t> registers_; // empty while the sketch is sparse
};

} // namespace qsketch::inline v0
