#include "support/catch.hpp"

#include <qsketch/top_k.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using qsketch::format_error;
using qsketch::top_k;
using std::uint64_t;

namespace {

using bytes = std::vector<std::byte>;

/// An image of 16-bit keys with a right checksum, whatever its fields say.
struct forged {
    qsketch::detail::image_options options = {1, 2, 0};
    std::uint32_t n = 3;
    uint64_t total = 10;
    uint64_t error = 0;
    std::vector<std::pair<std::uint16_t, uint64_t>> counters = {{1, 7}, {5, 3}};
    std::uint32_t size = 2;

    operator bytes() const {
        qsketch::detail::image_writer out(qsketch::detail::image_kind::top_k, options, 0);
        out.put(n);
        out.put(total);
        out.put(error);
        out.put(size);
        for (const auto& [key, value] : counters) {
            out.put(key);
            out.put(value);
        }
        return std::move(out).finish();
    }
};

/// One counter of 1, with any bytes for its key.
template <class Put>
bytes with_key(qsketch::detail::image_options options, Put put_key) {
    qsketch::detail::image_writer out(qsketch::detail::image_kind::top_k, options, 0);
    out.put(std::uint32_t{3});
    out.put(uint64_t{1});
    out.put(uint64_t{0});
    out.put(std::uint32_t{1});
    put_key(out);
    out.put(uint64_t{1});
    return std::move(out).finish();
}

bytes with_double(double key) {
    return with_key({3, 8, 0}, [key](auto& out) { out.put(key); });
}

template <class Sketch>
Sketch read_as(const bytes& image) {
    return Sketch::deserialize(image);
}

template <class Sketch = top_k<std::uint16_t>>
void refuses(const bytes& image, const char* reason) {
    INFO(reason);
    CHECK_THROWS_AS(Sketch::deserialize(image), format_error);
    CHECK_THROWS_WITH(Sketch::deserialize(image), Catch::Matchers::Contains(reason));
}

template <class Sketch>
void round_trips(const Sketch& sketch) {
    const auto image = sketch.serialize();
    const auto read = Sketch::deserialize(image);
    CHECK(read == sketch);
    CHECK(read.serialize() == image);
    CHECK(read.items() == sketch.items());
    CHECK(Sketch::deserialize(image, qsketch::hash(5)) == sketch);
}

} // namespace

TEMPLATE_TEST_CASE("images of numbers round-trip", "", std::uint8_t, std::int8_t, std::int16_t, int, unsigned long,
                   long long, double) {
    top_k<TestType> sketch(3);
    round_trips(sketch);
    for (int i = 0; i < 400; ++i) {
        sketch.add(static_cast<TestType>(i * i % 101 - 50), 1 + static_cast<uint64_t>(i) % 3);
        if (i % 50 == 0) round_trips(sketch);
    }
    round_trips(sketch);
    sketch.merge(sketch);
    round_trips(sketch);
    sketch.clear();
    CHECK(sketch.serialize() == top_k<TestType>(3).serialize());
}

TEST_CASE("images of strings round-trip") {
    top_k<> sketch(3);
    for (int i = 0; i < 400; ++i)
        sketch.add(std::string(static_cast<std::size_t>(i % 90), 'x') + std::to_string(i % 3));
    sketch.add("");
    sketch.add(std::string(1u << 20, 'y'), 50);
    CHECK(sketch.error() > 0);
    round_trips(sketch);
}

TEST_CASE("equal states give equal bytes, whatever the order of the keys was") {
    top_k<int> up(4);
    top_k<int> down(4);
    for (int key = -20; key < 20; ++key) {
        up.add(key, 3);
        down.add(-key - 1, 3);
    }
    CHECK(up == down);
    CHECK(up.serialize() == down.serialize());
}

TEST_CASE("a forged image is accepted where every rule holds") {
    const auto read = read_as<top_k<std::uint16_t>>(forged{});
    CHECK(read.lower(1) == 7);
    CHECK(read.upper(5) == 3);
    CHECK(read.serialize() == bytes(forged{}));
    // 10 counted and 2 * 37 dropped make 84.
    CHECK(read_as<top_k<std::uint16_t>>(forged{.total = 84, .error = 2}).upper(9) == 2);
    CHECK(read_as<top_k<std::uint16_t>>(forged{.total = 37, .error = 1, .counters = {}, .size = 0}).items().empty());
    CHECK(read_as<top_k<double>>(with_double(0.0)).lower(0) == 1);
}

TEST_CASE("images of other keys are refused") {
    for (const qsketch::detail::image_options options :
         {qsketch::detail::image_options{2, 2, 0}, {1, 4, 0}, {1, 2, 1}, {3, 8, 0}, {4, 0, 0}, {0, 0, 0}})
        refuses(forged{.options = options}, "keys of another type");
    refuses<top_k<>>(forged{}, "keys of another type");
    refuses<top_k<double>>(top_k<uint64_t>(3).serialize(), "keys of another type");
    refuses<top_k<uint64_t>>(top_k<std::int64_t>(3).serialize(), "keys of another type");
}

TEST_CASE("sizes are checked before anything is allocated") {
    refuses(forged{.n = 0}, "n outside");
    refuses(forged{.n = (1u << 20) + 1}, "n outside");
    refuses(forged{.n = 0xffffffff}, "n outside");
    refuses(forged{.size = 73}, "more counters than its n allows");
    refuses(forged{.n = 1u << 20, .size = (24u << 20) + 1}, "more counters than its n allows");
    refuses(forged{.n = 1u << 20, .size = 24u << 20}, "more counters than it has bytes for");
    refuses(forged{.size = 3}, "more counters than it has bytes for");
    refuses(forged{.size = 1}, "10 bytes too many");
    const auto long_key = [](std::uint32_t size) { return with_key({4, 0, 0}, [size](auto& out) { out.put(size); }); };
    refuses<top_k<>>(long_key((1u << 20) + 1), "key of more than");
    refuses<top_k<>>(long_key(0xffffffff), "key of more than");
    refuses<top_k<>>(long_key(1u << 20), "truncated");
    refuses<top_k<>>(long_key(1), "truncated");
}

TEST_CASE("keys must ascend strictly") {
    refuses(forged{.counters = {{5, 3}, {1, 7}}}, "out of order");
    refuses(forged{.counters = {{5, 3}, {5, 7}}}, "out of order");
    qsketch::detail::image_writer out(qsketch::detail::image_kind::top_k, {2, 1, 0}, 0);
    out.put(std::uint32_t{3});
    out.put(uint64_t{2});
    out.put(uint64_t{0});
    out.put(std::uint32_t{2});
    for (const int key : {1, -1}) {
        out.put(static_cast<std::uint8_t>(key));
        out.put(uint64_t{1});
    }
    refuses<top_k<std::int8_t>>(std::move(out).finish(), "out of order");
}

TEST_CASE("double keys must be numbers in their one form") {
    refuses<top_k<double>>(with_double(std::numeric_limits<double>::quiet_NaN()), "NaN for a key");
    refuses<top_k<double>>(with_double(-0.0), "-0.0 for a key");
}

TEST_CASE("counters must fit the total and the error") {
    refuses(forged{.counters = {{1, 10}, {5, 0}}}, "counter of zero");
    refuses(forged{.total = 9}, "do not fit");
    refuses(forged{.total = 11}, "do not fit");
    refuses(forged{.total = 0}, "do not fit");
    refuses(forged{.counters = {}, .size = 0}, "do not fit");
    refuses(forged{.total = 83, .error = 2}, "do not fit");
    refuses(forged{.total = 9, .error = 1}, "do not fit");
    refuses(forged{.total = 0, .error = 1, .counters = {}, .size = 0}, "do not fit");
    refuses(forged{.total = 1000, .error = ~uint64_t{0}}, "do not fit");
    refuses(forged{.total = 1000, .error = 6'979'849'108'971'181'693}, "do not fit"); // 37 times that is 17 in 64 bits
    refuses(forged{.total = 1000, .counters = {{1, ~uint64_t{0}}, {5, 1001}}}, "do not fit");
}

TEST_CASE("every truncation and every changed bit is a format error") {
    top_k<> sketch(2);
    for (int i = 0; i < 100; ++i) sketch.add(std::to_string(i % 70), 1 + static_cast<uint64_t>(i));
    const auto image = sketch.serialize();
    for (std::size_t size = 0; size < image.size(); ++size)
        REQUIRE_THROWS_AS(top_k<>::deserialize(std::span(image).first(size)), format_error);
    for (std::size_t i = 0; i < image.size(); ++i)
        for (int bit = 0; bit < 8; ++bit) {
            auto damaged = image;
            damaged[i] ^= std::byte{1} << bit;
            REQUIRE_THROWS_AS(top_k<>::deserialize(damaged), format_error);
        }
}
