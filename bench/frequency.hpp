#pragma once

// What count_min.bench.cpp and top_k.bench.cpp share: keys made ahead of all timing, the two reference rows, and a
// table of medians with the ratio to what any sketch of four rows has to pay at least.

#include <qsketch/hash.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace frequency {

inline constexpr std::size_t stream_size = std::size_t{1} << 20;

/// SplitMix64.
class random_bits {
public:
    std::uint64_t operator()() noexcept {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

private:
    std::uint64_t state_ = 1;
};

inline std::vector<std::uint64_t> uniform_keys() {
    random_bits random;
    std::vector<std::uint64_t> keys(stream_size);
    for (auto& key : keys) key = random();
    return keys;
}

/// 1.2 million distinct keys, the k-th in proportion to k^-exponent.
inline std::vector<std::uint64_t> zipf_keys(double exponent) {
    std::vector<double> up_to(1'200'000);
    double sum = 0;
    for (std::size_t k = 0; k < up_to.size(); ++k) up_to[k] = sum += std::pow(static_cast<double>(k + 1), -exponent);
    random_bits random;
    std::vector<std::uint64_t> keys(stream_size);
    for (auto& key : keys) {
        const double point = static_cast<double>(random() >> 11) * 0x1p-53 * sum;
        const auto rank = std::lower_bound(up_to.begin(), up_to.end(), point) - up_to.begin();
        key = static_cast<std::uint64_t>(rank) * 0x9e3779b97f4a7c15;
    }
    return keys;
}

/// Strings of 16 digits, one after the other as a reader would find them in its input.
class texts {
public:
    explicit texts(const std::vector<std::uint64_t>& keys) {
        bytes_.reserve(16 * keys.size());
        for (const std::uint64_t key : keys)
            for (unsigned shift = 0; shift < 64; shift += 4) bytes_ += "0123456789abcdef"[key >> shift & 15];
        for (std::size_t i = 0; i < keys.size(); ++i) views_.push_back(std::string_view(bytes_).substr(16 * i, 16));
    }
    texts(const texts&) = delete;
    texts& operator=(const texts&) = delete;

    [[nodiscard]] const std::vector<std::string_view>& views() const noexcept { return views_; }

private:
    std::string bytes_;
    std::vector<std::string_view> views_;
};

/// The names of all rows, in the order of the table.
inline std::vector<std::string>& rows() {
    static std::vector<std::string> names;
    return names;
}

/// A row: `pass` goes once over stream_size keys. The first pass is not timed: it fills the sketch and the caches.
template <class Pass>
void add_row(const std::string& name, Pass pass) {
    rows().push_back(name);
    benchmark::RegisterBenchmark(name.c_str(), [pass](benchmark::State& state) mutable {
        pass();
        for (auto _ : state) pass();
    });
}

inline constexpr const char* hash_row = "reference: hash of a u64";
inline constexpr const char* increment_row = "reference: random u32 increment in 16 KiB";

inline void add_reference_rows() {
    add_row(hash_row, [keys = uniform_keys(), out = std::array<std::uint64_t, 4096>()]() mutable {
        for (std::size_t from = 0; from < stream_size; from += out.size())
            for (std::size_t i = 0; i < out.size(); ++i) out[i] = qsketch::hash()(keys[from + i]);
        benchmark::DoNotOptimize(out.data());
        benchmark::ClobberMemory();
    });
    std::vector<std::uint32_t> places;
    for (const std::uint64_t key : uniform_keys()) places.push_back(static_cast<std::uint32_t>(key & 4095));
    add_row(increment_row, [places, cells = std::array<std::uint32_t, 4096>()]() mutable {
        for (const std::uint32_t place : places) ++cells[place];
        benchmark::DoNotOptimize(cells.data());
        benchmark::ClobberMemory();
    });
}

/// Medians of the thread's CPU time per key.
class table : public benchmark::BenchmarkReporter {
public:
    bool ReportContext(const Context&) override { return true; }

    void ReportRuns(const std::vector<Run>& runs) override {
        for (const Run& run : runs) {
            if (run.run_type != Run::RT_Iteration) continue;
            const double keys = static_cast<double>(run.iterations) * static_cast<double>(stream_size);
            times_[run.run_name.function_name].push_back(run.cpu_accumulated_time * 1e9 / keys);
        }
    }

    void Finalize() override {
        const double least = median(hash_row) + 4 * median(increment_row);
        std::printf("%-58s %8s %8s %8s\n", "ns per key: median, least; ratio to hash + 4 increments", "median", "least",
                    "ratio");
        for (const std::string& name : rows()) {
            if (times_[name].empty()) continue;
            std::printf("%-58s %8.2f", name.c_str(), median(name));
            std::printf(" %8.2f", times_[name].front());
            if (least > 0) std::printf(" %8.2f", median(name) / least);
            std::printf("\n");
        }
    }

private:
    double median(const std::string& name) {
        auto& all = times_[name];
        std::sort(all.begin(), all.end());
        return all.empty() ? 0 : all[all.size() / 2];
    }

    std::map<std::string, std::vector<double>> times_;
};

/// Runs all rows nine times in random order, unless the arguments say otherwise.
inline int run(int argc, char** argv) {
    std::vector<std::string> words = {argv[0], "--benchmark_repetitions=9", "--benchmark_min_time=0.03",
                                      "--benchmark_enable_random_interleaving=true"};
    words.insert(words.end(), argv + 1, argv + argc);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    int count = static_cast<int>(arguments.size());
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
    table results;
    benchmark::RunSpecifiedBenchmarks(&results);
    return 0;
}

} // namespace frequency
