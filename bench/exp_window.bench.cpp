// exp_window over tdigests: a day by the second, beside the naive way, a flat ring of 86,400 slots, and a bare digest.
// Compare within one run only, and quote ratios. `bytes` is memory_bytes() of the whole structure.
//     exp_window_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true

#include <qsketch/exp_window.hpp>
#include <qsketch/sliding_window.hpp>
#include <qsketch/tdigest.hpp>

#include <benchmark/benchmark.h>

#include "support/generators.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using digest = qsketch::tdigest<>;
using window = qsketch::exp_window<digest>;
using ring = qsketch::sliding_window<digest>;
using time_point = window::time_point;

constexpr std::int64_t day = 86'400;
constexpr std::size_t values_mask = 0xffff;

const std::vector<double>& values() {
    static const auto made = support::skewed_values(values_mask + 1, 1);
    return made;
}

time_point second(std::int64_t s) { return time_point(std::chrono::seconds(s)); }

/// A day and a bit, of `per_second` values each second.
template <class Window>
std::shared_ptr<Window> full_day(Window empty, std::size_t per_second) {
    auto filled = std::make_shared<Window>(std::move(empty));
    std::size_t next = 0;
    for (std::int64_t s = 0; s < day + 1000; ++s, next += per_second)
        filled->add_at(second(s), std::span(values()).subspan(next % (values_mask / 2), per_second));
    return filled;
}

/// Values one by one in order of time, `per_second` of them each second. A bare digest sees the same calls.
template <class Target>
void ingest_row(const std::string& name, Target empty, std::int64_t per_second) {
    benchmark::RegisterBenchmark((name + ", " + std::to_string(per_second) + " a second").c_str(),
                                 [empty, per_second](benchmark::State& state) {
                                     Target target = empty;
                                     std::int64_t s = 0;
                                     std::size_t next = 0;
                                     for (auto _ : state) {
                                         for (std::int64_t i = 0; i < per_second; ++i) {
                                             const double x = values()[next++ & values_mask];
                                             if constexpr (requires { target.add_at(second(s), x); })
                                                 target.add_at(second(s), x);
                                             else
                                                 target.add(x);
                                         }
                                         ++s;
                                     }
                                     state.SetItemsProcessed(state.iterations() * per_second);
                                     state.counters["ns_per_value"] =
                                         benchmark::Counter(static_cast<double>(state.iterations() * per_second) * 1e-9,
                                                            benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
                                 });
}

template <class Window>
void query_row(const std::string& name, const std::shared_ptr<Window>& w, std::chrono::seconds length) {
    benchmark::RegisterBenchmark(("query, " + name + ", " + std::to_string(length.count()) + " s").c_str(),
                                 [w, length](benchmark::State& state) {
                                     for (auto _ : state)
                                         benchmark::DoNotOptimize(
                                             std::as_const(*w).query(length, second(day + 999)).sketch.quantile(0.99));
                                     state.counters["bytes"] = static_cast<double>(w->memory_bytes());
                                 });
}

void cached_row(const std::shared_ptr<window>& w, std::chrono::seconds length) {
    benchmark::RegisterBenchmark(
        ("query, asked again, " + std::to_string(length.count()) + " s").c_str(), [w, length](benchmark::State& state) {
            for (auto _ : state)
                benchmark::DoNotOptimize(w->cached_query(length, second(day + 999)).sketch.quantile(0.99));
        });
}

void flush_rows(const std::shared_ptr<window>& full) {
    benchmark::RegisterBenchmark("flush, all sums", [full](benchmark::State& state) {
        for (auto _ : state) {
            state.PauseTiming();
            auto w = std::make_unique<window>(*full);
            state.ResumeTiming();
            w->flush();
            state.PauseTiming();
            w.reset();
            state.ResumeTiming();
        }
    });
    benchmark::RegisterBenchmark("flush every second, on average", [full](benchmark::State& state) {
        window w = *full;
        std::int64_t s = day + 1000;
        for (auto _ : state) {
            state.PauseTiming();
            w.add_at(second(s++), std::span(values()).first(300));
            state.ResumeTiming();
            w.flush();
        }
    });
    benchmark::RegisterBenchmark("late event, anywhere in the day", [full](benchmark::State& state) {
        window w = *full;
        support::random_bits random(1);
        for (auto _ : state) w.add_at(second(random.between(1000, day)), 1.0);
        state.counters["bytes"] = static_cast<double>(w.memory_bytes());
    });
}

} // namespace

int main(int argc, char** argv) {
    const auto levels = window::exponential(1s, 12, 24h);
    for (const std::int64_t per_second : {100, 1000, 10'000}) {
        ingest_row("add, bare digest", digest(), per_second);
        ingest_row("add_at, exp_window", window(levels), per_second);
        ingest_row("add_at, flat ring", ring(1s, 64), per_second); // so few slots, or it would not fit into memory
    }
    const auto raw = full_day(window(levels), 300);
    const auto prepared = std::make_shared<window>(*raw);
    prepared->flush();
    const auto remembering = std::make_shared<window>(*prepared);
    const auto flat = full_day(ring(1s, day), 20); // of fewer values, in favour of the ring: 300 would take 260 MB
    for (const auto length : {10s, 60s, 300s, 3600s, 86'400s}) {
        query_row("after flush", prepared, length);
        query_row("without flush", raw, length);
        query_row("flat ring", flat, length);
        cached_row(remembering, length);
    }
    flush_rows(raw);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
