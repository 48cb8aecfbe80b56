#include "domain/value_sketch.hpp"

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using qsketch_server::sample_sketch;

namespace {

sample_sketch of(int from, int to) {
    sample_sketch s;
    for (int i = from; i < to; ++i) s.add(static_cast<double>(i % 100));
    return s;
}

/// How many values its image has as they are.
int waiting(const sample_sketch& s) {
    const auto image = s.serialize();
    return std::to_integer<int>(image[12]) + 256 * std::to_integer<int>(image[13]);
}

} // namespace

TEST_CASE("Few values and many give the same answers through the same door") {
    const int limit = static_cast<int>(sample_sketch::max_plain);
    for (const int n : {1, 100, limit, limit + 1, 5000}) {
        const sample_sketch s = of(0, n);
        CHECK(s.count() == static_cast<std::uint64_t>(n));
        CHECK(s.digest().count() == s.count());
        CHECK(s.frequencies().count() == s.count());
        CHECK(s.frequencies().lower(0) == static_cast<std::uint64_t>((n + 99) / 100));
        CHECK(s.digest().max() == (std::min)(n - 1, 99));
    }
}

TEST_CASE("Merging adds up whatever form the parts have, in one pass or one by one") {
    const sample_sketch parts[] = {of(0, 10), of(10, 900), of(900, 905), of(905, 2000), sample_sketch()};
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
        CHECK(s->frequencies().lower(7) == 20);
        CHECK(s->frequencies().error() == 0);
        CHECK(std::abs(s->digest().quantile(0.5) - 49.5) <= 1);
    }

    const std::vector<double> values(500, 7.0); // and without merging the sketches
    one_by_one.add(values);
    const auto digest = sample_sketch::digest_of(others, values);
    CHECK(digest.count() == 2500);
    CHECK(digest.sum() == one_by_one.digest().sum());
    for (const double q : {0.0, 0.05, 0.3, 0.5, 0.9, 1.0})
        CHECK(std::abs(digest.quantile(q) - one_by_one.digest().quantile(q)) <= 1);
    CHECK(sample_sketch::frequencies_of(others, values) == one_by_one.frequencies());
    CHECK(sample_sketch::digest_of({}).empty());
    CHECK(sample_sketch::frequencies_of({}).count() == 0);

    sample_sketch self = of(0, 300);
    self.merge(self);
    CHECK(self.count() == 600);
    CHECK(waiting(self) == 0); // which would be too many
    sample_sketch small = of(0, 3);
    small.merge(small);
    CHECK(small == [] {
        sample_sketch s = of(0, 3);
        const double again[] = {0, 1, 2};
        s.add(again);
        return s;
    }());
}

TEST_CASE("A compact sketch holds the same values in less memory") {
    const int limit = static_cast<int>(sample_sketch::max_plain);
    const int kept = static_cast<int>(sample_sketch::max_plain_compact);
    for (const int n : {100, kept, kept + 1, limit, limit + 1, 5000}) {
        sample_sketch s;
        for (int i = 0; i < n; ++i) s.add(std::sin(i) * 1000);
        const sample_sketch before = s;
        s.compact();
        if (n > limit)
            CHECK(s.memory_bytes() <= before.memory_bytes() * 3 / 4);
        else // or a summary, which a query merges sooner than so many values
            CHECK(s.memory_bytes() <= (n > kept ? 6000 : before.memory_bytes()));
        CHECK(waiting(s) == (n > kept ? 0 : n));
        CHECK(s.count() == before.count());
        CHECK(std::abs(s.totals().sum - before.totals().sum) <= 1e-9 * std::abs(before.totals().sum));
        CHECK(s.frequencies() == before.frequencies());
        for (const double q : {0.01, 0.5, 0.99})
            CHECK(std::abs(s.digest().cdf(before.digest().quantile(q)) - q) < 0.005);
    }
}

TEST_CASE("Just summed up, values that lie closely on one side of the median are off by up to 3 % of rank") {
    double quantile_error = 0;
    double cdf_error = 0;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        support::random_bits random(seed);
        std::vector<double> values;
        for (std::size_t i = 0; i <= sample_sketch::max_plain; ++i)
            values.push_back(random.unit() * (i % 2 == 0 ? 10 : 1000));
        sample_sketch s;
        s.add(values);
        s.compact();
        std::sort(values.begin(), values.end());
        const auto n = static_cast<double>(values.size());
        const auto digest = s.digest();
        for (std::size_t i = 1; i < values.size(); ++i) {
            const double q = static_cast<double>(i) / n;
            const auto at = std::upper_bound(values.begin(), values.end(), digest.quantile(q)) - values.begin();
            quantile_error = (std::max)(quantile_error, std::abs(static_cast<double>(at) / n - q));
            cdf_error = (std::max)(cdf_error, std::abs(digest.cdf(values[i]) - static_cast<double>(i + 1) / n));
        }
    }
    CHECK(quantile_error > 0.005);
    CHECK(quantile_error <= 0.03);
    CHECK(cdf_error <= 0.03);
}

TEST_CASE("Values are counted exactly while there are at most 24 for each that top can name") {
    constexpr int exact = 24 * static_cast<int>(qsketch_server::value_frequencies::top_size);
    CHECK(exact == 384);
    for (const int distinct : {exact, exact + 1}) {
        std::vector<double> values;
        for (int i = 0; i < 3 * distinct; ++i) values.push_back(i % distinct);
        sample_sketch whole;
        whole.add(values);
        sample_sketch single;
        sample_sketch parts[5];
        sample_sketch merged;
        for (std::size_t i = 0; i < values.size(); ++i) {
            single.add(values[i]);
            parts[i % 5].add(values[i]);
        }
        for (const sample_sketch& part : parts) merged.merge(part);
        for (const sample_sketch* s : {&whole, &single, &merged}) {
            CHECK((s->frequencies().error() == 0) == (distinct == exact));
            CHECK(s->frequencies().lower(5) <= 3);
            CHECK(s->frequencies().upper(5) >= 3);
            CHECK(s->frequencies().items().size() <= qsketch_server::value_frequencies::top_size);
        }
    }
}

TEST_CASE("A slot takes at most 20 KB however many different values come, in batches or one by one") {
    constexpr std::size_t limit = sample_sketch::max_plain;
    for (const std::size_t n : {std::size_t{1}, limit / 2, limit, limit + 1, 3 * limit, 10 * limit, 40 * limit}) {
        std::vector<double> values;
        for (std::size_t i = 0; i < n; ++i) values.push_back(0.37 * static_cast<double>(i * 7919 % n));
        sample_sketch batch;
        batch.add(values);
        sample_sketch single;
        for (const double x : values) single.add(x);
        sample_sketch merged;
        merged.merge(batch);
        merged.merge(sample_sketch());
        const std::size_t most = n <= limit ? 80 + 16 * n : 20'000;
        for (const sample_sketch* s : {&batch, &single, &merged}) {
            CHECK(s->memory_bytes() <= most);
            CHECK(s->count() == n);
            CHECK(sample_sketch::deserialize(s->serialize()) == *s);
            CHECK((s->digest().max)() == *std::max_element(values.begin(), values.end()));
            const double middle = s->digest().quantile(0.5) / 0.37 / static_cast<double>(n);
            CHECK((n < limit || std::abs(middle - 0.5) < 0.005));
        }
    }
}

TEST_CASE("Values that wait to be summarized count in everything") {
    sample_sketch s = of(0, 1000);
    const auto before = s.frequencies().lower(7);
    for (int i = 0; i < 20; ++i) {
        CHECK(s.count() == static_cast<std::uint64_t>(1000 + i));
        CHECK(s.digest().count() == s.count());
        CHECK(s.frequencies().lower(7) == before + static_cast<std::uint64_t>(i));
        const auto image = s.serialize();
        const sample_sketch read = sample_sketch::deserialize(image);
        CHECK(read == s);
        CHECK(read.serialize() == image);
        sample_sketch merged;
        merged.merge(s);
        CHECK(merged.frequencies() == s.frequencies());
        CHECK(merged.count() == s.count());
        const sample_sketch shorter = s;
        s.add(7);
        CHECK_FALSE(shorter == s);
    }
    s.clear();
    CHECK(s == sample_sketch());
}

TEST_CASE("Values that a digest has summed up may be any") {
    qsketch::tdigest<> digest(sample_sketch::compression);
    for (int i = 0; i < 1000; ++i) digest.add(std::sin(i));
    for (int i = 0; i < 500; ++i) digest.add(7);
    sample_sketch s = of(0, 1000);
    s.add(digest);
    const auto found = s.frequencies();
    CHECK(found.count() == 2500);
    CHECK(found.lower(7) == 510);
    CHECK(found.error() > 900);
    CHECK(found.error() <= 1000);
    CHECK(found.upper(7) == 510 + found.error());
    CHECK(found.items().front().key == 7);
    CHECK(found.items().front().upper == found.upper(7));
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
    constexpr int limit = static_cast<int>(sample_sketch::max_plain);
    for (const int n : {0, 1, limit, limit + 1, 5000}) {
        const sample_sketch s = of(0, n);
        const auto image = s.serialize();
        CHECK(sample_sketch::deserialize(image) == s);
        for (std::size_t cut = 0; cut < image.size(); cut += 1 + image.size() / 50)
            CHECK_THROWS_AS(sample_sketch::deserialize(std::span(image).first(cut)), qsketch::format_error);
    }
    for (const std::size_t n : {sample_sketch::max_plain, sample_sketch::max_plain + 1}) {
        constexpr auto kind = static_cast<qsketch::detail::image_kind>(qsketch_server::value_frequencies::kind);
        qsketch::detail::image_writer out(kind, {}, 0);
        out.put(static_cast<std::uint16_t>(n));
        for (std::size_t i = 0; i < n; ++i) out.put(1.0);
        const auto image = std::move(out).finish();
        if (n <= sample_sketch::max_plain)
            CHECK(sample_sketch::deserialize(image).count() == n);
        else
            CHECK_THROWS_AS(sample_sketch::deserialize(image), qsketch::format_error);
    }
    sample_sketch cleared = of(0, 5000);
    cleared.clear();
    CHECK(cleared == sample_sketch());
    CHECK(cleared.empty());
}
