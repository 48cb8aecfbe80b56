#pragma once

#include <qsketch/detail/block_sort.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// A set of nonzero tokens that are random, adversaries apart, in as many low bits as it is told: open addressing by
/// groups of four slots, each filled from its front, with the next group after a full one. It grows with its content,
/// allocates nothing while empty, and is never more than three quarters full.
///
/// Where in its group a token is comes out of comparisons with all four, without a branch that nobody could foretell;
/// half of the groups are full at three quarters, one in six at a half.
///
/// A group is the top bits of token * multiplier. Tokens chosen to meet in a few groups would make every search walk
/// past all of them; so the first one that comes to lie too far from its group has the table laid out anew, by the next
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
        table_ = laid_out(slots, [tokens](auto put) {
            constexpr std::size_t apart = 8; // neighbours in order would wait for each other to take their places
            for (std::size_t first = 0; first < apart; ++first)
                for (std::size_t i = first; i < tokens.size(); i += apart)
                    if (!put(tokens[i])) return false;
            return true;
        });
        size_ = tokens.size();
    }

    /// False, and nothing changes, if `token` is new while the set holds `limit` tokens already.
    /// `limit` is 3 * 2^k and always the same; the set then never has more than 4 * 2^k slots.
    /// Throws std::bad_alloc, and nothing changes.
    [[nodiscard]] bool insert(std::uint32_t token, std::size_t limit) {
        return insert_as_fit(std::span(&token, 1)) == 1 || insert_anew(token, limit);
    }

    /// The same for each of them, in their order, up to the first that is refused: how many were not.
    /// Throws std::bad_alloc; some of them may be in the set then.
    [[nodiscard]] std::size_t insert(std::span<const std::uint32_t> tokens, std::size_t limit) {
        std::size_t inserted = insert_as_fit(tokens);
        while (inserted < tokens.size() && insert_anew(tokens[inserted], limit)) {
            ++inserted;
            inserted += insert_as_fit(tokens.subspan(inserted));
        }
        return inserted;
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return table_.slots.capacity() * sizeof(std::uint32_t); }

    /// Calls `visit` with each token, in an order that depends on the history; ends early when it returns false.
    ///
    /// The order hops through the slots: walked in slot order, one full table poured into another of its size would
    /// overfill the front of it and make each insertion probe across that whole stretch; and one poured into a larger
    /// one would make each wait for the one before, which went to the same group.
    template <class Visit>
    bool all_of(Visit visit) const {
        constexpr std::size_t hop = 0x9e3779b1; // odd, so that every slot has its turn; 2^32 / golden ratio, so spread
        constexpr std::size_t most = 64;
        const std::size_t slots = table_.slots.size();
        for (std::size_t from = 0; from < slots; from += most) {
            std::array<std::uint32_t, most> tokens;
            std::size_t size = 0;
            for (std::size_t i = from; i < (std::min)(slots, from + most); ++i) {
                tokens[size] = table_.slots[(i * hop) & (slots - 1)];
                size += static_cast<std::size_t>(tokens[size] != 0); // no branch that nobody could foretell
            }
            if (!std::all_of(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(size), visit)) return false;
        }
        return true;
    }

    [[nodiscard]] std::vector<std::uint32_t> sorted() const {
        std::vector<std::uint32_t> tokens(size_ + 1); // one more, where what follows the last of them is written
        std::size_t size = 0;
        for (const std::uint32_t token : table_.slots) {
            tokens[size] = token;
            size += static_cast<std::size_t>(token != 0);
        }
        tokens.resize(size_);
        std::vector<std::uint32_t> in_order(size_);
        sort_block(std::span<const std::uint32_t>(tokens), in_order.data());
        return in_order;
    }

    friend bool operator==(const token_set& a, const token_set& b) noexcept {
        return a.size_ == b.size_ && a.all_of([&b](std::uint32_t token) { return b.contains(token); });
    }

private:
    static constexpr std::size_t nowhere = ~std::size_t{0};
    static constexpr std::size_t group = 4;
    /// Random tokens do not get there: at three quarters, a walk past k groups has a probability of 0.86^k at most.
    static constexpr std::size_t longest_walk = 512;

    struct table {
        std::vector<std::uint32_t> slots; // a power of two, at least a group; 0 is free
        std::uint32_t multiplier = 1;
        int shift = 0;
    };

    /// The table in local variables: as far as compilers know, stores to its slots could change its members.
    struct places {
        explicit places(const table& from) noexcept
            : slots(from.slots.data()), mask(from.slots.size() - 1), multiplier(from.multiplier), shift(from.shift) {}

        [[nodiscard]] std::size_t home(std::uint32_t token) const noexcept {
            return ((token * multiplier) >> shift) & ~(group - 1);
        }

        /// Where `token` is, or the free slot where it belongs, or nowhere if that is too far.
        [[nodiscard]] std::size_t find(std::uint32_t token) const noexcept {
            std::size_t first = home(token);
            for (std::size_t walked = 0; walked < longest_walk; walked += group) {
                const auto passed = [other = slots + first, token](std::size_t i) {
                    return static_cast<std::size_t>(other[i] != 0) & static_cast<std::size_t>(other[i] != token);
                };
                const std::size_t one = passed(0); // one by one, as GCC would not unroll a loop at -O2
                const std::size_t two = one & passed(1);
                const std::size_t three = two & passed(2);
                const std::size_t four = three & passed(3);
                if (four == 0) return first + one + two + three;
                first = (first + group) & mask;
            }
            return nowhere;
        }

        /// The same for a token that is not there, mostly with fewer comparisons.
        [[nodiscard]] std::size_t find_free(std::uint32_t token) const noexcept {
            const std::size_t first = home(token);
            std::size_t slot = first;
            for (std::size_t i = 0; i < group - 1; ++i) slot += static_cast<std::size_t>(slots[first + i] != 0);
            return slots[slot] == 0 ? slot : find(token);
        }

        const std::uint32_t* slots;
        std::size_t mask;
        std::uint32_t multiplier;
        int shift;
    };

    [[nodiscard]] bool contains(std::uint32_t token) const noexcept {
        if (size_ == 0) return false;
        const std::size_t slot = places(table_).find(token);
        return slot != nowhere && table_.slots[slot] == token;
    }

    /// Inserts tokens up to the first that has no place, but no more than fit if all are new: how many that were.
    [[nodiscard]] std::size_t insert_as_fit(std::span<const std::uint32_t> tokens) noexcept {
        const std::size_t fit = (std::min)(tokens.size(), capacity(table_.slots.size()) - size_);
        const places at(table_);
        std::uint32_t* const slots = table_.slots.data();
        std::size_t added = 0;
        std::size_t inserted = 0;
        for (; inserted < fit; ++inserted) {
            const std::size_t slot = at.find(tokens[inserted]);
            if (slot == nowhere) break;
            added += static_cast<std::size_t>(slots[slot] == 0);
            slots[slot] = tokens[inserted];
        }
        size_ += added;
        return inserted;
    }

    /// What insert() does where the table is full, or the token has no place in it.
    [[nodiscard]] bool insert_anew(std::uint32_t token, std::size_t limit) {
        if (contains(token)) return true;
        if (size_ == limit) return false;
        const std::size_t slots = table_.slots.size();
        table_ = laid_out(size_ == capacity(slots) ? larger(slots, limit) : slots,
                          [&](auto put) { return all_of(put) && put(token); });
        ++size_;
        return true;
    }

    [[nodiscard]] static std::size_t capacity(std::size_t slots) noexcept { return slots / 4 * 3; }

    [[nodiscard]] static std::size_t larger(std::size_t slots, std::size_t limit) noexcept {
        return (std::min)(slots == 0 ? std::size_t{16} : slots * 4, limit / 3 * 4);
    }

    /// A table of what `put_all` puts, distinct tokens, by this multiplier or one that leaves none of them nowhere.
    template <class PutAll>
    [[nodiscard]] table laid_out(std::size_t slots, PutAll put_all) const {
        table made{std::vector<std::uint32_t>(slots), table_.multiplier, 32 - std::countr_zero(slots)};
        while (!put_all([at = places(made), free = made.slots.data()](std::uint32_t token) {
            const std::size_t slot = at.find_free(token);
            if (slot != nowhere) free[slot] = token;
            return slot != nowhere;
        })) {
            std::fill(made.slots.begin(), made.slots.end(), 0);
            made.multiplier = (made.multiplier | 1) * 0x9e3779b1;
        }
        return made;
    }

    table table_;
    std::size_t size_ = 0;
};

} // namespace qsketch::inline v0::detail
