#include "support/catch.hpp"
#include "support/generators.hpp"

#include <qsketch/top_k.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

using qsketch::top_k;
using std::uint64_t;

namespace {

/// The definition of the sketch, without any haste.
class definition {
public:
    explicit definition(std::size_t capacity) : capacity_(capacity) {}

    void add(uint64_t key, uint64_t weight) {
        if (weight == 0) return;
        counters_[key] += weight;
        total_ += weight;
        if (counters_.size() <= capacity_) return;
        std::vector<uint64_t> values;
        for (const auto& entry : counters_) values.push_back(entry.second);
        std::sort(values.begin(), values.end(), std::greater<>());
        const uint64_t taken = values[capacity_ / 2];
        error_ += taken;
        std::map<uint64_t, uint64_t> left;
        for (const auto& [key_left, value] : counters_)
            if (value > taken) left[key_left] = value - taken;
        counters_ = left;
    }

    template <class Sketch>
    [[nodiscard]] bool describes(const Sketch& sketch, uint64_t distinct) const {
        bool same = sketch.total() == total_ && sketch.error() == error_;
        for (uint64_t key = 0; key < distinct; ++key) {
            const auto found = counters_.find(key);
            same = same && sketch.lower(key) == (found == counters_.end() ? 0 : found->second);
        }
        return same;
    }

private:
    std::size_t capacity_;
    std::map<uint64_t, uint64_t> counters_;
    uint64_t error_ = 0;
    uint64_t total_ = 0;
};

/// Every search passes every key.
struct one_hash {
    uint64_t operator()(uint64_t) const noexcept { return ~uint64_t{0}; }
    std::uint32_t id() const noexcept { return 1; }
    bool operator==(const one_hash&) const = default;
};

template <class Sketch, class Keys>
void check_batch(std::uint32_t n, const Keys& keys) {
    Sketch batch(n);
    Sketch single(n);
    batch.add(keys);
    for (const auto& key : keys) single.add(key);
    CHECK(batch == single);
    CHECK(batch.serialize() == single.serialize());
    CHECK(batch.items() == single.items());
}

std::vector<uint64_t> zipf(double exponent, std::size_t distinct, std::size_t count, uint64_t seed) {
    std::vector<double> up_to(distinct);
    double sum = 0;
    for (std::size_t key = 0; key < distinct; ++key)
        up_to[key] = sum += std::pow(static_cast<double>(key + 1), -exponent);
    support::random_bits random(seed);
    std::vector<uint64_t> stream(count);
    for (auto& key : stream)
        key = static_cast<uint64_t>(std::lower_bound(up_to.begin(), up_to.end(), random.unit() * sum) - up_to.begin());
    return stream;
}

} // namespace

TEMPLATE_TEST_CASE("single adds and batches follow the definition, whatever the hash", "", top_k<uint64_t>,
                   (top_k<uint64_t, one_hash>)) {
    support::random_bits random(3);
    for (const std::uint32_t n : {1u, 3u, 5u, 20u}) {
        TestType sketch(n);
        definition truth(sketch.capacity());
        // Now one key at a time, now many, which may run into a drop at any place of a batch.
        for (const std::size_t size : {0u, 1u, 63u, 64u, 65u, 128u, 1u, 500u, 64u, 3000u, 200u}) {
            const auto keys = support::skewed_keys(size, 1000, random());
            sketch.add(keys);
            for (const uint64_t key : keys) truth.add(key, 1);
            const uint64_t key = random.below(1000);
            const uint64_t weight = random.below(30);
            sketch.add(key, weight);
            truth.add(key, weight);
            CAPTURE(n, size);
            REQUIRE(truth.describes(sketch, 1000));
        }
        REQUIRE(sketch.error() > 1);
    }
}

TEST_CASE("weights of any size follow the definition") {
    support::random_bits random(4);
    for (const uint64_t spread : {1u, 2u, 3u, 10u, 1000u}) {
        top_k<uint64_t> sketch(2);
        definition truth(sketch.capacity());
        for (int i = 0; i < 3000; ++i) {
            const uint64_t key = random.below(random.below(500) + 1);
            const uint64_t weight = random.below(spread) + 1;
            sketch.add(key, weight);
            truth.add(key, weight);
        }
        CAPTURE(spread);
        CHECK(truth.describes(sketch, 500));
        CHECK(sketch.error() > 0);
    }
}

TEST_CASE("a batch of keys of any type leaves the state of single adds") {
    const auto keys = support::skewed_keys(5000, 2000, 9);
    std::vector<double> doubles;
    std::vector<signed char> bytes;
    std::vector<std::string> words;
    for (const uint64_t key : keys) {
        doubles.push_back((key % 2 == 0 ? -0.5 : 0.5) * static_cast<double>(key));
        bytes.push_back(static_cast<signed char>(static_cast<int>(key % 256) - 128));
        words.push_back(std::string(key % 40, 'x') + std::to_string(key));
    }
    doubles.insert(doubles.end(), {0.0, -0.0, std::numeric_limits<double>::infinity()});
    for (const std::uint32_t n : {1u, 4u, 10u, 100u}) {
        check_batch<top_k<uint64_t>>(n, keys);
        check_batch<top_k<double>>(n, doubles);
        check_batch<top_k<signed char>>(n, bytes);
        check_batch<top_k<>>(n, std::vector<std::string_view>(words.begin(), words.end()));
    }
    // Zeros of both signs in the middle of full batches.
    check_batch<top_k<double>>(10, std::vector<double>(200, -0.0));
    top_k<double> zeros(10);
    zeros.add(0.0);
    zeros.add(std::vector<double>(200, -0.0));
    CHECK(zeros.lower(0.0) == 201);
    CHECK_FALSE(std::signbit(zeros.items()[0].key));
}

TEST_CASE("a batch that carries the total to its maximum stops there") {
    const uint64_t most = (std::numeric_limits<uint64_t>::max)();
    for (const uint64_t room : {0u, 1u, 63u, 64u, 65u}) {
        top_k<uint64_t> sketch(10);
        sketch.add(1, most - room);
        sketch.add(std::vector<uint64_t>(64, 1));
        CHECK(sketch.total() == (room < 64 ? most : most - room + 64));
        CHECK(sketch.lower(1) == sketch.total());
    }
}

TEST_CASE("all of the hundred most frequent keys of Zipf streams are named") {
    for (const double exponent : {0.9, 1.1}) {
        const auto stream = zipf(exponent, 1'200'000, 3'000'000, 1);
        std::vector<uint64_t> truth(1'200'000);
        for (const uint64_t key : stream) ++truth[key];
        top_k<uint64_t> sketch(100);
        sketch.add(stream);
        auto sorted = truth;
        std::nth_element(sorted.begin(), sorted.begin() + 99, sorted.end(), std::greater<>());
        const auto items = sketch.items();
        REQUIRE(items.size() == 100);
        CAPTURE(exponent, sketch.error());
        for (const auto& item : items) {
            CHECK(truth[item.key] >= sorted[99]);
            CHECK((item.lower <= truth[item.key] && truth[item.key] <= item.upper));
        }
    }
}
