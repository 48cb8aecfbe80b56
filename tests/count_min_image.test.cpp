#include "support/catch.hpp"

#include <qsketch/count_min.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

using qsketch::conservative;
using qsketch::count_min;
using qsketch::format_error;
using qsketch::plain;
using std::uint64_t;

namespace {

using bytes = std::vector<std::byte>;
using plain_sketch = count_min<uint64_t, plain, std::uint8_t>;
using tight_sketch = count_min<uint64_t, conservative, std::uint8_t>;

/// An image with a right checksum, whatever its fields say.
struct forged {
    qsketch::detail::image_options options = {0, 1, 0};
    std::uint32_t hash_id = qsketch::hash().id();
    std::uint32_t width = 2;
    std::uint32_t depth = 2;
    uint64_t total = 3;
    std::vector<std::uint8_t> cells = {1, 2, 3, 0};

    operator bytes() const {
        qsketch::detail::image_writer out(qsketch::detail::image_kind::count_min, options, 0);
        out.put(hash_id);
        out.put(width);
        out.put(depth);
        out.put(total);
        for (const auto cell : cells) out.put(cell);
        return std::move(out).finish();
    }
};

template <class Sketch>
Sketch read_as(const bytes& image) {
    return Sketch::deserialize(image);
}

template <class Sketch = plain_sketch>
void refuses(const bytes& image, const char* reason) {
    INFO(reason);
    CHECK_THROWS_AS(Sketch::deserialize(image), format_error);
    CHECK_THROWS_WITH(Sketch::deserialize(image), Catch::Matchers::Contains(reason));
}

} // namespace

TEMPLATE_TEST_CASE("images round-trip, and equal sketches have equal images", "", plain_sketch, tight_sketch,
                   (count_min<uint64_t, plain>), (count_min<uint64_t, conservative, uint64_t>),
                   (count_min<uint64_t, plain, std::uint16_t>)) {
    TestType sketch({.width = 19, .depth = 5});
    CHECK(TestType::deserialize(sketch.serialize()) == sketch);
    for (uint64_t key = 0; key < 2000; ++key) sketch.add(key % 97, key);
    const auto image = sketch.serialize();
    const auto read = TestType::deserialize(image);
    CHECK(read == sketch);
    CHECK(read.serialize() == image);
    CHECK(image.size() == 12 + 20 + 95 * sizeof(typename TestType::counter_type));
    auto merged = sketch;
    merged.merge(read);
    CHECK(TestType::deserialize(merged.serialize()) == merged);
    sketch.clear();
    CHECK(sketch.serialize() == TestType({.width = 19, .depth = 5}).serialize());
}

TEST_CASE("an image is read with the hash it was written with") {
    const plain_sketch::hash_type other(99);
    plain_sketch sketch({.width = 8, .depth = 2}, other);
    sketch.add(1);
    refuses(sketch.serialize(), "another hash");
    CHECK(plain_sketch::deserialize(sketch.serialize(), other) == sketch);
}

TEST_CASE("a forged image is accepted where every rule holds") {
    const auto read = read_as<plain_sketch>(forged{});
    CHECK(read.total() == 3);
    CHECK(read.width() == 2);
    CHECK(bytes(forged{}) == read.serialize());
    CHECK(read_as<plain_sketch>(forged{.total = 300, .cells = {255, 1, 255, 45}}).total() == 300);
    CHECK(read_as<tight_sketch>(forged{.options = {1, 1, 0}, .cells = {1, 1, 1, 0}}).total() == 3);
}

TEST_CASE("options that belong to another type are refused") {
    refuses(forged{.options = {1, 1, 0}}, "another policy");
    refuses(forged{.options = {2, 1, 0}}, "another policy");
    refuses(forged{.options = {0, 4, 0}}, "another policy");
    refuses(forged{.options = {0, 1, 1}}, "another policy");
    refuses<tight_sketch>(forged{}, "another policy");
    refuses(forged{.hash_id = 1}, "another hash");
}

TEST_CASE("dimensions are checked in 64 bits and against the bytes before anything is allocated") {
    refuses(forged{.width = 0}, "impossible dimensions");
    refuses(forged{.depth = 0}, "impossible dimensions");
    refuses(forged{.depth = 65}, "impossible dimensions");
    refuses(forged{.width = 0x80000001, .depth = 1}, "impossible dimensions");
    refuses(forged{.width = 0x80000000, .depth = 64}, "impossible dimensions");
    // 2^30 * 4 is 0 in 32 bits: no counters would be needed.
    refuses(forged{.width = 1u << 30, .depth = 4, .total = 0, .cells = {}}, "truncated");
    refuses(forged{.width = 1u << 30, .depth = 64, .total = 0, .cells = {}}, "truncated");
    refuses(forged{.width = 3}, "truncated");
    refuses(forged{.width = 1}, "2 bytes too many");
}

TEST_CASE("counters that cannot add up to the total are refused") {
    refuses(forged{.cells = {1, 1, 3, 0}}, "do not fit");
    refuses(forged{.cells = {1, 2, 3, 1}}, "do not fit");
    refuses(forged{.cells = {0, 0, 3, 0}}, "do not fit");
    refuses(forged{.total = 0}, "do not fit");
    refuses(forged{.total = 0, .cells = {0, 0, 0, 1}}, "do not fit");
    refuses(forged{.cells = {0, 0, 0, 0}}, "do not fit");
    refuses(forged{.total = 256, .cells = {255, 2, 255, 1}}, "do not fit");
    const qsketch::detail::image_options tight = {1, 1, 0};
    refuses<tight_sketch>(forged{.options = tight, .cells = {2, 2, 1, 1}}, "do not fit");
    refuses<tight_sketch>(forged{.options = tight, .cells = {3, 0, 0, 0}}, "do not fit");
    refuses<tight_sketch>(forged{.options = tight, .cells = {1, 0, 1, 0}}, "do not fit");
    refuses<tight_sketch>(forged{.options = tight, .total = 0, .cells = {0, 0, 0, 1}}, "do not fit");
}

TEST_CASE("every truncation and every changed byte is a format error") {
    plain_sketch sketch({.width = 5, .depth = 3});
    for (uint64_t key = 0; key < 30; ++key) sketch.add(key);
    const auto image = sketch.serialize();
    for (std::size_t size = 0; size < image.size(); ++size)
        REQUIRE_THROWS_AS(plain_sketch::deserialize(std::span(image).first(size)), format_error);
    for (std::size_t i = 0; i < image.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            auto damaged = image;
            damaged[i] ^= std::byte{1} << bit;
            REQUIRE_THROWS_AS(plain_sketch::deserialize(damaged), format_error);
        }
    auto longer = image;
    longer.push_back(std::byte{0});
    CHECK_THROWS_AS(plain_sketch::deserialize(longer), format_error);
}
