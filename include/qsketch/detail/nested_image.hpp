#pragma once

#include <qsketch/detail/image.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace qsketch::inline v0::detail {

/// The image of a sketch inside another image: its size in 64 bits, then the whole of it.
template <class Sketch>
void put_nested(image_writer& out, const Sketch& sketch) {
    const auto image = sketch.serialize();
    out.put(static_cast<std::uint64_t>(image.size()));
    out.put(std::span<const std::byte>(image));
}

template <class Sketch>
[[nodiscard]] Sketch take_nested(image_reader& in) {
    const auto size = in.take<std::uint64_t>();
    in.require(size <= in.remaining(), "is truncated inside a nested sketch");
    return Sketch::deserialize(in.take_bytes(static_cast<std::size_t>(size)));
}

/// The same, of a sketch that must hold something and have the parameters of `prototype`.
template <class Sketch>
[[nodiscard]] Sketch take_filled(image_reader& in, const Sketch& prototype) {
    Sketch sketch = take_nested<Sketch>(in);
    in.require(!sketch.empty(), "has a sketch without events");
    Sketch cleared = sketch;
    cleared.clear();
    in.require(cleared == prototype, "has a sketch of other parameters than its prototype");
    return sketch;
}

} // namespace qsketch::inline v0::detail
