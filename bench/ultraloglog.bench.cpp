// ultraloglog beside hyperloglog: time per key (`each`), per merge, per estimate, per compact image. Compare rows of
// one run only:
//
//     ultraloglog_bench --benchmark_repetitions=9 --benchmark_report_aggregates_only=true

#include <qsketch/hyperloglog.hpp>
#include <qsketch/overlap.hpp>
#include <qsketch/ultraloglog.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace {

using hll = qsketch::hyperloglog<std::uint64_t>;
using ull = qsketch::ultraloglog<std::uint64_t>;

std::vector<std::uint64_t> make_keys(std::size_t n, std::uint64_t first) {
    std::vector<std::uint64_t> keys(n);
    std::iota(keys.begin(), keys.end(), first);
    return keys;
}

template <class Counter>
Counter filled(benchmark::State& state, std::uint64_t first = 0) {
    Counter sketch(static_cast<unsigned>(state.range(0)));
    sketch.add(make_keys(static_cast<std::size_t>(state.range(1)), first));
    return sketch;
}

void count_items(benchmark::State& state, std::size_t each) {
    const auto items = static_cast<double>(state.iterations()) * static_cast<double>(each);
    state.counters["each"] = benchmark::Counter(items, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

template <class Counter>
void add_batch(benchmark::State& state) {
    const auto keys = make_keys(static_cast<std::size_t>(state.range(1)), 0);
    for (auto _ : state) {
        Counter sketch(static_cast<unsigned>(state.range(0)));
        sketch.add(keys);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, keys.size());
}

template <class Counter>
void add_one_by_one(benchmark::State& state) {
    const auto keys = make_keys(static_cast<std::size_t>(state.range(1)), 0);
    for (auto _ : state) {
        Counter sketch(static_cast<unsigned>(state.range(0)));
        for (const auto key : keys) sketch.add(key);
        benchmark::DoNotOptimize(sketch);
    }
    count_items(state, keys.size());
}

template <class Counter>
void merge(benchmark::State& state) {
    auto sketch = filled<Counter>(state);
    const auto other = filled<Counter>(state, static_cast<std::uint64_t>(state.range(1)) / 2);
    for (auto _ : state) {
        sketch.merge(other);
        benchmark::DoNotOptimize(sketch);
        benchmark::ClobberMemory();
    }
}

template <class Counter>
void estimate(benchmark::State& state) {
    auto sketch = filled<Counter>(state);
    for (auto _ : state) {
        benchmark::DoNotOptimize(sketch);
        benchmark::ClobberMemory();
        benchmark::DoNotOptimize(sketch.estimate());
    }
}

template <class Counter>
void serialize_compact(benchmark::State& state) {
    const auto sketch = filled<Counter>(state);
    for (auto _ : state) benchmark::DoNotOptimize(sketch.serialize_compact());
    state.counters["bytes"] = static_cast<double>(sketch.serialize_compact().size());
}

template <class Counter>
void deserialize_compact(benchmark::State& state) {
    const auto image = filled<Counter>(state).serialize_compact();
    for (auto _ : state) benchmark::DoNotOptimize(Counter::deserialize(image));
}

void overlap(benchmark::State& state) {
    const auto a = filled<hll>(state);
    const auto b = filled<hll>(state, static_cast<std::uint64_t>(state.range(1)) / 2);
    for (auto _ : state) benchmark::DoNotOptimize(qsketch::overlap(a, b));
}

void sizes(benchmark::internal::Benchmark* row) { row->ArgsProduct({{12, 14}, {1'000, 1'000'000}}); }
void many(benchmark::internal::Benchmark* row) { row->ArgsProduct({{12, 14}, {1'000'000}}); }

} // namespace

BENCHMARK(add_batch<hll>)->Apply(sizes);
BENCHMARK(add_batch<ull>)->Apply(sizes);
BENCHMARK(add_one_by_one<hll>)->Apply(many);
BENCHMARK(add_one_by_one<ull>)->Apply(many);
BENCHMARK(merge<hll>)->Apply(many);
BENCHMARK(merge<ull>)->Apply(many);
BENCHMARK(estimate<hll>)->Apply(many);
BENCHMARK(estimate<ull>)->Apply(many);
BENCHMARK(serialize_compact<hll>)->Apply(many);
BENCHMARK(serialize_compact<ull>)->Apply(many);
BENCHMARK(deserialize_compact<hll>)->Apply(many);
BENCHMARK(deserialize_compact<ull>)->Apply(many);
BENCHMARK(overlap)->Apply(many);
BENCHMARK_MAIN();
