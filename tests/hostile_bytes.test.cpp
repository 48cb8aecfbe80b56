// Bytes from strangers: refused by format_error, or a sketch that keeps all its promises; never undefined behaviour,
// and never more memory than the bytes justify.

#include "support/counted_memory.hpp"
#include "support/hostile.hpp"
#include "support/sketch_types.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

using support::bytes;
using support::filled;
using support::sketch_case;
using support::sketch_types;

namespace {

/// What reading may hold at once, per byte of the image and for objects that have not been filled yet.
constexpr std::size_t memory_per_byte = 16;
constexpr std::size_t memory_for_none = 4096;

template <class Sketch>
void read_within_memory(std::span<const std::byte> image) {
    const std::size_t used = support::memory_of([image] {
        try {
            const auto read = Sketch::deserialize(image);
            static_cast<void>(read);
        } catch (const qsketch::format_error&) {
        }
    });
    if (used > memory_for_none + memory_per_byte * image.size()) {
        CAPTURE(used, image.size());
        FAIL("too much memory for the size of the image");
    }
}

template <class Sketch>
std::vector<bytes> sample_images() {
    std::vector<bytes> images{sketch_case<Sketch>::make().serialize()};
    for (const auto& [count, distinct] : {std::pair{1u, 10u}, {7u, 3u}, {30u, 1000u}, {4000u, 300'000u}})
        images.push_back(filled<Sketch>(count, distinct, count).serialize());
    for (const auto& stranger : sketch_case<Sketch>::strangers()) images.push_back(stranger.serialize());
    return images;
}

template <class Sketch>
void require_refused(std::span<const std::byte> image) {
    read_within_memory<Sketch>(image);
    REQUIRE_THROWS_AS(Sketch::deserialize(image), qsketch::format_error);
}

template <class Sketch>
void read_mutants(std::uint64_t count, std::uint64_t seed) {
    const auto images = sample_images<Sketch>();
    std::vector<std::optional<Sketch>> sketches; // images that need another hash are refused
    for (const auto& image : images) sketches.push_back(support::read_and_exercise<Sketch>(image));
    support::random_bits random(seed);
    support::mutator mutate(seed);
    std::uint64_t accepted = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::size_t origin = random.below(images.size());
        const bytes mutant = mutate(images[origin], images[random.below(images.size())]);
        CAPTURE(seed, i, origin);
        read_within_memory<Sketch>(mutant);
        const auto read = support::read_and_exercise<Sketch>(mutant);
        if (!read) continue;
        ++accepted;
        if (read == sketches[origin]) REQUIRE(mutant == images[origin]);
    }
    CHECK(accepted > count / 1000);
    CHECK(accepted < count / 2);
}

} // namespace

TEMPLATE_LIST_TEST_CASE("an image cut short is refused", "", sketch_types) {
    for (const auto& image : sample_images<TestType>()) {
        for (std::size_t size = 0; size < image.size(); ++size) {
            bytes cut(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size));
            require_refused<TestType>(cut);
            support::seal(cut);
            read_within_memory<TestType>(cut);
            support::read_and_exercise<TestType>(cut);
        }
    }
}

TEMPLATE_LIST_TEST_CASE("an image with one byte changed is refused", "", sketch_types) {
    for (auto image : sample_images<TestType>())
        for (std::size_t i = 0; i < image.size(); ++i)
            for (const unsigned change : {0x01u, 0x80u, 0xffu, 0x10u}) {
                image[i] ^= std::byte(change);
                require_refused<TestType>(image);
                image[i] ^= std::byte(change);
            }
}

TEMPLATE_LIST_TEST_CASE("an image with something behind it is refused", "", sketch_types) {
    for (const auto& image : sample_images<TestType>())
        for (const std::size_t more : {1u, 8u, 16u, 1000u}) {
            bytes longer = image;
            longer.resize(image.size() + more);
            require_refused<TestType>(longer);
            support::seal(longer);
            read_within_memory<TestType>(longer);
            support::read_and_exercise<TestType>(longer);
        }
}

TEMPLATE_LIST_TEST_CASE("noise is refused", "", sketch_types) {
    support::random_bits random(1);
    const auto header = sketch_case<TestType>::make().serialize();
    for (int i = 0; i < 2000; ++i) {
        bytes noise(random.below(300));
        for (auto& byte : noise) byte = std::byte(random());
        require_refused<TestType>(noise);
        std::copy_n(header.begin(), std::min(noise.size(), qsketch::detail::image_header_size), noise.begin());
        support::seal(noise);
        read_within_memory<TestType>(noise);
        support::read_and_exercise<TestType>(noise);
    }
}

TEMPLATE_LIST_TEST_CASE("the image of another sketch is refused", "", sketch_types) {
    // What a hyperloglog counted is not in its image, only how it was hashed.
    const auto refuse = []<class Other>(const Other& other) {
        constexpr bool both_hyperloglog = qsketch::distinct_sketch<Other> && qsketch::distinct_sketch<TestType>;
        if constexpr (!std::same_as<Other, TestType> && !both_hyperloglog) require_refused<TestType>(other.serialize());
    };
    std::apply([&](const auto&... others) { (refuse(others), ...); },
               []<class... Sketches>(std::tuple<Sketches...>*) {
                   return std::tuple<Sketches...>(filled<Sketches>(50, 1000, 1)...);
               }(static_cast<sketch_types*>(nullptr)));
}

TEMPLATE_LIST_TEST_CASE("a forged image is refused or makes a sound sketch", "", sketch_types) {
    read_mutants<TestType>(20'000, 1);
}

TEMPLATE_LIST_TEST_CASE("a million forged images are refused or make sound sketches", "[.long]", sketch_types) {
    for (std::uint64_t seed = 2; seed < 52; ++seed) read_mutants<TestType>(20'000, seed);
}
