#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace qsketch::inline v0 {

/// What every sketch of this library is, and what windows, maps and tests ask of one.
///
/// Laws, run over all sketches by sketch_laws.test.cpp:
/// - merging an empty sketch changes nothing; merging into an empty one copies;
/// - merge commutes and associates: to equal states for count_min, hyperloglog and other exact merges, within the
///   accuracy tables for tdigest;
/// - `clear()` gives a sketch equal to a newly built one of the same parameters;
/// - `deserialize(serialize(s)) == s`, and equal sketches serialize to equal bytes;
/// - `merge` throws incompatible_error where `compatible` is false (and where a count would pass a limit that the
///   sketch states), and then leaves the receiver unchanged;
/// - `deserialize` throws format_error for anything but a valid image.
///
/// Threads: const members may run concurrently; nothing else may. Moved-from sketches may only be assigned or
/// destroyed.
template <class Sketch>
concept mergeable_sketch = std::copyable<Sketch> && std::equality_comparable<Sketch> &&
    requires(Sketch s, const Sketch& other, std::span<const std::byte> image) {
    s.merge(other);
    s.clear();
    { other.empty() }
    noexcept->std::same_as<bool>;
    { other.compatible(other) }
    noexcept->std::same_as<bool>;
    { other.memory_bytes() }
    noexcept->std::same_as<std::size_t>;
    { other.serialize() } -> std::same_as<std::vector<std::byte>>;
    { Sketch::deserialize(image) } -> std::same_as<Sketch>;
};

/// A mergeable sketch of doubles that answers rank and quantile questions.
template <class Sketch>
concept quantile_sketch = mergeable_sketch<Sketch> && requires(Sketch s, const Sketch& c, double x) {
    s.add(x);
    s.add(std::span<const double>{});
    { c.quantile(x) } -> std::same_as<double>;
    { c.cdf(x) } -> std::same_as<double>;
    { c.trimmed_mean(x, x) } -> std::same_as<double>;
    { c.count() }
    noexcept->std::same_as<std::uint64_t>;
};

/// A mergeable sketch that estimates how many distinct keys it was shown.
template <class Sketch>
concept distinct_sketch = mergeable_sketch<Sketch> && requires(Sketch s, const Sketch& c, std::uint64_t h) {
    s.add_hash(h);
    { c.estimate() }
    noexcept->std::same_as<double>;
    { c.lower_bound(2.0) }
    noexcept->std::same_as<double>;
    { c.upper_bound(2.0) }
    noexcept->std::same_as<double>;
};

} // namespace qsketch::inline v0
