#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

namespace qsketch::inline v0::detail {

/// A set of nonzero 32-bit tokens with well mixed low bits: open addressing, linear probing, the low bits are the slot.
/// It grows with its content, allocates nothing while empty, and is never more than three quarters full.
class token_set {
public:
    /// False, and nothing changes, if `token` is new while the set holds `limit` tokens already.
    /// `limit` is 3 * 2^k and the same in every call; the set then never has more than 4 * 2^k slots.
    /// Throws std::bad_alloc, and nothing changes.
    [[nodiscard]] bool insert(std::uint32_t token, std::size_t limit) {
        std::size_t slot = 0;
        if (!slots_.empty()) {
            slot = find(slots_, token);
            if (slots_[slot] == token) return true;
        }
        if (size_ == limit) return false;
        if (size_ == slots_.size() / 4 * 3) {
            grow(limit / 3 * 4);
            slot = find(slots_, token);
        }
        slots_[slot] = token;
        ++size_;
        return true;
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t memory_bytes() const noexcept { return slots_.capacity() * sizeof(std::uint32_t); }

    /// Calls `visit` with each token, in an order that depends on the history; ends early when it returns false.
    ///
    /// The order hops through the slots: walked in slot order, one full table poured into another of its size would
    /// overfill the front of it and make each insertion probe across that whole stretch.
    template <class Visit>
    bool all_of(Visit visit) const {
        constexpr std::size_t hop = 0x9e3779b1; // odd, so that every slot has its turn; 2^32 / golden ratio, so spread
        const std::size_t mask = slots_.size() - 1;
        for (std::size_t i = 0; i < slots_.size(); ++i)
            if (const auto token = slots_[(i * hop) & mask]; token != 0 && !visit(token)) return false;
        return true;
    }

    [[nodiscard]] std::vector<std::uint32_t> sorted() const {
        std::vector<std::uint32_t> tokens;
        tokens.reserve(size_);
        std::copy_if(slots_.begin(), slots_.end(), std::back_inserter(tokens), [](auto token) { return token != 0; });
        std::sort(tokens.begin(), tokens.end());
        return tokens;
    }

    friend bool operator==(const token_set& a, const token_set& b) noexcept {
        return a.size_ == b.size_ &&
               a.all_of([&b](std::uint32_t token) { return b.slots_[find(b.slots_, token)] == token; });
    }

private:
    using table = std::vector<std::uint32_t>;

    /// Where `token` is, or the free slot where it belongs; there is one, as the table is never full.
    [[nodiscard]] static std::size_t find(const table& slots, std::uint32_t token) noexcept {
        const std::size_t mask = slots.size() - 1;
        std::size_t slot = token & mask;
        while (slots[slot] != 0 && slots[slot] != token) slot = (slot + 1) & mask;
        return slot;
    }

    void grow(std::size_t most) {
        table larger((std::min)(slots_.empty() ? std::size_t{16} : slots_.size() * 4, most));
        for (const std::uint32_t token : slots_)
            if (token != 0) larger[find(larger, token)] = token;
        slots_.swap(larger);
    }

    table slots_;
    std::size_t size_ = 0;
};

} // namespace qsketch::inline v0::detail
