#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace support {

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere, unlike the distributions of <random>.
class random_bits {
public:
    explicit random_bits(std::uint64_t seed) : state_(seed) {}

    std::uint64_t operator()() noexcept {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    /// In [0, bound), for bound > 0; the bias is of order bound / 2^64.
    std::uint64_t below(std::uint64_t bound) noexcept { return (*this)() % bound; }

    /// In [from, to].
    std::int64_t between(std::int64_t from, std::int64_t to) noexcept {
        return from + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(to - from) + 1));
    }

    /// In [0, 1).
    double unit() noexcept { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

private:
    std::uint64_t state_;
};

/// Skewed positive values over some three decades, of + - * / only, so that golden bytes may depend on them.
inline std::vector<double> skewed_values(std::size_t count, std::uint64_t seed) {
    random_bits random(seed);
    std::vector<double> values(count);
    for (double& value : values) value = 1.0 / (random.unit() + 1e-3);
    return values;
}

/// Keys below `distinct`, small ones far more often than large ones.
inline std::vector<std::uint64_t> skewed_keys(std::size_t count, std::uint64_t distinct, std::uint64_t seed) {
    random_bits random(seed);
    std::vector<std::uint64_t> keys(count);
    for (auto& key : keys) key = random.below(random.below(distinct) + 1);
    return keys;
}

} // namespace support
