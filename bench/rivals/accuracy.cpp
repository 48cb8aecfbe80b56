// Rank errors by serialized size, qsketch beside others: a million lognormal values, twenty seeds. Prints a table,
// which bench/plot draws.

#include "digests.hpp"

#include <qsketch/tdigest.hpp>

#include <DataSketches/kll_sketch.hpp>

#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <type_traits>
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
    constexpr std::array<int, 5> their_sizes{50, 100, 200, 400, 800};
    std::vector<row> rows;
    for (const double c : compressions) rows.push_back({"qsketch tdigest " + std::to_string(static_cast<int>(c))});
    rivals::for_each_digest(100, [&](const auto& digest) {
        for (const int size : their_sizes) rows.push_back({digest.full_name + (" " + std::to_string(size))});
    });
    for (const int size : their_sizes) rows.push_back({"DataSketches KLL " + std::to_string(size)});

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
        rivals::for_each_digest(100, [&](const auto& any) {
            for (const int size : their_sizes) {
                std::remove_cvref_t<decltype(any)> digest(size);
                digest.add(values);
                digest.flush();
                rows[at].bytes = digest.bytes();
                rows[at++].note(sorted, [&](double q) { return digest.quantile(q); });
            }
        });
        for (const int size : their_sizes) {
            datasketches::kll_sketch<double> sketch(static_cast<std::uint16_t>(size));
            for (const double x : values) sketch.update(x);
            rows[at].bytes = sketch.serialize().size();
            rows[at++].note(sorted, [&](double q) { return sketch.get_quantile(q); });
        }
    }
    std::printf("| sketch | bytes | p1 | p50 | p90 | p99 | p99.9 |\n|---|---:|---:|---:|---:|---:|---:|\n");
    for (row& each : rows) each.print();
}
