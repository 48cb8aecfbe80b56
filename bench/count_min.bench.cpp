// count_min: time per add and per estimate, tables of four rows of u32 counters. Compare rows of one run only, best by
// the ratio. Those of 2^24 columns, and the reference for them, take 256 MiB; leave them out with
//
//     count_min_bench --benchmark_filter='-24|MiB'

#include "frequency.hpp"

#include <qsketch/count_min.hpp>
#include <qsketch/detail/prefetch.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using qsketch::count_min;
using keys_type = std::shared_ptr<const std::vector<std::uint64_t>>;

template <class Sketch, class Keys>
void add_rows(const std::string& name, std::shared_ptr<Sketch> sketch, const Keys& keys, bool singles) {
    using key_type = typename Sketch::key_type;
    const auto estimates = std::make_shared<std::vector<std::uint64_t>>(keys->size());
    frequency::add_row("add, batch, " + name, [=] { sketch->add(std::span<const key_type>(*keys)); });
    frequency::add_row("estimate, batch, " + name, [=] {
        sketch->estimate(std::span<const key_type>(*keys), *estimates);
        benchmark::DoNotOptimize(estimates->data());
    });
    if (!singles) return;
    frequency::add_row("add, " + name, [=] {
        for (const key_type key : *keys) sketch->add(key);
    });
    frequency::add_row("estimate, " + name, [=] {
        std::uint64_t sum = 0;
        for (const key_type key : *keys) sum += sketch->estimate(key);
        benchmark::DoNotOptimize(sum);
    });
}

/// What the memory itself takes for a table of 2^24 columns: four increments a key, asked for 16 keys ahead.
void add_memory_row(const keys_type& uniform) {
    const auto cells = std::make_shared<std::vector<std::uint32_t>>(std::size_t{1} << 26, 1u);
    frequency::add_row("reference: 4 random u32 increments in 256 MiB", [=] {
        const auto cell = [&](std::size_t i) -> std::uint32_t& {
            const std::uint64_t row = 2 * (i & 3) + 1;
            return (*cells)[static_cast<std::size_t>(((*uniform)[i / 4] * row * 0x9e3779b97f4a7c15) >> 38)];
        };
        for (std::size_t i = 0; i < 4 * uniform->size(); ++i) {
            if (i + 64 < 4 * uniform->size()) qsketch::detail::prefetch(&cell(i + 64));
            ++cell(i);
        }
        benchmark::ClobberMemory();
    });
}

template <class Policy>
void add_rows(const std::string& policy, const keys_type& zipf, const keys_type& uniform) {
    for (const std::uint32_t bits : {12u, 16u, 20u, 24u}) {
        using sketch_type = count_min<std::uint64_t, Policy>;
        const auto sketch = std::make_shared<sketch_type>(
            typename sketch_type::dimensions{.width = std::uint32_t{1} << bits, .depth = 4});
        const std::string name = policy + ", 2^" + std::to_string(bits);
        add_rows(name + ", Zipf(1.1)", sketch, zipf, bits <= 16);
        add_rows(name + ", uniform", sketch, uniform, false);
    }
}

} // namespace

int main(int argc, char** argv) {
    frequency::add_reference_rows();
    const auto zipf = std::make_shared<const std::vector<std::uint64_t>>(frequency::zipf_keys(1.1));
    const auto uniform = std::make_shared<const std::vector<std::uint64_t>>(frequency::uniform_keys());
    add_memory_row(uniform);
    add_rows<qsketch::plain>("plain", zipf, uniform);
    add_rows<qsketch::conservative>("conservative", zipf, uniform);
    const auto texts = std::make_shared<frequency::texts>(*zipf);
    const std::shared_ptr<const std::vector<std::string_view>> views(texts, &texts->views());
    using string_sketch = count_min<std::string_view>;
    add_rows("plain, 2^12, 16-byte strings",
             std::make_shared<string_sketch>(string_sketch::dimensions{.width = 4096, .depth = 4}), views, true);
    return frequency::run(argc, argv);
}
