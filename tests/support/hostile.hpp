#pragma once

#include "support/generators.hpp"
#include "support/sketch_types.hpp"

#include <qsketch/detail/endian.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/error.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <vector>

namespace support {

using bytes = std::vector<std::byte>;

/// Makes the checksum right, and those of nested images, which start after their 64-bit size.
inline void seal(std::span<std::byte> image) {
    namespace detail = qsketch::detail;
    if (image.size() < detail::image_header_size) return;
    for (std::size_t at = detail::image_header_size + 8; at + detail::image_header_size <= image.size(); ++at) {
        if (std::memcmp(image.data() + at, "QSK", 3) != 0) continue;
        const auto size = detail::load_little_endian<std::uint64_t>(image.data() + at - 8);
        if (size >= detail::image_header_size && size <= image.size() - at) seal(image.subspan(at, size));
    }
    detail::store_little_endian(image.data() + detail::image_checksum_offset, detail::framed_checksum(image));
}

/// Whether `image` is what the sketch writes, in one of its forms.
template <class Sketch>
bool is_image_of(const Sketch& s, std::span<const std::byte> image) {
    const auto same = [&](const std::vector<std::byte>& written) {
        return std::equal(written.begin(), written.end(), image.begin(), image.end());
    };
    if constexpr (requires { s.serialize_compact(); })
        if (same(s.serialize_compact())) return true;
    return same(s.serialize());
}

/// Reads the image, and requires of a sketch that comes out whatever holds for all sketches. Nothing comes out if the
/// image was refused, for which there is only one way.
template <class Sketch>
std::optional<Sketch> read_and_exercise(std::span<const std::byte> image) {
    using traits = sketch_case<Sketch>;
    const auto read = [&]() -> std::optional<Sketch> {
        try {
            return Sketch::deserialize(image);
        } catch (const qsketch::format_error&) {
            return std::nullopt;
        }
    }();
    if (!read) return std::nullopt;

    const Sketch& s = *read;
    require(s == s, "a sketch equals itself");
    require(is_image_of(s, image), "an image that is accepted is the one that would be written");
    require(Sketch::deserialize(s.serialize()) == s, "a sketch survives its own bytes");
    const auto question = [](const Sketch& asked) {
        try {
            traits::require_sane(asked);
        } catch (const qsketch::incompatible_error&) {
            // The parts may be too full to be merged into one answer.
            require(merges_to_answer<Sketch>, "questions do not throw");
        }
    };
    question(s);

    Sketch other = traits::make();
    const bool compatible = other.compatible(s);
    try {
        other.merge(s);
        require(compatible, "merge refuses what is not compatible");
        require(other.empty() == s.empty(), "a merge loses nothing");
        question(other);
    } catch (const qsketch::incompatible_error&) {
        require(!compatible, "merge takes what is compatible");
        require(other == traits::make(), "a failed merge changes nothing");
    }
    Sketch twice = s;
    try {
        twice.merge(s);
        question(twice);
    } catch (const qsketch::incompatible_error&) { // too full to be merged
        require(twice == s, "a failed merge changes nothing");
    }
    try {
        add(twice, skewed_keys(20, 1000, 1));
    } catch (const std::invalid_argument&) { // too full to be added to
    }
    question(twice);
    require(Sketch::deserialize(twice.serialize()) == twice, "a sketch survives its own bytes");
    twice.clear();
    require(twice.empty() && twice.compatible(s), "clear keeps the parameters");
    return read;
}

/// One to four random edits of an image, its checksums put right again.
class mutator {
public:
    explicit mutator(std::uint64_t seed) : random_(seed) {}

    bytes operator()(bytes image, const bytes& other) {
        for (std::uint64_t edits = 1 + random_.below(4); edits > 0; --edits) edit(image, other);
        seal(image);
        return image;
    }

private:
    void edit(bytes& image, const bytes& other) {
        if (image.size() < 16) image.resize(16);
        // Most fields sit in front, most bytes behind them.
        const std::size_t reach = random_.below(2) == 0 ? (std::min)(image.size(), std::size_t{72}) : image.size();
        const std::size_t at = position(reach);
        switch (random_.below(10)) {
        case 0:
            image[at] = std::byte(random_());
            break;
        case 1:
            image[at] ^= std::byte{1} << random_.below(8);
            break;
        case 2:
            put(image, at, static_cast<std::uint32_t>(number(image, at)));
            break;
        case 3:
        case 4:
            put(image, at, number(image, at));
            break;
        case 5:
            image.resize(position(image.size()));
            break;
        case 6:
            image.resize(image.size() + 1 + random_.below(16), std::byte(random_()));
            break;
        case 7: { // repeat a stretch
            const auto from = image.begin() + offset(at);
            const bytes stretch(from, from + offset(length(image.size() - at)));
            image.insert(image.begin() + offset(position(image.size())), stretch.begin(), stretch.end());
            break;
        }
        case 8: // cut out a stretch
            image.erase(image.begin() + offset(at), image.begin() + offset(at + length(image.size() - at)));
            break;
        default: // a stretch of the other image
            for (std::size_t i = at, end = at + length(image.size() - at); i < end && i < other.size(); ++i)
                image[i] = other[i];
        }
    }

    [[nodiscard]] static std::ptrdiff_t offset(std::size_t i) { return static_cast<std::ptrdiff_t>(i); }
    [[nodiscard]] std::size_t position(std::size_t size) { return static_cast<std::size_t>(random_.below(size)); }
    [[nodiscard]] std::size_t length(std::size_t size) {
        return static_cast<std::size_t>(random_.below((std::min)(size, std::size_t{40}) + 1));
    }

    /// A number that has a chance to be on the wrong side of a comparison.
    [[nodiscard]] std::uint64_t number(const bytes& image, std::size_t at) {
        constexpr std::array doubles{0.0,
                                     -0.0,
                                     1.0,
                                     -1.0,
                                     0.5,
                                     5e-324,
                                     1e308,
                                     -1e308,
                                     std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::quiet_NaN()};
        switch (random_.below(6)) {
        case 0:
            return random_();
        case 1:
            return random_.below(70);
        case 2:
            return (std::uint64_t{1} << random_.below(64)) - random_.below(2);
        case 3:
            return std::bit_cast<std::uint64_t>(doubles[position(doubles.size())]);
        case 4:
            return image.size() - random_.below(2);
        default: {
            std::uint64_t old = 0;
            if (at + 8 <= image.size()) old = qsketch::detail::load_little_endian<std::uint64_t>(image.data() + at);
            return old + random_.below(5) - 2;
        }
        }
    }

    template <class T>
    static void put(bytes& image, std::size_t at, T value) {
        std::array<std::byte, sizeof value> raw;
        qsketch::detail::store_little_endian(raw.data(), value);
        for (std::size_t i = 0; i < raw.size() && at + i < image.size(); ++i) image[at + i] = raw[i];
    }

    random_bits random_;
};

} // namespace support
