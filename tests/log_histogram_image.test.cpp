#include "support/catch.hpp"
#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <qsketch/detail/difference_code.hpp>
#include <qsketch/log_histogram.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

using qsketch::format_error;
using qsketch::log_histogram;
using std::uint64_t;
namespace detail = qsketch::detail;

namespace {

using bytes = std::vector<std::byte>;

/// An image with a right checksum, whatever its fields say: -4, 0 twice, 1 and 1.01.
struct forged {
    detail::image_options options = {6, 0, 0};
    std::uint32_t max_buckets = 4096;
    double min = -4;
    double max = 1.01;
    std::uint32_t negative = 1;
    std::uint32_t positive = 2;
    std::vector<uint64_t> counts = {1, 2, 1, 1};

    operator bytes() const {
        detail::image_writer out(detail::image_kind::log_histogram, options, 0);
        out.put(max_buckets);
        out.put(min);
        out.put(max);
        detail::put_varint(out, negative);
        detail::put_varint(out, positive);
        detail::difference_writer writer(out);
        for (const auto n : counts) writer.put(n);
        writer.finish();
        return std::move(out).finish();
    }
};

template <class Sketch = log_histogram<>>
void refuses(const bytes& image, const char* reason) {
    INFO(reason);
    CHECK_THROWS_AS(Sketch::deserialize(image), format_error);
    CHECK_THROWS_WITH(Sketch::deserialize(image), Catch::Matchers::Contains(reason));
}

log_histogram<> of(const std::vector<double>& values, double e = 0.01, std::size_t max_buckets = 4096) {
    log_histogram<> h(e, max_buckets);
    h.add(values);
    return h;
}

void round_trips(const log_histogram<>& h) {
    const auto image = h.serialize();
    const auto read = log_histogram<>::deserialize(image);
    CHECK(read == h);
    CHECK(read.serialize() == image);
    CHECK(read.relative_error() == h.relative_error());
    CHECK(read.buckets() == h.buckets());
}

} // namespace

TEST_CASE("images round-trip, whatever is in them") {
    for (const double e : {0.0005, 0.01, 0.5}) {
        round_trips(of({}, e));
        round_trips(of({0}, e));
        round_trips(of({-1}, e));
        round_trips(of({5e-324, -5e-324}, e, 65536));
        round_trips(of({1.7e308, -1.7e308, 0, 1}, e, 64));
        for (const auto& d : support::distributions) round_trips(of(support::values_of(d, 20'000, 1), e));
        round_trips(of(support::log_uniform(20'000, 1), e));
    }
    log_histogram<> heavy;
    heavy.add(1, log_histogram<>::max_count / 2);
    heavy.add(1.3, 3);
    heavy.add(2, log_histogram<>::max_count / 2 - 3);
    round_trips(heavy);
    heavy.clear();
    CHECK(heavy.serialize() == log_histogram<>().serialize());
    CHECK(heavy.serialize().size() == 16);
}

TEST_CASE("nine decades at one percent take less than two kilobytes") {
    support::random_bits random(1);
    std::vector<double> values(1'000'000);
    for (double& x : values) x = std::pow(10.0, 9 * random.unit());
    const auto h = of(values);
    CHECK(h.relative_error() < 0.01);
    CHECK(h.serialize().size() < 2000);
}

TEST_CASE("histograms of other counters read the same bytes") {
    const auto h = of({-3, 0, 0, 8, 8, 8});
    const auto read = log_histogram<std::uint8_t>::deserialize(h.serialize());
    CHECK(read.count() == 6);
    CHECK(read.serialize() == h.serialize());
    log_histogram<> many;
    many.add(8, 200);
    many.add(9, 56);
    refuses<log_histogram<std::uint8_t>>(many.serialize(), "more values than can be counted");
}

TEST_CASE("differences of any size and order are read as they were written") {
    support::random_bits random(3);
    for (int round = 0; round < 200; ++round) {
        std::vector<uint64_t> counts(1 + random.below(300));
        for (auto& n : counts) n = random() >> (11 + random.below(static_cast<uint64_t>(round % 53) + 1));
        if (round % 7 == 0) counts.front() = uint64_t{1} << 53;
        detail::image_writer out(detail::image_kind::log_histogram, {}, 0);
        detail::difference_writer writer(out);
        for (const auto n : counts) writer.put(n);
        writer.finish();
        const auto image = std::move(out).finish();
        detail::image_reader in(image, detail::image_kind::log_histogram, "test");
        detail::difference_reader reader(in);
        std::vector<uint64_t> read(counts.size());
        for (auto& n : read) n = reader.take();
        reader.expect_end();
        CHECK(read == counts);
    }
}

TEST_CASE("a forged image is accepted where every rule holds") {
    const auto read = log_histogram<>::deserialize(bytes(forged{}));
    CHECK(read == of({-4, 0, 0, 1, 1.01}));
    CHECK(read.serialize() == bytes(forged{}));
}

TEST_CASE("options and parameters outside their ranges are refused") {
    for (const detail::image_options options :
         {detail::image_options{11, 0, 0}, {255, 255, 0}, {6, 14, 0}, {6, 0, 1}, {0, 8, 0}, {6, 255, 0}})
        refuses(forged{.options = options}, "unknown options");
    for (const std::uint32_t n : {0u, 63u, 65537u, 0xffffffffu}) refuses(forged{.max_buckets = n}, "outside 64");
    detail::image_writer empty(detail::image_kind::log_histogram, {6, 1, 0}, 0);
    empty.put(std::uint32_t{64});
    refuses(std::move(empty).finish(), "is empty but has joined buckets");
}

TEST_CASE("bounds must be finite, ordered and agree with the buckets") {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (const double bad : {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()}) {
        refuses(forged{.min = bad}, "not finite, or not in order");
        refuses(forged{.max = bad}, "not finite, or not in order");
    }
    refuses(forged{.min = 2}, "not in order");
    refuses(forged{.min = -0.0}, "negative zero");
    refuses(forged{.max = -0.0}, "negative zero");
    refuses(forged{.min = 0}, "buckets of a sign");
    refuses(forged{.min = 1}, "buckets of a sign");
    refuses(forged{.max = 0}, "buckets of a sign");
    refuses(forged{.negative = 0}, "buckets of a sign");
    refuses(forged{.positive = 0}, "buckets of a sign");
    // Below the smallest double, and below the minimum.
    refuses(forged{.max = 5e-324}, "beyond its minimum and maximum");
    refuses(forged{.min = -5e-324, .negative = 2}, "beyond its minimum and maximum");
    refuses(forged{.min = 1.01, .negative = 0, .counts = {1, 1}}, "beyond its minimum and maximum");
    refuses(forged{.max = -3.99, .negative = 2, .positive = 0, .counts = {1, 1}}, "beyond its minimum and maximum");
    refuses(forged{.min = 0.5, .negative = 0, .counts = {1, 1}}, "do not reach to its minimum");
    refuses(forged{.max = -1, .positive = 0, .counts = {1}}, "do not reach to its minimum");
}

TEST_CASE("sizes are checked before anything is allocated") {
    refuses(forged{.max_buckets = 64, .positive = 64}, "more buckets than it says it may have");
    refuses(forged{.negative = 0xffffffff, .positive = 0xffffffff}, "more buckets than it says it may have");
    refuses(forged{.negative = 2000, .positive = 2000}, "more buckets than it has bits for");
    auto image = bytes(forged{});
    image.push_back(std::byte{0});
    refuses(image, "checksum");
}

TEST_CASE("counts must be those of a histogram") {
    refuses(forged{.counts = {0, 2, 1, 1}}, "empty buckets at an end");
    refuses(forged{.counts = {1, 2, 0, 1}}, "empty buckets at an end");
    refuses(forged{.counts = {1, 2, 1, 0}}, "empty buckets at an end");
    refuses(forged{.counts = {1, 2, 1}}, "is truncated");
    refuses(forged{.counts = {1, 2, 1, 1, 700}}, "too many");
    refuses(forged{.max = 0, .positive = 0, .counts = {1, 0}}, "no zero");
    refuses(forged{.counts = {1, uint64_t{1} << 53, 1, 1}}, "more values than can be counted");
    refuses(forged{.counts = {1, ~uint64_t{0} >> 2, 1, 1}}, "count outside");
    // Down by two from one: nothing can be negative.
    detail::image_writer out(detail::image_kind::log_histogram, {6, 0, 0}, 0);
    out.put(std::uint32_t{64});
    out.put(1.0);
    out.put(1.0);
    out.put(std::uint8_t{0});
    out.put(std::uint8_t{1});
    detail::bit_writer bits(out);
    bits.put_unary(1); // 1: a difference of -1
    bits.put(0, 1);
    bits.finish();
    refuses(std::move(out).finish(), "count outside");
    // Bits set behind the last count.
    detail::image_writer trailing(detail::image_kind::log_histogram, {6, 0, 0}, 0);
    trailing.put(std::uint32_t{64});
    trailing.put(1.0);
    trailing.put(1.0);
    trailing.put(std::uint8_t{0});
    trailing.put(std::uint8_t{1});
    trailing.put(std::uint8_t{0x86}); // 0, 1, 1: up by one; then zeros and a one
    refuses(std::move(trailing).finish(), "bits set after");
}
