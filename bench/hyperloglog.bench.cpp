// hyperloglog: time per key (`each`), per merge, per estimate, per image. All inputs are made outside the timing.
// Compare rows of one run only, best as ratios to the reference rows, which come first:
//
//     hyperloglog_bench --benchmark_repetitions=9 --benchmark_report_aggregates_only=true

#include <qsketch/hyperloglog.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using counter = qsketch::hyperloglog<std::uint64_t>;
using strings = qsketch::hyperloglog<std::string_view>;

/// Distinct keys, and few enough of them to stay in the cache where it is the sketch that is measured.
std::vector<std::uint64_t> make_keys(std::size_t n) {
    std::vector<std::uint64_t> keys(n);
    std::iota(keys.begin(), keys.end(), std::uint64_t{1} << 40);
    return keys;
}

std::vector<std::uint64_t> make_hashes(std::size_t n) {
    auto hashes = make_keys(n);
    for (auto& key : hashes) key = qsketch::hash{}(key);
    return hashes;
}

counter filled(unsigned precision, std::uint64_t from, std::uint64_t to) {
    counter sketch(precision);
    for (std::uint64_t key = from; key < to; ++key) sketch.add(key);
    return sketch;
}

/// As 1e8 keys leave it: keys that are new to it hardly ever change anything.
const counter& saturated(unsigned precision) {
    static const std::array<counter, 2> sketches{filled(12, 0, 100'000'000), filled(14, 0, 100'000'000)};
    return sketches[precision == 14];
}

enum class way { one_by_one, batch };

void add(counter& sketch, std::span<const std::uint64_t> keys, way how) {
    if (how == way::batch)
        sketch.add(keys);
    else
        for (const std::uint64_t key : keys) sketch.add(key);
}

void add_hashes(counter& sketch, std::span<const std::uint64_t> hashes, way how) {
    if (how == way::batch)
        sketch.add_hashes(hashes);
    else
        for (const std::uint64_t hash : hashes) sketch.add_hash(hash);
}

void count_items(benchmark::State& state, std::size_t each) {
    const auto items = static_cast<double>(state.iterations()) * static_cast<double>(each);
    state.counters["each"] = benchmark::Counter(items, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// Reference rows.

void hash_of_u64(benchmark::State& state) {
    const auto keys = make_keys(4096);
    for (auto _ : state) {
        std::uint64_t all = 0;
        for (const std::uint64_t key : keys) all ^= qsketch::hash{}(key);
        benchmark::DoNotOptimize(all);
    }
    count_items(state, keys.size());
}

void hash_of_16_bytes(benchmark::State& state) {
    const std::string text(4096 + 16, 'x');
    for (auto _ : state) {
        std::uint64_t all = 0;
        for (std::size_t i = 0; i < 4096; ++i) all ^= qsketch::hash{}(std::string_view(text).substr(i, 16));
        benchmark::DoNotOptimize(all);
    }
    count_items(state, 4096);
}

void maximum_of_bytes(benchmark::State& state) {
    std::vector<std::uint8_t> to(static_cast<std::size_t>(state.range(0)), 3);
    const std::vector<std::uint8_t> from(to.size(), 5);
    for (auto _ : state) {
        std::transform(to.begin(), to.end(), from.begin(), to.begin(),
                       [](std::uint8_t a, std::uint8_t b) { return (std::max)(a, b); });
        benchmark::DoNotOptimize(to.data());
        benchmark::ClobberMemory();
    }
}

// A sketch from empty to n keys; precision and n, of which 100 and 1000 are sparse.

void build(benchmark::State& state, way how) {
    const auto precision = static_cast<unsigned>(state.range(0));
    const auto keys = make_keys(static_cast<std::size_t>(state.range(1)));
    for (auto _ : state) {
        counter sketch(precision);
        add(sketch, keys, how);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, keys.size());
}

void build_from_hashes(benchmark::State& state, way how) {
    const auto precision = static_cast<unsigned>(state.range(0));
    const auto hashes = make_hashes(static_cast<std::size_t>(state.range(1)));
    for (auto _ : state) {
        counter sketch(precision);
        add_hashes(sketch, hashes, how);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, hashes.size());
}

void build_from_strings(benchmark::State& state, way how) {
    const auto precision = static_cast<unsigned>(state.range(0));
    const auto n = static_cast<std::size_t>(state.range(1));
    std::string text;
    for (const std::uint64_t hash : make_hashes(2 * n)) {
        const auto raw = std::as_bytes(std::span(&hash, 1));
        for (const std::byte byte : raw) text.push_back(std::to_integer<char>(byte));
    }
    std::vector<std::string_view> keys;
    for (std::size_t i = 0; i < n; ++i) keys.push_back(std::string_view(text).substr(16 * i, 16));
    for (auto _ : state) {
        strings sketch(precision);
        if (how == way::batch)
            sketch.add(keys);
        else
            for (const std::string_view key : keys) sketch.add(key);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, n);
}

// Many more keys than registers.

void add_to_saturated(benchmark::State& state, way how) {
    counter sketch = saturated(static_cast<unsigned>(state.range(0)));
    const auto keys = make_keys(4096);
    for (auto _ : state) {
        add(sketch, keys, how);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, keys.size());
}

void add_hashes_to_saturated(benchmark::State& state, way how) {
    counter sketch = saturated(static_cast<unsigned>(state.range(0)));
    const auto hashes = make_hashes(4096);
    for (auto _ : state) {
        add_hashes(sketch, hashes, how);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, hashes.size());
}

// Whole sketches; precision and number of keys.

void merge(benchmark::State& state) {
    const auto precision = static_cast<unsigned>(state.range(0));
    const auto n = static_cast<std::uint64_t>(state.range(1));
    counter sketch = filled(precision, 0, n);
    const counter other = filled(precision, n / 2, 3 * n / 2);
    for (auto _ : state) {
        sketch.merge(other);
        benchmark::DoNotOptimize(sketch);
        benchmark::ClobberMemory();
    }
}

void estimate(benchmark::State& state) {
    counter sketch = filled(static_cast<unsigned>(state.range(0)), 0, static_cast<std::uint64_t>(state.range(1)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(sketch);
        benchmark::ClobberMemory();
        benchmark::DoNotOptimize(sketch.estimate());
    }
}

void serialize(benchmark::State& state) {
    const auto sketch = filled(static_cast<unsigned>(state.range(0)), 0, static_cast<std::uint64_t>(state.range(1)));
    for (auto _ : state) benchmark::DoNotOptimize(sketch.serialize());
    state.counters["bytes"] = static_cast<double>(sketch.serialize().size());
}

void deserialize(benchmark::State& state) {
    const auto image =
        filled(static_cast<unsigned>(state.range(0)), 0, static_cast<std::uint64_t>(state.range(1))).serialize();
    for (auto _ : state) benchmark::DoNotOptimize(counter::deserialize(image));
}

void both_precisions(benchmark::internal::Benchmark* row) { row->Arg(12)->Arg(14); }
void few_and_many(benchmark::internal::Benchmark* row) { row->ArgsProduct({{12, 14}, {100, 1'000, 1'000'000}}); }
void as_many_as_fit_the_cache(benchmark::internal::Benchmark* row) { row->ArgsProduct({{12, 14}, {20'000}}); }
void many(benchmark::internal::Benchmark* row) { row->ArgsProduct({{12, 14}, {1'000'000}}); }
void images(benchmark::internal::Benchmark* row) { row->ArgsProduct({{14}, {10, 100, 1'000, 1'000'000}}); }

} // namespace

BENCHMARK(hash_of_u64);
BENCHMARK(hash_of_16_bytes);
BENCHMARK(maximum_of_bytes)->Arg(4096)->Arg(16384);
BENCHMARK_CAPTURE(build, one_by_one, way::one_by_one)->Apply(few_and_many);
BENCHMARK_CAPTURE(build, batch, way::batch)->Apply(few_and_many);
BENCHMARK_CAPTURE(build_from_hashes, one_by_one, way::one_by_one)->Apply(many);
BENCHMARK_CAPTURE(build_from_hashes, batch, way::batch)->Apply(many);
BENCHMARK_CAPTURE(build_from_strings, one_by_one, way::one_by_one)->Apply(as_many_as_fit_the_cache);
BENCHMARK_CAPTURE(build_from_strings, batch, way::batch)->Apply(as_many_as_fit_the_cache);
BENCHMARK_CAPTURE(add_to_saturated, one_by_one, way::one_by_one)->Apply(both_precisions);
BENCHMARK_CAPTURE(add_to_saturated, batch, way::batch)->Apply(both_precisions);
BENCHMARK_CAPTURE(add_hashes_to_saturated, one_by_one, way::one_by_one)->Apply(both_precisions);
BENCHMARK_CAPTURE(add_hashes_to_saturated, batch, way::batch)->Apply(both_precisions);
BENCHMARK(merge)->Apply(many);
BENCHMARK(estimate)->Apply(many);
BENCHMARK(serialize)->Apply(images);
BENCHMARK(deserialize)->Apply(images);
BENCHMARK_MAIN();
