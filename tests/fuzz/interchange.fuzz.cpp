// The first byte picks a reader of include/qsketch/interchange, the others are its bytes.

#include "support/hostile.hpp"
#include "support/sketch_types.hpp"

#include <qsketch/interchange/datasketches_hll.hpp>
#include <qsketch/interchange/datasketches_tdigest.hpp>
#include <qsketch/interchange/redis.hpp>
#include <qsketch/interchange/tdunning.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace {

using support::bytes;
using support::require;
using digest = qsketch::tdigest<>;

/// Nothing if the image was refused, for which there is only one way.
template <class Read>
auto read_or_refuse(std::span<const std::byte> image, const Read& read) -> std::optional<decltype(read(image))> {
    try {
        return read(image);
    } catch (const qsketch::format_error&) {
        return std::nullopt;
    }
}

/// As soon as it is read, it is a sketch like any other, and writes what can be read again.
template <class Read>
void exercise_digest(std::span<const std::byte> image, const Read& read) {
    const auto first = read_or_refuse(image, read);
    if (!first) return;
    const digest& s = *first;
    require(support::read_and_exercise<digest>(s.serialize()).has_value(), "a digest that was read has an image");
    const digest back = qsketch::datasketches::deserialize_tdigest(qsketch::datasketches::serialize(s));
    require(back.count() == s.count(), "what is written has the same count");
    require(s.empty() || (back.min() == s.min() && back.max() == s.max()), "what is written has the same extremes");
}

template <class Read, class Write>
void exercise_registers(std::span<const std::byte> image, const Read& read, const Write& write) {
    const auto first = read_or_refuse(image, read);
    if (!first) return;
    auto s = *first;
    const auto registers = s.registers();
    require(std::isfinite(s.estimate()) && s.estimate() >= 0, "estimates are finite");
    require((s.estimate() == 0) == s.empty(), "only an empty sketch counts nothing");
    require(s.lower_bound(2) <= s.estimate() && s.estimate() <= s.upper_bound(2), "bounds are around the estimate");
    require(read(write(s)).registers() == registers, "what is written has the same registers");
    require(s.deserialize(s.serialize()) == s, "a sketch survives its own bytes");
    s.merge(*first);
    require(s.registers() == registers, "a merge with itself changes nothing");
    s.add("key");
    require(!s.empty(), "a sketch that was read goes on");
}

void exercise(unsigned reader, std::span<const std::byte> image) {
    switch (reader) {
    case 0:
        return exercise_registers(
            image, [](std::span<const std::byte> from) { return qsketch::redis::deserialize(from); },
            [](const qsketch::redis::hyperloglog& s) { return qsketch::redis::serialize(s); });
    case 1:
        return exercise_registers(
            image, [](std::span<const std::byte> from) { return qsketch::datasketches::deserialize_hyperloglog(from); },
            [](const qsketch::datasketches::hyperloglog<>& s) { return qsketch::datasketches::serialize(s); });
    case 2:
        return exercise_digest(
            image, [](std::span<const std::byte> from) { return qsketch::datasketches::deserialize_tdigest(from); });
    case 3:
        return exercise_digest(image, [](std::span<const std::byte> from) {
            return qsketch::datasketches::deserialize_tdigest<float>(from);
        });
    default:
        return exercise_digest(image,
                               [](std::span<const std::byte> from) { return qsketch::tdunning::deserialize(from); });
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    bytes image(size - 1);
    if (!image.empty()) std::memcpy(image.data(), data + 1, image.size());
    exercise(data[0] % 5, image);
    return 0;
}
