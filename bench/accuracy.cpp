// Prints the tables of docs/accuracy.md about tdigest. No argument: all of them, in about two minutes.
//
//     c++ -std=c++20 -O2 -Iinclude -Itests bench/accuracy.cpp -o accuracy && ./accuracy
//
// ./accuracy 3 takes three seeds instead of twenty.

#include <qsketch/scale.hpp>
#include <qsketch/tdigest.hpp>

#include "support/distributions.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace {

using qsketch::tdigest;

constexpr std::array quantiles{0.0001, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};
constexpr const char* heading = "p0.01 | p0.1 | p1 | p10 | p25 | p50 | p75 | p90 | p99 | p99.9 | p99.99 |\n";
constexpr std::size_t shards = 100;

/// Errors of one kind of digest, by quantile, one for every seed.
class record {
public:
    template <class Digest>
    void measure(const Digest& digest, std::span<const double> sorted) {
        for (std::size_t i = 0; i < quantiles.size(); ++i) {
            const double x = digest.quantile(quantiles[i]);
            const auto rank = static_cast<std::size_t>(std::ceil(quantiles[i] * static_cast<double>(sorted.size())));
            const double truth = sorted[rank > 0 ? rank - 1 : 0];
            ranks_[i].push_back(support::rank_error(sorted, quantiles[i], x) * 1e6);
            values_[i].push_back(x == truth ? 0 : std::fabs((x - truth) / truth) * 100);
        }
    }

    void print_ranks(const std::string& name) const {
        row(name, [&](std::size_t i) { std::printf(" %.0f / %.0f |", median(ranks_[i]), worst(ranks_[i])); });
    }
    void print_worst_ranks(const std::string& name) const {
        row(name, [&](std::size_t i) { std::printf(" %.0f |", worst(ranks_[i])); });
    }
    void print_worst_values(const std::string& name) const {
        row(name, [&](std::size_t i) { std::printf(" %.2g |", worst(values_[i])); });
    }
    void print_ratio(const std::string& name, const record& to) const {
        row(name, [&](std::size_t i) { std::printf(" %.2f |", mean(ranks_[i]) / mean(to.ranks_[i])); });
    }

private:
    using errors = std::vector<double>;

    template <class Cell>
    static void row(const std::string& name, const Cell& cell) {
        std::printf("| %s |", name.c_str());
        for (std::size_t i = 0; i < quantiles.size(); ++i) cell(i);
        std::printf("\n");
    }
    static double worst(const errors& e) { return *std::ranges::max_element(e); }
    static double median(errors e) {
        std::ranges::sort(e);
        return (e[(e.size() - 1) / 2] + e[e.size() / 2]) / 2;
    }
    static double mean(const errors& e) {
        double sum = 0;
        for (const double x : e) sum += x;
        return sum / static_cast<double>(e.size());
    }

    std::array<errors, quantiles.size()> ranks_;
    std::array<errors, quantiles.size()> values_;
};

void head(const char* title, const char* first) {
    std::printf("\n### %s\n\n| %s | %s|", title, first, heading);
    for (std::size_t i = 0; i <= quantiles.size(); ++i) std::printf("%s|", i == 0 ? "---" : "---:");
    std::printf("\n");
}

template <class Digest>
Digest reread(const Digest& digest) {
    return Digest::deserialize(digest.serialize());
}

struct results {
    record inside, bytes, chain, tree, at_once;
};

/// One pass over all values, and 100 shards of them in order, merged in three ways and written out.
template <class Digest>
void measure(results& r, double compression, std::span<const double> values, std::span<const double> sorted,
             bool merged) {
    Digest whole(compression);
    whole.add(values);
    whole.flush();
    r.inside.measure(whole, sorted);
    r.bytes.measure(reread(whole), sorted);
    if (!merged) return;

    std::vector<Digest> parts;
    std::vector<const Digest*> pointers;
    for (std::size_t i = 0; i < shards; ++i) {
        const std::size_t from = i * values.size() / shards;
        const std::size_t to = (i + 1) * values.size() / shards;
        parts.emplace_back(compression).add(values.subspan(from, to - from));
    }
    for (const Digest& part : parts) pointers.push_back(&part);

    Digest at_once(compression);
    at_once.merge(std::span<const Digest* const>(pointers));
    r.at_once.measure(reread(at_once), sorted);
    Digest chain(compression);
    for (const Digest& part : parts) chain.merge(part);
    r.chain.measure(reread(chain), sorted);
    for (std::size_t step = 1; step < shards; step *= 2)
        for (std::size_t i = 0; i + step < shards; i += 2 * step) parts[i].merge(parts[i + step]);
    r.tree.measure(reread(parts[0]), sorted);
}

std::vector<double> sorted_copy(std::vector<double> values) {
    std::ranges::sort(values);
    return values;
}

void print_merged(const char* title, const results& r) {
    head(title, "mean error, as a multiple of one pass");
    r.chain.print_ratio("chain", r.bytes);
    r.tree.print_ratio("tree", r.bytes);
    r.at_once.print_ratio("at once", r.bytes);
}

void lognormal_in_depth(std::uint64_t seeds) {
    results quartic, k1, k2;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const auto values = support::values_of(support::distributions[3], 1000000, seed);
        const auto sorted = sorted_copy(values);
        measure<tdigest<>>(quartic, 100, values, sorted, true);
        measure<tdigest<qsketch::k1_scale>>(k1, 100, values, sorted, true);
        measure<tdigest<qsketch::k2_scale>>(k2, 100, values, sorted, true);
    }
    head("A million lognormal(1.5) values: rank error in ppm, median / worst", "");
    quartic.inside.print_ranks("one pass, in memory");
    quartic.bytes.print_ranks("one pass, serialized");
    quartic.chain.print_ranks("100 shards, chain");
    quartic.tree.print_ranks("100 shards, tree");
    quartic.at_once.print_ranks("100 shards, at once");
    k1.bytes.print_ranks("k1_scale, serialized");
    k2.bytes.print_ranks("k2_scale, serialized");
    print_merged("quartic_scale: what merging costs", quartic);
    print_merged("k1_scale: what merging costs", k1);
    print_merged("k2_scale: what merging costs", k2);
}

void all_distributions(std::uint64_t seeds) {
    std::vector<results> all(support::distributions.size());
    for (std::size_t d = 0; d < all.size(); ++d)
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            const auto values = support::values_of(support::distributions[d], 1000000, seed);
            measure<tdigest<>>(all[d], 100, values, sorted_copy(values), false);
        }
    head("A million values, serialized: worst rank error in ppm", "");
    for (std::size_t d = 0; d < all.size(); ++d) all[d].bytes.print_worst_ranks(support::distributions[d].name);
    head("The same: worst error in value, in percent", "");
    for (std::size_t d = 0; d < all.size(); ++d) all[d].bytes.print_worst_values(support::distributions[d].name);
}

void sizes_and_compressions(std::uint64_t seeds) {
    head("Lognormal(1.5), serialized, by number of values: worst rank error in ppm", "values");
    for (const std::size_t n : {100u, 1000u, 10000u, 100000u}) {
        results r;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            const auto values = support::values_of(support::distributions[3], n, seed);
            measure<tdigest<>>(r, 100, values, sorted_copy(values), false);
        }
        r.bytes.print_worst_ranks(std::to_string(n));
    }
    head("100 000 lognormal(1.5) values, serialized, by compression: worst rank error in ppm", "compression");
    for (const double compression : {10, 20, 50, 100, 200, 500, 1000}) {
        results r;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            const auto values = support::values_of(support::distributions[3], 100000, seed);
            measure<tdigest<>>(r, compression, values, sorted_copy(values), false);
        }
        r.bytes.print_worst_ranks(std::to_string(static_cast<int>(compression)));
    }
}

/// Neither a few values, which are kept exactly, nor all different.
void repeated(std::uint64_t seeds) {
    const support::distribution mixtures[] = {
        {"lognormal(4, 1), rounded to whole numbers",
         [](support::random_bits& random, std::size_t, std::size_t) {
             return std::round(std::exp(4 + support::normal(random)));
         }},
        {"half whole numbers to 49, half lognormal(3, 2)",
         [](support::random_bits& random, std::size_t, std::size_t) {
             return random.below(2) == 0 ? static_cast<double>(random.below(50))
                                         : std::exp(3 + 2 * support::normal(random));
         }},
        {"normal(100, 20), three of ten rounded",
         [](support::random_bits& random, std::size_t, std::size_t) {
             const double x = 100 + 20 * support::normal(random);
             return random.below(10) < 3 ? std::round(x) : x;
         }},
    };
    head("A million values that repeat, serialized: worst rank error in ppm", "");
    for (const auto& d : mixtures) {
        results r;
        for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
            const auto values = support::values_of(d, 1000000, seed);
            measure<tdigest<>>(r, 100, values, sorted_copy(values), false);
        }
        r.bytes.print_worst_ranks(d.name);
    }
}

void hostile(std::uint64_t seeds) {
    results log_uniform;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        const auto values = support::log_uniform(1000000, seed);
        measure<tdigest<>>(log_uniform, 100, values, sorted_copy(values), false);
    }
    head("An input on which it fails, serialized: rank error in ppm, median / worst", "");
    log_uniform.bytes.print_ranks("log-uniform, either sign");
}

} // namespace

int main(int argc, char** argv) {
    const std::uint64_t seeds = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 20;
    if (seeds == 0) {
        std::fputs("usage: accuracy [seeds]\n", stderr);
        return 2;
    }
    lognormal_in_depth(seeds);
    all_distributions(seeds);
    sizes_and_compressions(seeds);
    repeated(seeds);
    hostile(seeds);
}
