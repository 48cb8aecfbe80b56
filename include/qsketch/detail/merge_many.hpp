#pragma once

#include <span>

namespace qsketch::inline v0::detail {

/// Merges all of `parts` into `sum`: at once where Sketch can, else one after the other.
template <class Sketch>
void merge_many(Sketch& sum, std::span<const Sketch* const> parts) {
    if constexpr (requires { sum.merge(parts); })
        sum.merge(parts);
    else
        for (const Sketch* part : parts) sum.merge(*part);
}

} // namespace qsketch::inline v0::detail
