// log_histogram: time per add, of batches of 4096 and one by one, beside the reference that no histogram can beat: one
// counter, found by the upper bits of the double. Compare rows of one run only.

#include "support/distributions.hpp"

#include <qsketch/log_histogram.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace {

using values_type = std::shared_ptr<const std::vector<double>>;

template <class Pass>
void add_row(const std::string& name, std::size_t size, Pass pass) {
    benchmark::RegisterBenchmark(name.c_str(), [pass, size](benchmark::State& state) mutable {
        for (auto _ : state) pass();
        state.counters["ns/value"] =
            benchmark::Counter(static_cast<double>(size) * 1e-9,
                               benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    });
}

void add_rows(const std::string& name, const values_type& values) {
    const std::size_t size = values->size();
    add_row("reference, " + name, size, [values, counters = std::vector<std::uint64_t>(65536)]() mutable {
        for (const double x : *values) ++counters[std::bit_cast<std::uint64_t>(x) >> 47 & 0xffff];
        benchmark::DoNotOptimize(counters.data());
        benchmark::ClobberMemory();
    });
    add_row("add, batch, " + name, size, [values] {
        qsketch::log_histogram<> h;
        for (std::span<const double> rest(*values); !rest.empty();) {
            const auto batch = rest.first((std::min)(rest.size(), std::size_t{4096}));
            h.add(batch);
            rest = rest.subspan(batch.size());
        }
        benchmark::DoNotOptimize(h);
    });
    add_row("add, " + name, size, [values] {
        qsketch::log_histogram<> h;
        for (const double x : *values) h.add(x);
        benchmark::DoNotOptimize(h);
    });
}

} // namespace

int main(int argc, char** argv) {
    constexpr std::size_t size = std::size_t{1} << 20;
    for (const auto& d : support::distributions)
        add_rows(d.name, std::make_shared<const std::vector<double>>(support::values_of(d, size, 1)));
    add_rows("all exponents", std::make_shared<const std::vector<double>>(support::log_uniform(size, 1)));

    qsketch::log_histogram<> h;
    h.add(support::values_of(support::distributions[3], size, 1));
    const auto full = std::make_shared<const qsketch::log_histogram<>>(h);
    const auto image = std::make_shared<const std::vector<std::byte>>(h.serialize());
    add_row("quantile(0.99)", 1, [full] { benchmark::DoNotOptimize(full->quantile(0.99)); });
    add_row("cdf", 1, [full] { benchmark::DoNotOptimize(full->cdf(1.5)); });
    add_row("merge", 1, [full, into = h]() mutable {
        into = *full;
        into.merge(*full);
        benchmark::DoNotOptimize(into);
    });
    add_row("serialize", 1, [full] { benchmark::DoNotOptimize(full->serialize()); });
    add_row("deserialize", 1, [image] { benchmark::DoNotOptimize(qsketch::log_histogram<>::deserialize(*image)); });

    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
