#pragma once

#include <qsketch/error.hpp>
#include <qsketch/hash.hpp>
#include <qsketch/hyperloglog.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// A hyperloglog that any number of threads add to without locks.
///
/// Registers only grow and tokens are never taken back, so threads may write in any order: what comes out is the state
/// of a hyperloglog that was shown the same hashes by one thread, bit by bit. Once registers have grown, nearly all
/// adds only read. All members may run concurrently.
///
/// Registers are kept from the start and tokens beside them, as long as a hyperloglog would be sparse: after that there
/// are enough of them, and the registers know everything. So no state has to be handed over while threads write.
/// Test: concurrent_hyperloglog.test.cpp.
template <class Key = std::string_view, stable_hash<Key> Hash = hash>
class concurrent_hyperloglog {
public:
    using key_type = Key;
    using hash_type = Hash;
    using sketch_type = hyperloglog<Key, Hash>;

    /// Allocates all that it will need, 2^(precision + 1) bytes.
    /// Throws std::invalid_argument unless 4 <= precision <= 18.
    explicit concurrent_hyperloglog(unsigned precision = 14) requires std::default_initializable<Hash>
        : concurrent_hyperloglog(precision, Hash{}) {}

    /// The same with a hash of your own.
    concurrent_hyperloglog(unsigned precision, Hash hasher)
        : empty_(precision, std::move(hasher)), registers_(std::size_t{1} << precision),
          tokens_(registers_.size() / sizeof(std::uint32_t)) {}

    /// Threads hold on to it, so it stays where it is.
    concurrent_hyperloglog(const concurrent_hyperloglog&) = delete;
    concurrent_hyperloglog& operator=(const concurrent_hyperloglog&) = delete;

    void add(const Key& key) noexcept { add_hash(empty_.hash_(key)); }

    /// Adds a key by its hash, as hyperloglog::add_hash().
    /// Complexity: O(1). No thread waits for another; one that loses a race for a register goes again, at most as often
    /// as the register can grow.
    void add_hash(std::uint64_t hash) noexcept {
        if (hash > reach_.load(std::memory_order_acquire)) return;
        const std::uint8_t rank = sketch_type::rank_of(hash, empty_.index_mask());
        const bool raised = raise(static_cast<std::size_t>(hash & empty_.index_mask()), rank);
        if (raised && rank > precision() + 2) find_reach(); // as rare as there are registers to look at
        if (!dense_.load(std::memory_order_relaxed)) add_token(empty_.token_of(hash));
    }

    /// Adds the keys of `other`. Complexity: O(2^precision), while `other` is sparse O(its tokens).
    /// Throws incompatible_error for another precision or hash, and nothing changes.
    void merge(const sketch_type& other) {
        if (!empty_.compatible(other))
            throw incompatible_error("concurrent_hyperloglog: cannot merge another precision or hash");
        if (other.registers_.empty()) {
            other.tokens_.all_of([&](std::uint32_t token) {
                add_hash(empty_.hash_of(token));
                return true;
            });
        } else {
            for (std::size_t i = 0; i < registers_.size(); ++i) raise(i, other.registers_[i]);
            dense_.store(true, std::memory_order_release);
            find_reach();
        }
    }

    /// The hyperloglog of all keys whose add() had returned before, and any of those being added meanwhile; what one
    /// snapshot holds, later ones of the same thread hold.
    /// Complexity: O(2^precision). Throws std::bad_alloc.
    [[nodiscard]] sketch_type snapshot() const {
        sketch_type result = empty_;
        for (const auto& slot : tokens_)
            if (const auto token = slot.load(std::memory_order_acquire); token != 0) result.add_token(token);
        if (!dense_.load(std::memory_order_acquire)) return result;
        std::vector<std::uint8_t> registers(registers_.size());
        for (std::size_t i = 0; i < registers.size(); ++i) registers[i] = registers_[i].load(std::memory_order_relaxed);
        return sketch_type::from_registers(std::move(registers), empty_.hash_);
    }

    [[nodiscard]] unsigned precision() const noexcept { return empty_.precision(); }

    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return sizeof *this + registers_.capacity() + tokens_.capacity() * sizeof(std::uint32_t);
    }

private:
    static constexpr std::uint64_t any_hash = sketch_type::any_hash;
    /// Random tokens do not get there: see token_set. Chosen ones only make the sketch dense early.
    static constexpr std::size_t longest_walk = 2048;

    /// Whether this thread did.
    bool raise(std::size_t index, std::uint8_t rank) noexcept {
        std::atomic<std::uint8_t>& value = registers_[index];
        std::uint8_t before = value.load(std::memory_order_relaxed);
        while (before < rank)
            if (value.compare_exchange_weak(before, rank, std::memory_order_relaxed)) return true;
        return false;
    }

    /// A hash above reach_ changes no register, as in hyperloglog. Another thread's older finding is no error.
    void find_reach() noexcept {
        if (!dense_.load(std::memory_order_relaxed)) return; // tokens are still wanted of any hash
        std::uint8_t floor = 255;
        for (const auto& value : registers_) floor = (std::min)(floor, value.load(std::memory_order_relaxed));
        if (floor >= sketch_type::floor_for_one) reach_.store(any_hash >> floor, std::memory_order_release);
    }

    /// Into a table that is laid out once, for the most tokens of a hyperloglog and a third more; 0 is a free slot.
    void add_token(std::uint32_t token) noexcept {
        const std::size_t mask = tokens_.size() - 1;
        std::size_t slot = (token * std::uint32_t{0x9e3779b1}) >> (34 - precision()); // 2^32 / golden ratio
        for (std::size_t walked = 0; walked < (std::min)(tokens_.size(), longest_walk);
             ++walked, slot = (slot + 1) & mask) {
            std::uint32_t there = tokens_[slot].load(std::memory_order_relaxed);
            if (there == 0 && tokens_[slot].compare_exchange_strong(there, token, std::memory_order_release)) {
                if (size_.fetch_add(1, std::memory_order_relaxed) < empty_.token_limit()) return;
                break;
            }
            if (there == token) return;
        }
        dense_.store(true, std::memory_order_release);
    }

    const sketch_type empty_; // precision, hash and what follows from them
    std::vector<std::atomic<std::uint8_t>> registers_;
    std::vector<std::atomic<std::uint32_t>> tokens_;
    std::atomic<std::uint64_t> reach_ = any_hash;
    std::atomic<bool> dense_ = false; // the registers know everything, tokens are no longer added
    std::atomic<std::size_t> size_ = 0;
};

} // namespace qsketch::inline v0
