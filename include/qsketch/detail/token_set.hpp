#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// A set of nonzero tokens that are random, adversaries apart, in as many low bits as it is told: open addressing with
/// linear probing. It grows with its content, allocates nothing while empty, and is never more than three quarters
/// full.
///
/// A slot is the top bits of token * multiplier. Tokens chosen to meet in a few slots would make every search walk past
/// all of them; so the first one that comes to lie too far from its slot has the table laid out anew, by the next
/// multiplier. What the set answers does not depend on it.
class token_set {
public:
    /// Of tokens with `random_bits` in 1 .. 32: the first multiplier puts those on top, so that the table is nearly in
    /// order and quickly sorted.
    explicit token_set(unsigned random_bits) noexcept { table_.multiplier = std::uint32_t{1} << (32 - random_bits); }

    /// Of distinct tokens in any order, at most `limit` of them.
    token_set(unsigned random_bits, std::span<const std::uint32_t> tokens, std::size_t limit) : token_set(random_bits) {
        if (tokens.empty()) return;
        std::size_t slots = larger(0, limit);
        while (capacity(slots) < tokens.size()) slots = larger(slots, limit);
        table_ = laid_out(slots, table_.multiplier, tokens);
        size_ = tokens.size();
    }

    /// False, and nothing changes, if `token` is new while the set holds `limit` tokens already.
    /// `limit` is 3 * 2^k and always the same; the set then never has more than 4 * 2^k slots.
    /// Throws std::bad_alloc, and nothing changes.
    [[nodiscard]] bool insert(std::uint32_t token, std::size_t limit) {
        if (size_ < capacity(table_.slots.size()))
            if (const std::size_t slot = table_.find(token); slot != nowhere) {
                size_ += static_cast<std::size_t>(table_.slots[slot] == 0);
                table_.slots[slot] = token;
                return true;
            }
        return insert_anew(token, limit);
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return table_.slots.capacity() * sizeof(std::uint32_t); }

    /// Calls `visit` with each token, in an order that depends on the history; ends early when it returns false.
    ///
    /// The order hops through the slots: walked in slot order, one full table poured into another of its size would
    /// overfill the front of it and make each insertion probe across that whole stretch.
    template <class Visit>
    bool all_of(Visit visit) const {
        constexpr std::size_t hop = 0x9e3779b1; // odd, so that every slot has its turn; 2^32 / golden ratio, so spread
        const std::size_t mask = table_.slots.size() - 1;
        for (std::size_t i = 0; i < table_.slots.size(); ++i)
            if (const auto token = table_.slots[(i * hop) & mask]; token != 0 && !visit(token)) return false;
        return true;
    }

    [[nodiscard]] std::vector<std::uint32_t> sorted() const {
        auto tokens = all();
        std::sort(tokens.begin(), tokens.end());
        return tokens;
    }

    friend bool operator==(const token_set& a, const token_set& b) noexcept {
        return a.size_ == b.size_ && a.all_of([&b](std::uint32_t token) {
            const std::size_t slot = b.table_.find(token);
            return slot != nowhere && b.table_.slots[slot] == token;
        });
    }

private:
    static constexpr std::size_t nowhere = ~std::size_t{0};
    /// Random tokens do not get there: at three quarters, a walk of k slots has a probability of 0.963^k at most.
    static constexpr std::size_t longest_walk = 512;

    struct table {
        std::vector<std::uint32_t> slots; // a power of two; 0 is free
        std::uint32_t multiplier = 1;
        int shift = 0;

        /// Where `token` is, or the free slot where it belongs, or nowhere if that is too far.
        [[nodiscard]] std::size_t find(std::uint32_t token) const noexcept {
            const std::uint32_t* const at = slots.data();
            const std::size_t mask = slots.size() - 1;
            std::size_t slot = (token * multiplier) >> shift;
            for (std::size_t walked = 0; at[slot] != 0 && at[slot] != token; slot = (slot + 1) & mask)
                if (++walked > longest_walk) return nowhere;
            return slot;
        }
    };

    /// What insert() does where the table is full, or the token has no place in it.
    [[nodiscard]] bool insert_anew(std::uint32_t token, std::size_t limit) {
        const bool full = size_ == capacity(table_.slots.size());
        if (size_ > 0)
            if (const std::size_t slot = table_.find(token); slot != nowhere && table_.slots[slot] == token)
                return true;
        if (size_ == limit) return false;
        auto tokens = all();
        tokens.push_back(token);
        table_ = laid_out(full ? larger(table_.slots.size(), limit) : table_.slots.size(), table_.multiplier, tokens);
        ++size_;
        return true;
    }

    [[nodiscard]] static std::size_t capacity(std::size_t slots) noexcept { return slots / 4 * 3; }

    [[nodiscard]] static std::size_t larger(std::size_t slots, std::size_t limit) noexcept {
        return (std::min)(slots == 0 ? std::size_t{16} : slots * 4, limit / 3 * 4);
    }

    [[nodiscard]] static table laid_out(std::size_t slots, std::uint32_t multiplier,
                                        std::span<const std::uint32_t> tokens) {
        table made{std::vector<std::uint32_t>(slots), multiplier, 32 - std::countr_zero(slots)};
        while (!std::all_of(tokens.begin(), tokens.end(), [&made](std::uint32_t token) {
            const std::size_t slot = made.find(token);
            if (slot != nowhere) made.slots[slot] = token;
            return slot != nowhere;
        })) {
            std::fill(made.slots.begin(), made.slots.end(), 0);
            made.multiplier = (made.multiplier | 1) * 0x9e3779b1;
        }
        return made;
    }

    [[nodiscard]] std::vector<std::uint32_t> all() const {
        std::vector<std::uint32_t> tokens(size_ + 1); // one more, where what follows the last of them is written
        std::size_t size = 0;
        for (const std::uint32_t token : table_.slots) {
            tokens[size] = token; // without a branch that nobody could foretell
            size += static_cast<std::size_t>(token != 0);
        }
        tokens.resize(size_);
        return tokens;
    }

    table table_;
    std::size_t size_ = 0;
};

} // namespace qsketch::inline v0::detail
