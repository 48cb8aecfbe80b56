// Rank errors by serialized size, qsketch beside Apache DataSketches: a million lognormal values, twenty seeds.
// Prints a table, which bench/plot draws.

#include <qsketch/tdigest.hpp>

#include <DataSketches/kll_sketch.hpp>
#include <DataSketches/tdigest.hpp>

#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::array quantiles{0.01, 0.5, 0.9, 0.99, 0.999};
constexpr int seeds = 20;

struct row {
    std::string name;
    std::size_t bytes = 0;
    std::array<std::vector<double>, quantiles.size()> errors{};

    template <class Quantile>
    void note(std::span<const double> sorted, const Quantile& quantile) {
        for (std::size_t i = 0; i < quantiles.size(); ++i)
            errors[i].push_back(1e6 * support::rank_error(sorted, quantiles[i], quantile(quantiles[i])));
    }

    void print() {
        std::printf("| %s | %zu |", name.c_str(), bytes);
        for (auto& each : errors) {
            std::ranges::sort(each);
            std::printf(" %.0f / %.0f |", (each[seeds / 2 - 1] + each[seeds / 2]) / 2, each.back());
        }
        std::printf("\n");
    }
};

} // namespace

int main() {
    constexpr std::array<double, 5> compressions{25, 50, 100, 200, 400};
    constexpr std::array<std::uint16_t, 5> their_k{50, 100, 200, 400, 800};
    std::vector<row> rows;
    for (const double c : compressions) rows.push_back({"qsketch tdigest " + std::to_string(static_cast<int>(c))});
    for (const auto k : their_k) rows.push_back({"DataSketches tdigest " + std::to_string(k)});
    for (const auto k : their_k) rows.push_back({"DataSketches KLL " + std::to_string(k)});

    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const auto values = support::values_of(support::distributions[3], 1'000'000, seed);
        auto sorted = values;
        std::ranges::sort(sorted);
        std::size_t at = 0;
        for (const double c : compressions) {
            qsketch::tdigest<> sketch(c);
            sketch.add(std::span<const double>(values));
            const auto image = sketch.serialize();
            const auto read = qsketch::tdigest<>::deserialize(image);
            rows[at].bytes = image.size();
            rows[at++].note(sorted, [&](double q) { return read.quantile(q); });
        }
        for (const auto k : their_k) {
            datasketches::tdigest<double> sketch(k);
            for (const double x : values) sketch.update(x);
            rows[at].bytes = sketch.serialize().size();
            rows[at++].note(sorted, [&](double q) { return sketch.get_quantile(q); });
        }
        for (const auto k : their_k) {
            datasketches::kll_sketch<double> sketch(k);
            for (const double x : values) sketch.update(x);
            rows[at].bytes = sketch.serialize().size();
            rows[at++].note(sorted, [&](double q) { return sketch.get_quantile(q); });
        }
    }
    std::printf("| sketch | bytes | p1 | p50 | p90 | p99 | p99.9 |\n|---|---:|---:|---:|---:|---:|---:|\n");
    for (row& each : rows) each.print();
}
