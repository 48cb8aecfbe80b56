// Prints the tables of docs/accuracy.md about frequencies and about log_histogram, in about a minute.
//
//     c++ -std=c++20 -O2 -Iinclude -Itests bench/accuracy_frequencies.cpp -o accuracy_frequencies

#include <qsketch/count_min.hpp>
#include <qsketch/log_histogram.hpp>
#include <qsketch/top_k.hpp>

#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <unordered_map>
#include <vector>

namespace {

constexpr std::size_t stream_size = 1'000'000;
constexpr std::size_t parts = 64;

/// A stream of keys and how often each of them occurs.
struct stream {
    const char* name;
    std::vector<std::uint64_t> keys;
    std::unordered_map<std::uint64_t, std::uint64_t> counts;

    stream(const char* called, double exponent, std::size_t distinct) : name(called), keys(stream_size) {
        std::vector<double> up_to(distinct);
        double sum = 0;
        for (std::size_t k = 0; k < distinct; ++k) up_to[k] = sum += std::pow(static_cast<double>(k + 1), -exponent);
        support::random_bits random(1);
        for (std::uint64_t& key : keys) {
            const auto found = std::ranges::lower_bound(up_to, random.unit() * sum) - up_to.begin();
            ++counts[key = static_cast<std::uint64_t>(found)];
        }
    }

    [[nodiscard]] std::vector<std::span<const std::uint64_t>> shards() const {
        std::vector<std::span<const std::uint64_t>> cut;
        for (std::size_t i = 0; i < parts; ++i) {
            const std::size_t from = i * keys.size() / parts;
            cut.push_back(std::span(keys).subspan(from, (i + 1) * keys.size() / parts - from));
        }
        return cut;
    }
};

/// One sketch of everything, and 64 of the shards merged into one.
template <class Sketch>
struct ways {
    Sketch whole, chain, tree;

    template <class Values>
    ways(const Sketch& empty, const Values& all, const std::vector<Values>& shards)
        : whole(empty), chain(empty), tree(empty) {
        whole.add(all);
        std::vector<Sketch> some(shards.size(), empty);
        for (std::size_t i = 0; i < shards.size(); ++i) some[i].add(shards[i]);
        for (const Sketch& part : some) chain.merge(part);
        for (std::size_t step = 1; step < some.size(); step *= 2)
            for (std::size_t i = 0; i + step < some.size(); i += 2 * step) some[i].merge(some[i + step]);
        tree = some[0];
    }

    template <class Use>
    void each(const Use& use) const {
        use("one pass", whole);
        use("64, chain", chain);
        use("64, tree", tree);
    }
};

template <class Sketch>
void count_min_rows(const char* policy, const stream& s, std::uint32_t width) {
    const ways<Sketch> made(Sketch({.width = width, .depth = 4}), std::span<const std::uint64_t>(s.keys), s.shards());
    made.each([&](const char* way, const Sketch& sketch) {
        std::vector<std::uint64_t> over;
        std::uint64_t sum = 0;
        for (const auto& [key, n] : s.counts) {
            over.push_back(sketch.estimate(key) - n);
            sum += over.back();
        }
        std::ranges::sort(over);
        const double allowed = sketch.epsilon() * static_cast<double>(sketch.total());
        const auto beyond = over.end() - std::ranges::upper_bound(over, static_cast<std::uint64_t>(allowed));
        std::printf("| %s | %s, %u x 4 | %s | %.1f | %llu | %llu | %.0f | %.4f |\n", s.name, policy, width, way,
                    static_cast<double>(sum) / static_cast<double>(over.size()),
                    static_cast<unsigned long long>(over[over.size() * 99 / 100]),
                    static_cast<unsigned long long>(over.back()), allowed,
                    100.0 * static_cast<double>(beyond) / static_cast<double>(over.size()));
    });
}

void top_k_rows(const stream& s, std::uint32_t n) {
    using sketch_type = qsketch::top_k<std::uint64_t>;
    std::vector<std::uint64_t> counts;
    for (const auto& [key, count] : s.counts) counts.push_back(count);
    std::ranges::sort(counts, std::ranges::greater());
    const std::uint64_t least = counts[n - 1];
    const ways<sketch_type> made(sketch_type(n), std::span<const std::uint64_t>(s.keys), s.shards());
    made.each([&](const char* way, const sketch_type& sketch) {
        std::size_t found = 0;
        std::uint64_t widest = 0;
        const auto items = sketch.items();
        for (const auto& item : items) {
            found += s.counts.at(item.key) >= least;
            widest = (std::max)(widest, item.upper - item.lower);
        }
        std::printf("| %s | %u | %s | %.0f %% | %llu | %llu |\n", s.name, n, way,
                    100.0 * static_cast<double>(found) / static_cast<double>(n),
                    static_cast<unsigned long long>(widest), static_cast<unsigned long long>(least));
    });
}

void histogram_rows(const support::distribution& d, double relative_error) {
    using sketch_type = qsketch::log_histogram<>;
    const auto values = support::values_of(d, stream_size, 1);
    auto sorted = values;
    std::ranges::sort(sorted);
    std::vector<std::span<const double>> shards;
    for (std::size_t i = 0; i < parts; ++i) {
        const std::size_t from = i * values.size() / parts;
        shards.push_back(std::span(values).subspan(from, (i + 1) * values.size() / parts - from));
    }
    const ways<sketch_type> made(sketch_type(relative_error), std::span<const double>(values), shards);
    double worst = 0;
    constexpr std::size_t step = stream_size / 10'000;
    for (std::size_t rank = step; rank < stream_size; rank += step) {
        const double truth = sorted[rank - 1];
        const double answer = made.whole.quantile(static_cast<double>(rank) / stream_size);
        if (truth != 0) worst = (std::max)(worst, std::fabs(answer / truth - 1));
    }
    const auto image = made.whole.serialize();
    std::printf("| %s | %.1f %% | %.2f %% | %.3f | %zu | %zu | %s | %s |\n", d.name, relative_error * 100,
                made.whole.relative_error() * 100, worst * 100, made.whole.memory_bytes(), image.size(),
                made.chain.serialize() == image ? "same" : "DIFFERENT",
                made.tree.serialize() == image ? "same" : "DIFFERENT");
}

} // namespace

int main() {
    const std::vector<stream> streams{{"Zipf 1.2", 1.2, 200'000}, {"Zipf 1.0", 1.0, 200'000}, {"uniform", 0, 200'000}};

    std::printf("### count_min: by how much a key is over-estimated, a million keys in the stream\n\n");
    std::printf(
        "| stream | policy, width | | mean | p99 of keys | worst | allowed (epsilon x total) | keys beyond, %% |\n"
        "|---|---|---|---:|---:|---:|---:|---:|\n");
    for (const stream& s : streams)
        for (const std::uint32_t width : {4096U, 65'536U}) {
            count_min_rows<qsketch::count_min<std::uint64_t>>("plain", s, width);
            count_min_rows<qsketch::count_min<std::uint64_t, qsketch::conservative>>("conservative", s, width);
        }

    std::printf("\n### top_k: the most frequent n of a million keys\n\n");
    std::printf("| stream | n | | found | widest upper - lower | the n-th occurs |\n|---|---:|---|---:|---:|---:|\n");
    for (const stream& s : streams)
        for (const std::uint32_t n : {10U, 100U}) top_k_rows(s, n);

    std::printf("\n### log_histogram: a million values, 9999 quantiles\n\n");
    std::printf("| values | asked for | promised | worst error in value, %% | bytes in memory | serialized | chain of "
                "64 | tree of 64 |\n"
                "|---|---:|---:|---:|---:|---:|---|---|\n");
    for (const support::distribution& d : support::distributions)
        for (const double relative_error : {0.01, 0.001}) histogram_rows(d, relative_error);
}
