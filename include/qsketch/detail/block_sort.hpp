#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

/// Sorting without comparing, for blocks of a few thousand doubles, of integers that are exact as such, or of what has
/// a mean or another place.
namespace qsketch::inline v0::detail {

/// What is sorted by.
[[nodiscard]] inline double place_of(double x) noexcept { return x; }
template <class T>
requires requires(const T& item) { item.mean; }
[[nodiscard]] double place_of(const T& item) noexcept { return item.mean; }

/// The bits of a double as an integer of the same order. No -0.0.
[[nodiscard]] inline std::uint64_t ordered_bits(double x) noexcept {
    const auto bits = std::bit_cast<std::uint64_t>(x + 0.0);
    return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

/// The distance from the smallest value as exponent and leading bits of the mantissa; distances below 2^-31 of the
/// range count as equal. Twenty bits of it tell the values of any ordinary distribution apart, wide or narrow.
class distance_key {
public:
    /// 0x1p-900 < largest - smallest < 0x1p1023.
    distance_key(double smallest, double largest, unsigned bits) noexcept
        : smallest_(smallest),
          lowest_(std::bit_cast<std::uint64_t>(largest - smallest) + 1 - (std::uint64_t{32} << 52)), shift_(57 - bits) {
    }

    [[nodiscard]] std::uint32_t operator()(double x) const noexcept {
        const double distance = x - smallest_;
        const auto nearest = std::bit_cast<double>(lowest_);
        return static_cast<std::uint32_t>(
            (std::bit_cast<std::uint64_t>(distance > nearest ? distance : nearest) - lowest_) >> shift_);
    }

private:
    double smallest_;
    std::uint64_t lowest_; // the bits of the least distance told apart, 32 exponents below the largest
    unsigned shift_;
};

/// The bits above those of the smallest value, whatever the values.
class bits_key {
public:
    bits_key(double smallest, double largest, unsigned bits) noexcept : lowest_(ordered_bits(smallest)) {
        const auto width = static_cast<unsigned>(std::bit_width(ordered_bits(largest) - lowest_));
        shift_ = width > bits ? width - bits : 0;
    }

    [[nodiscard]] std::uint32_t operator()(double x) const noexcept {
        return static_cast<std::uint32_t>((ordered_bits(x) - lowest_) >> shift_);
    }

private:
    std::uint64_t lowest_;
    unsigned shift_;
};

/// Two passes of a counting sort, each over DigitBits of the key. What moves is a word of key and index; the values
/// themselves move once.
template <unsigned DigitBits, class Word, class Key, class T>
void counting_sort(std::span<const T> from, T* to, const Key& key) {
    constexpr std::size_t buckets = std::size_t{1} << DigitBits;
    constexpr unsigned index_bits = sizeof(Word) == 4 ? 12 : 32;
    constexpr Word digit = buckets - 1;
    const std::size_t n = from.size();
    const std::unique_ptr<Word[]> words(new Word[2 * n]);
    Word* const by_index = words.get();
    Word* const by_low_digit = words.get() + n;
    std::array<std::uint32_t, buckets> low{};
    std::array<std::uint32_t, buckets> high{};
    for (std::size_t i = 0; i < n; ++i) {
        const Word k = key(place_of(from[i]));
        by_index[i] = static_cast<Word>(k << index_bits | i);
        ++low[k & digit];
        ++high[static_cast<std::size_t>(k >> DigitBits)];
    }
    const bool one_low_digit = low[(by_index[0] >> index_bits) & digit] == n; // as of small whole numbers
    std::uint32_t low_start = 0;
    std::uint32_t high_start = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
        low_start += std::exchange(low[b], low_start);
        high_start += std::exchange(high[b], high_start);
    }
    if (!one_low_digit)
        for (std::size_t i = 0; i < n; ++i) {
            const Word word = by_index[i];
            by_low_digit[low[(word >> index_bits) & digit]++] = word;
        }
    const Word* const words_in_order = one_low_digit ? by_index : by_low_digit;
    for (std::size_t i = 0; i < n; ++i) {
        const Word word = words_in_order[i];
        to[high[static_cast<std::size_t>(word >> (index_bits + DigitBits))]++] =
            from[word & ((Word{1} << index_bits) - 1)];
    }
}

/// Completes a nearly sorted order; gives up, with all values still there, after as many moves as there are values.
template <class T>
[[nodiscard]] bool insertion_sort(std::span<T> block) noexcept {
    std::size_t budget = block.size();
    double before = place_of(block[0]);
    for (std::size_t i = 1; i < block.size(); ++i) {
        const double x = place_of(block[i]);
        if (!(x < before)) {
            before = x;
            continue;
        }
        const T moved = block[i];
        std::size_t at = i;
        for (; at > 0 && x < place_of(block[at - 1]); --at) block[at] = block[at - 1];
        block[at] = moved;
        if (i - at > budget) return false;
        budget -= i - at;
    }
    return true;
}

template <class T>
void sort_block(std::span<const T> from, T* to, bool crowd = false);

/// By the leading bits of the keys, then by insertion. Where these leave nearly everything to be done, for a spike
/// among values of another size or for values made to have equal keys, values of equal keys are sorted by themselves.
template <unsigned DigitBits, class Word, class Key, class T>
void sort_by(std::span<const T> from, T* to, double smallest, double largest) {
    const Key key(smallest, largest, 2 * DigitBits);
    counting_sort<DigitBits, Word>(from, to, key);
    const std::span<T> block(to, from.size());
    if (insertion_sort(block)) return;
    for (std::size_t start = 0, end = 0; start < block.size(); start = end) {
        do ++end;
        while (end < block.size() && key(place_of(block[end])) == key(place_of(block[start])));
        if (end - start == 1) continue;
        const std::vector<T> equal(block.begin() + static_cast<std::ptrdiff_t>(start),
                                   block.begin() + static_cast<std::ptrdiff_t>(end));
        sort_block(std::span(equal), to + start, true);
    }
}

template <class Key, class T>
void sort_by(std::span<const T> from, T* to, double smallest, double largest) {
    if (from.size() <= 256)
        sort_by<6, std::uint32_t, Key>(from, to, smallest, largest);
    else if (from.size() <= 1536)
        sort_by<8, std::uint32_t, Key>(from, to, smallest, largest);
    else if (from.size() <= 4096)
        sort_by<10, std::uint32_t, Key>(from, to, smallest, largest);
    else
        sort_by<11, std::uint64_t, Key>(from, to, smallest, largest);
}

/// Writes the items of `from`, whose places are no NaN, to `to` in ascending order. O(n) for any input of more than 64
/// items: at most five rounds, each of two counting passes.
template <class T>
void sort_block(std::span<const T> from, T* to, bool crowd) {
    const auto before = [](const T& a, const T& b) { return place_of(a) < place_of(b); };
    const std::size_t n = from.size();
    if (n <= 64) {
        std::copy(from.begin(), from.end(), to);
        std::sort(to, to + n, before);
        return;
    }
    if (std::is_sorted(from.begin(), from.end(), before)) {
        std::copy(from.begin(), from.end(), to);
        return;
    }
    if (std::is_sorted(from.rbegin(), from.rend(), before)) {
        std::copy(from.rbegin(), from.rend(), to);
        return;
    }
    // In four lanes: each minimum waits for the one before.
    const double any = place_of(from[0]);
    std::array<double, 4> least{any, any, any, any};
    std::array<double, 4> most = least;
    const auto include = [&](std::size_t lane, double x) {
        least[lane] = x < least[lane] ? x : least[lane];
        most[lane] = x > most[lane] ? x : most[lane];
    };
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        include(0, place_of(from[i]));
        include(1, place_of(from[i + 1]));
        include(2, place_of(from[i + 2]));
        include(3, place_of(from[i + 3]));
    }
    for (; i < n; ++i) include(0, place_of(from[i]));
    const double smallest = *std::min_element(least.begin(), least.end());
    const double largest = *std::max_element(most.begin(), most.end());
    const double range = largest - smallest;
    if (!crowd && range > 0x1p-900 && range < 0x1p1023)
        sort_by<distance_key>(from, to, smallest, largest);
    else
        sort_by<bits_key>(from, to, smallest, largest);
}

} // namespace qsketch::inline v0::detail
