// tdigest: time per value added, and per operation on a digest of a million values. Every row of adds has a reference
// row over the same values, std::sort of blocks of 4096: compare within one run only, and quote ratios.
//     tdigest_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true

#include <qsketch/tdigest.hpp>

#include <benchmark/benchmark.h>

#include "support/distributions.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr std::size_t stream_size = std::size_t{1} << 22;

using qsketch::tdigest;

void per_value(benchmark::State& state) {
    state.counters["ns_per_value"] =
        benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(stream_size) * 1e-9,
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void add_rows(const support::distribution& d) {
    const std::string name = d.name;
    const auto values = support::values_of(d, stream_size, 1);
    benchmark::RegisterBenchmark(("std::sort of 4096, " + name).c_str(), [values](benchmark::State& state) {
        std::vector<double> block(4096);
        for (auto _ : state) {
            for (std::size_t from = 0; from < stream_size; from += block.size()) {
                std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from), block.size(), block.begin());
                std::sort(block.begin(), block.end());
                benchmark::DoNotOptimize(block.data());
            }
        }
        per_value(state);
    });
    benchmark::RegisterBenchmark(("add, batch, " + name).c_str(), [values](benchmark::State& state) {
        for (auto _ : state) {
            tdigest<> digest;
            digest.add(std::span<const double>(values));
            benchmark::DoNotOptimize(digest.count());
        }
        per_value(state);
    });
    benchmark::RegisterBenchmark(("add, single, " + name).c_str(), [values](benchmark::State& state) {
        for (auto _ : state) {
            tdigest<> digest;
            for (const double x : values) digest.add(x);
            benchmark::DoNotOptimize(digest.count());
        }
        per_value(state);
    });
}

void operation_rows(const support::distribution& d) {
    tdigest<> a;
    tdigest<> b;
    a.add(std::span<const double>(support::values_of(d, 1'000'000, 1)));
    b.add(std::span<const double>(support::values_of(d, 1'000'000, 2)));
    a.flush();
    b.flush();
    std::vector<double> qs(65536); // more than branch prediction learns by heart
    for (std::size_t i = 0; i < qs.size(); ++i) qs[i] = static_cast<double>(i * 40503 % qs.size()) / 65536;
    std::vector<double> xs(qs.size());
    a.quantiles(qs, xs);
    const auto row = [](const char* name, auto operation) {
        benchmark::RegisterBenchmark(name, [operation](benchmark::State& state) mutable {
            for (auto _ : state) benchmark::DoNotOptimize(operation());
        });
    };
    row("quantile, flushed", [a, qs, i = std::size_t{0}]() mutable { return a.quantile(qs[i++ % qs.size()]); });
    row("cdf, flushed", [a, xs, i = std::size_t{0}]() mutable { return a.cdf(xs[i++ % xs.size()]); });
    row("quantile with 128 values pending", [a, pending = support::values_of(d, 128, 3)]() mutable {
        if (a.count() == 1'000'000) a.add(std::span<const double>(pending));
        return a.quantile(0.99);
    });
    row("copy and merge of two", [a, b] {
        tdigest<> merged(a);
        merged.merge(b);
        return merged.count();
    });
    const auto image = a.serialize();
    row("serialize", [a] { return a.serialize().size(); });
    row("deserialize", [image] { return tdigest<>::deserialize(image).count(); });
}

} // namespace

int main(int argc, char** argv) {
    for (const auto& d : support::distributions) add_rows(d);
    operation_rows(support::distributions[3]);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
