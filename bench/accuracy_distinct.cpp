// Prints the tables of docs/accuracy.md about distinct keys, in about a minute.
//
//     c++ -std=c++20 -O2 -Iinclude -Itests bench/accuracy_distinct.cpp -o accuracy_distinct && ./accuracy_distinct

#include <qsketch/hyperloglog.hpp>
#include <qsketch/overlap.hpp>
#include <qsketch/ultraloglog.hpp>

#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using hll = qsketch::hyperloglog<std::uint64_t>;
using ull = qsketch::ultraloglog<std::uint64_t>;

constexpr std::array<std::uint64_t, 6> sizes{10, 100, 1000, 10'000, 100'000, 1'000'000};
constexpr int trials = 400;
constexpr std::size_t parts = 64;

struct errors {
    double sum = 0;
    double squares = 0;
    double worst = 0;
    int within_two = 0; ///< sigmas, by the sketch's own bounds
    std::size_t bytes = 0;
    std::size_t compact = 0;

    template <class Sketch>
    void note(const Sketch& sketch, double truth) {
        const double error = sketch.estimate() / truth - 1;
        sum += error;
        squares += error * error;
        worst = (std::max)(worst, std::fabs(error));
        within_two += sketch.lower_bound(2) <= truth && truth <= sketch.upper_bound(2);
        bytes = sketch.serialize().size();
        compact = sketch.serialize_compact().size();
    }
};

/// Random hashes stand for random keys.
template <class Sketch>
void one_pass(const char* name, unsigned precision) {
    std::array<errors, sizes.size()> seen;
    for (int trial = 0; trial < trials; ++trial) {
        support::random_bits random(static_cast<std::uint64_t>(trial) << 32);
        Sketch sketch(precision);
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            for (; n < sizes[i]; ++n) sketch.add_hash(random());
            seen[i].note(sketch, static_cast<double>(n));
        }
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const errors& e = seen[i];
        std::printf("| %s %u | %.2f | %llu | %+.3f | %.3f | %.2f | %.1f | %zu | %zu |\n", name, precision,
                    Sketch(precision).relative_error() * 100, static_cast<unsigned long long>(sizes[i]),
                    e.sum / trials * 100, std::sqrt(e.squares / trials) * 100, e.worst * 100,
                    100.0 * e.within_two / trials, e.bytes, e.compact);
    }
}

/// A chain and a tree of 64 sketches that share a third of their keys, beside one sketch that saw everything.
template <class Sketch>
void merged(const char* name, unsigned precision, std::uint64_t keys) {
    Sketch whole(precision);
    std::vector<Sketch> some(parts, Sketch(precision));
    for (std::uint64_t key = 0; key < keys; ++key) {
        whole.add(key);
        some[key % parts].add(key);
        if (key % 3 == 0) some[(key / 3) % parts].add(key);
    }
    Sketch chain(precision);
    for (const Sketch& part : some) chain.merge(part);
    for (std::size_t step = 1; step < parts; step *= 2)
        for (std::size_t i = 0; i < parts; i += 2 * step) some[i].merge(some[i + step]);
    const auto same = [&](const Sketch& other) {
        return whole.serialize() == other.serialize() ? "same" : "DIFFERENT";
    };
    std::printf("| %s %u | %llu | %s | %s |\n", name, precision, static_cast<unsigned long long>(keys), same(chain),
                same(some[0]));
}

void overlaps(unsigned precision, std::uint64_t each, double share) {
    const auto both = static_cast<std::uint64_t>(static_cast<double>(each) * share);
    double joint = 0;
    double by_union = 0;
    constexpr int rounds = 100;
    for (int round = 0; round < rounds; ++round) {
        support::random_bits random(static_cast<std::uint64_t>(round) << 32);
        hll a(precision);
        hll b(precision);
        for (std::uint64_t i = 0; i < 2 * each - both; ++i) {
            const std::uint64_t hash = random();
            if (i < each) a.add_hash(hash);
            if (i >= each - both) b.add_hash(hash);
        }
        auto either = a;
        either.merge(b);
        const double all = static_cast<double>(2 * each - both);
        const double truth = static_cast<double>(both);
        const double by_joint = (qsketch::overlap(a, b).both - truth) / all;
        const double by_sum = ((std::max)(0.0, a.estimate() + b.estimate() - either.estimate()) - truth) / all;
        joint += by_joint * by_joint;
        by_union += by_sum * by_sum;
    }
    std::printf("| %u | %llu | %.0f %% | %.3f | %.3f |\n", precision, static_cast<unsigned long long>(each),
                share * 100, std::sqrt(joint / rounds) * 100, std::sqrt(by_union / rounds) * 100);
}

} // namespace

int main() {
    std::printf("### Alone: errors in percent, %d sketches\n\n", trials);
    std::printf(
        "| sketch, precision | promised | keys | bias | root mean square | worst | within two sigmas, %% | bytes | "
        "compact |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (const unsigned precision : {10U, 12U, 14U}) one_pass<hll>("hyperloglog", precision);
    for (const unsigned precision : {10U, 12U, 14U}) one_pass<ull>("ultraloglog", precision);

    std::printf("\n### 64 sketches merged, beside one that saw everything: the bytes\n\n");
    std::printf("| sketch, precision | keys | chain | tree |\n|---|---:|---|---|\n");
    for (const std::uint64_t keys : {1000U, 100'000U, 1'000'000U}) {
        merged<hll>("hyperloglog", 12, keys);
        merged<ull>("ultraloglog", 12, keys);
    }

    std::printf("\n### Keys that two have in common: root mean square error, in percent of the keys of either\n\n");
    std::printf("| precision | keys of each | shared | overlap | \\|A\\| + \\|B\\| - \\|A or B\\| |\n"
                "|---|---:|---:|---:|---:|\n");
    for (const unsigned precision : {12U, 14U})
        for (const double share : {0.0, 0.01, 0.1, 0.5, 0.9}) overlaps(precision, 100'000, share);
}
