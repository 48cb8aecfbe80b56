#include "domain/sample_sketch.hpp"

#include "support/catch.hpp"

#include <cmath>
#include <limits>
#include <vector>

using qsketch_server::sample_sketch;

namespace {

sample_sketch of(int from, int to) {
    sample_sketch s;
    for (int i = from; i < to; ++i) s.add(static_cast<double>(i % 100));
    return s;
}

} // namespace

TEST_CASE("Few values and many give the same answers through the same door") {
    const int limit = static_cast<int>(sample_sketch::max_plain);
    for (const int n : {1, 100, limit, limit + 1, 5000}) {
        const sample_sketch s = of(0, n);
        CHECK(s.count() == static_cast<std::uint64_t>(n));
        CHECK(s.digest().count() == s.count());
        CHECK(s.top().total() == s.count());
        CHECK(s.top().lower(0) == static_cast<std::uint64_t>((n + 99) / 100));
        CHECK(s.digest().max() == (std::min)(n - 1, 99));
    }
}

TEST_CASE("Merging adds up whatever form the parts have, in one pass or one by one") {
    const sample_sketch parts[] = {of(0, 10), of(10, 600), of(600, 605), of(605, 2000), sample_sketch()};
    std::vector<const sample_sketch*> others;
    sample_sketch one_by_one;
    for (const sample_sketch& p : parts) {
        others.push_back(&p);
        one_by_one.merge(p);
    }
    sample_sketch together;
    together.merge(others);
    for (const sample_sketch* s : {&one_by_one, &together}) {
        CHECK(s->count() == 2000);
        CHECK(s->top().lower(7) == 20);
        CHECK(s->top().error() == 0);
        CHECK(std::abs(s->digest().quantile(0.5) - 49.5) <= 1);
    }
    sample_sketch self = of(0, 300);
    self.merge(self);
    CHECK(self.count() == 600);
    sample_sketch small = of(0, 3);
    small.merge(small);
    CHECK(small == [] {
        sample_sketch s = of(0, 3);
        const double again[] = {0, 1, 2};
        s.add(again);
        return s;
    }());
}

TEST_CASE("A batch with a value that is not finite is refused whole") {
    sample_sketch s = of(0, 5);
    const sample_sketch before = s;
    const std::vector<double> bad = {1, std::numeric_limits<double>::quiet_NaN(), 2};
    CHECK_THROWS_AS(s.add(bad), std::invalid_argument);
    CHECK_THROWS_AS(s.add(std::numeric_limits<double>::infinity()), std::invalid_argument);
    CHECK(s == before);
}

TEST_CASE("What is serialized reads back, and damage is seen") {
    for (const int n : {0, 1, 256, 257, 5000}) {
        const sample_sketch s = of(0, n);
        const auto image = s.serialize();
        CHECK(sample_sketch::deserialize(image) == s);
        for (std::size_t cut = 0; cut < image.size(); cut += 1 + image.size() / 50)
            CHECK_THROWS_AS(sample_sketch::deserialize(std::span(image).first(cut)), qsketch::format_error);
    }
    sample_sketch cleared = of(0, 5000);
    cleared.clear();
    CHECK(cleared == sample_sketch());
    CHECK(cleared.empty());
}
