#pragma once

#include <qsketch/detail/joint_likelihood.hpp>
#include <qsketch/error.hpp>
#include <qsketch/hyperloglog.hpp>

#include <algorithm>
#include <cmath>

namespace qsketch::inline v0 {

/// How many distinct keys two sketches saw, each alone and both.
struct overlap_estimate {
    double first_only;
    double second_only;
    double both;
    /// Two estimates of `both` in three are closer to the truth than this. 0 if the sketches and their union are
    /// sparse.
    double both_standard_error;

    /// The share of the keys of either that are keys of both; 0 if there are none.
    [[nodiscard]] double jaccard() const noexcept {
        const double all = first_only + second_only + both;
        return all > 0 ? both / all : 0;
    }
};

/// By the registers of both, which tell more than the number of the union does. While the union is sparse it is exact,
/// but for tokens that meet; an ultraloglog is converted to a hyperloglog first.
/// Complexity: O(2^precision) and some 10^5 operations.
/// Throws incompatible_error unless the sketches are compatible(), or std::bad_alloc.
/// Error: both_standard_error. At precision 12 and 100 000 keys each: 0.3 % of the keys of either where none is shared,
/// 0.65 % where a tenth of each is, which is less than 0.6 of the error of |A| + |B| - |A or B|; no better than that
/// where nearly all are.
/// Test: overlap.test.cpp. Source: Ertl 2017 (arXiv 1702.01284), joint estimation.
template <class Key, class Hash>
[[nodiscard]] overlap_estimate overlap(const hyperloglog<Key, Hash>& first, const hyperloglog<Key, Hash>& second) {
    auto either = first;
    either.merge(second);
    const double all = either.estimate();
    const double first_keys = (std::min)(all, first.estimate());
    const double second_keys = (std::min)(all, second.estimate());
    const double shared = (std::max)(0.0, first_keys + second_keys - all);
    if (either.is_sparse()) return {all - second_keys, all - first_keys, shared, 0};

    const detail::joint_likelihood likelihood(first.registers(), second.registers(), first.precision());
    constexpr double least = 1e-2; // keys: none, for all that registers can tell
    const auto keys = likelihood.most_likely({all - second_keys, all - first_keys, shared}, least);
    auto information = likelihood.curvature(keys);
    for (auto& row : information)
        for (double& value : row) value = -value;
    const double variance = detail::joint_likelihood::inverse(information)[2][2];
    const auto number = [](double n) { return n > least ? n : 0; };
    return {number(keys[0]), number(keys[1]), number(keys[2]), variance > 0 ? std::sqrt(variance) : 0};
}

} // namespace qsketch::inline v0
