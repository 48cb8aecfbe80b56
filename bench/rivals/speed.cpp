// qsketch beside others, doing the same work on the same input in the same process, in turns. A row's name is
// `operation | who`; bench/report prints the rows of an operation next to each other.

#include "digests.hpp"

#include <qsketch/qsketch.hpp>

#include <DataSketches/count_min.hpp>
#include <DataSketches/frequent_items_sketch.hpp>
#include <DataSketches/hll.hpp>
#include <DataSketches/kll_sketch.hpp>

#include <benchmark/benchmark.h>

#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t stream_size = std::size_t{1} << 20;
constexpr const char* ours = "qsketch";
constexpr const char* theirs = "DataSketches";

/// `pass` does `size` operations.
template <class Pass>
void add_row(const std::string& operation, const std::string& who, std::size_t size, Pass pass) {
    benchmark::RegisterBenchmark((operation + " | " + who).c_str(), [pass, size](benchmark::State& state) mutable {
        for (auto _ : state) pass();
        const auto operations = static_cast<double>(state.iterations()) * static_cast<double>(size);
        state.counters["each"] =
            benchmark::Counter(operations, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    });
}

/// A digest of qsketch behind the interface of the others.
class our_digest : public qsketch::tdigest<> {
public:
    static constexpr const char* name = ours;
    using tdigest::tdigest;
};

template <class Digest>
Digest filled(Digest digest, std::span<const double> values) {
    digest.add(values);
    digest.flush();
    return digest;
}

template <class Digest>
void merge_row(const std::string& who, const Digest& empty, std::span<const double> values) {
    const auto a = filled(empty, values.first(stream_size / 2));
    const auto b = filled(empty, values.last(stream_size / 2));
    add_row("t-digest copy, merge, flush", who, 1, [a, b] {
        auto merged = a;
        merged.merge(b);
        merged.flush();
        benchmark::DoNotOptimize(merged);
    });
    constexpr std::size_t shards = 64;
    std::vector<Digest> parts;
    for (std::size_t i = 0; i < shards; ++i)
        parts.push_back(filled(empty, values.subspan(i * (stream_size / shards), stream_size / shards)));
    add_row("t-digest merge of 64 one by one, flush", who, shards, [parts, empty] {
        auto merged = empty;
        for (const Digest& part : parts) merged.merge(part);
        merged.flush();
        benchmark::DoNotOptimize(merged);
    });
}

/// `who` is the name of a digest with its size.
template <class Digest>
void digest_rows(const std::string& operation, const std::string& who, const Digest& empty,
                 const std::shared_ptr<const std::vector<double>>& values) {
    add_row(operation, who, stream_size, [values, empty] {
        auto digest = empty;
        digest.add(std::span<const double>(*values));
        benchmark::DoNotOptimize(digest);
    });
    const auto a = filled(empty, std::span(*values).first(stream_size / 2));
    std::vector<double> qs(65536); // more than branch prediction learns by heart
    for (std::size_t i = 0; i < qs.size(); ++i) qs[i] = (static_cast<double>(i * 40503 % qs.size()) + 0.5) / 65536;
    add_row("t-digest quantile", Digest::name, qs.size(), [a, qs] {
        for (const double q : qs) benchmark::DoNotOptimize(a.quantile(q));
    });
    auto xs = qs;
    for (double& x : xs) x = a.quantile(x);
    add_row("t-digest cdf", Digest::name, xs.size(), [a, xs] {
        for (const double x : xs) benchmark::DoNotOptimize(a.cdf(x));
    });
    merge_row(Digest::name, empty, *values);
}

void quantile_rows() {
    const auto values =
        std::make_shared<const std::vector<double>>(support::values_of(support::distributions[3], stream_size, 1));
    const std::string add = "add to a quantile sketch, lognormal";
    digest_rows(add, "qsketch tdigest, batch", our_digest(), values);
    merge_row("qsketch, compression 25", our_digest(25), *values);
    add_row(add, "qsketch tdigest", stream_size, [values] {
        qsketch::tdigest<> sketch;
        for (const double x : *values) sketch.add(x);
        benchmark::DoNotOptimize(sketch.count());
    });
    add_row(add, "qsketch log_histogram, batch", stream_size, [values] {
        qsketch::log_histogram<> sketch;
        sketch.add(std::span<const double>(*values));
        benchmark::DoNotOptimize(sketch.count());
    });
    rivals::for_each_digest(
        100, [&](const auto& empty) { digest_rows(add, empty.full_name + std::string(" 100"), empty, values); });
    add_row(add, "DataSketches KLL 200", stream_size, [values] {
        datasketches::kll_sketch<double> sketch(200);
        for (const double x : *values) sketch.update(x);
        benchmark::DoNotOptimize(sketch.get_n());
    });
    add_row(add, "std::sort of blocks of 4096", stream_size, [values, block = std::vector<double>(4096)]() mutable {
        for (std::size_t from = 0; from < stream_size; from += block.size()) {
            std::copy_n(values->begin() + static_cast<std::ptrdiff_t>(from), block.size(), block.begin());
            std::sort(block.begin(), block.end());
            benchmark::DoNotOptimize(block.data());
        }
    });

    const auto our = filled(our_digest(), *values);
    const auto their = filled(rivals::datasketches_digest(100), *values);
    const auto our_image = our.serialize();
    const auto their_image = their.get().serialize();
    add_row("t-digest serialize", ours, 1, [our] { benchmark::DoNotOptimize(our.serialize()); });
    add_row("t-digest serialize", theirs, 1, [their] { benchmark::DoNotOptimize(their.get().serialize()); });
    add_row("t-digest deserialize", ours, 1,
            [our_image] { benchmark::DoNotOptimize(qsketch::tdigest<>::deserialize(our_image)); });
    add_row("t-digest deserialize", theirs, 1, [their_image] {
        benchmark::DoNotOptimize(datasketches::tdigest<double>::deserialize(their_image.data(), their_image.size()));
    });
}

void distinct_rows(std::uint8_t precision) {
    using hll = qsketch::hyperloglog<std::uint64_t>;
    using ull = qsketch::ultraloglog<std::uint64_t>;
    using their_hll = datasketches::hll_sketch;
    using their_union = datasketches::hll_union;
    std::vector<std::uint64_t> made(stream_size);
    support::random_bits random(1);
    std::ranges::generate(made, random);
    const auto keys = std::make_shared<const std::vector<std::uint64_t>>(std::move(made));
    const std::string p = ", precision " + std::to_string(precision);

    const auto fill = [](auto sketch, std::span<const std::uint64_t> some) {
        sketch.add(some);
        return sketch;
    };
    const auto fill_theirs = [=](std::span<const std::uint64_t> some) {
        their_hll sketch(precision, datasketches::HLL_8);
        for (const std::uint64_t key : some) sketch.update(key);
        return sketch;
    };
    for (const std::size_t n : {std::size_t{1000}, stream_size}) {
        const std::string add = "add " + std::to_string(n) + " distinct keys" + p;
        const auto each = [&](const std::string& who, auto one) {
            add_row(add, who, stream_size / n * n, [=] {
                for (std::size_t i = 0; i < stream_size / n; ++i)
                    benchmark::DoNotOptimize(one(std::span(*keys).subspan(i * n, n)));
            });
        };
        each("qsketch hyperloglog, batch", [=](auto some) { return fill(hll(precision), some).precision(); });
        each("qsketch ultraloglog, batch", [=](auto some) { return fill(ull(precision), some).precision(); });
        each("qsketch hyperloglog", [=](auto some) {
            hll sketch(precision);
            for (const std::uint64_t key : some) sketch.add(key);
            return sketch.precision();
        });
        each("DataSketches HLL_8", [=](auto some) { return fill_theirs(some).get_lg_config_k(); });
    }

    // As many as fit the cache, so that it is not the reading of them that is measured.
    constexpr std::size_t texts = 20'000;
    const auto bytes = std::make_shared<std::string>(16 * texts, ' ');
    for (char& byte : *bytes) byte = static_cast<char>(random());
    const auto text = [bytes](std::size_t i) { return std::string_view(*bytes).substr(16 * i, 16); };
    const std::string add_texts = "add 20000 strings of 16 bytes" + p;
    add_row(add_texts, "qsketch hyperloglog", texts, [=] {
        qsketch::hyperloglog<std::string_view> sketch(precision);
        for (std::size_t i = 0; i < texts; ++i) sketch.add(text(i));
        benchmark::DoNotOptimize(sketch);
    });
    add_row(add_texts, "DataSketches HLL_8", texts, [=] {
        their_hll sketch(precision, datasketches::HLL_8);
        for (std::size_t i = 0; i < texts; ++i) sketch.update(text(i).data(), 16);
        benchmark::DoNotOptimize(sketch);
    });

    const auto some = std::span(*keys).first(stream_size / 2);
    const auto others = std::span(*keys).last(stream_size / 2);
    const auto merge_row = [&](const std::string& who, auto a, auto b) {
        add_row("merge two counts" + p, who, 1, [a, b]() mutable {
            a.merge(b);
            benchmark::DoNotOptimize(a.precision());
        });
        add_row("estimate a count, nothing kept" + p, who, 1, [a] { benchmark::DoNotOptimize(a.estimate()); });
    };
    merge_row("qsketch hyperloglog", fill(hll(precision), some), fill(hll(precision), others));
    merge_row("qsketch ultraloglog", fill(ull(precision), some), fill(ull(precision), others));
    their_union whole(precision);
    whole.update(fill_theirs(some));
    const auto other = fill_theirs(others);
    add_row("merge two counts" + p, "DataSketches HLL_8", 1, [whole, other]() mutable {
        whole.update(other);
        benchmark::DoNotOptimize(whole.get_lg_config_k());
    });
}

void frequency_rows() {
    constexpr std::size_t distinct = 200'000;
    std::vector<double> up_to(distinct);
    double sum = 0;
    for (std::size_t k = 0; k < distinct; ++k) up_to[k] = sum += std::pow(static_cast<double>(k + 1), -1.1);
    support::random_bits random(1);
    std::vector<std::uint64_t> made(stream_size);
    for (std::uint64_t& key : made)
        key = static_cast<std::uint64_t>(std::ranges::lower_bound(up_to, random.unit() * sum) - up_to.begin());
    const auto keys = std::make_shared<const std::vector<std::uint64_t>>(std::move(made));

    for (const std::uint32_t width : {std::uint32_t{1} << 12, std::uint32_t{1} << 20}) {
        const std::string size = ", 4 rows of " + std::to_string(width);
        using plain = qsketch::count_min<std::uint64_t>;
        using conservative = qsketch::count_min<std::uint64_t, qsketch::conservative>;
        using their_sketch = datasketches::count_min_sketch<std::uint64_t>;
        const auto our = std::make_shared<plain>(plain::dimensions{.width = width, .depth = 4});
        const auto careful = std::make_shared<conservative>(conservative::dimensions{.width = width, .depth = 4});
        const auto their = std::make_shared<their_sketch>(std::uint8_t{4}, width);
        const std::string add = "count_min add, Zipf 1.1" + size;
        add_row(add, "qsketch, batch", stream_size, [=] { our->add(std::span(*keys)); });
        add_row(add, "qsketch conservative, batch", stream_size, [=] { careful->add(std::span(*keys)); });
        add_row(add, theirs, stream_size, [=] {
            for (const std::uint64_t key : *keys) their->update(key);
        });
        const std::string estimate = "count_min estimate, Zipf 1.1" + size;
        add_row(estimate, "qsketch, batch", stream_size, [=, out = std::vector<std::uint64_t>(stream_size)]() mutable {
            our->estimate(std::span(*keys), out);
            benchmark::DoNotOptimize(out.data());
        });
        add_row(estimate, theirs, stream_size, [=] {
            for (const std::uint64_t key : *keys) benchmark::DoNotOptimize(their->get_estimate(key));
        });
    }

    const std::string top = "add to the top 100, Zipf 1.1";
    add_row(top, "qsketch top_k, batch", stream_size,
            [keys, sketch = qsketch::top_k<std::uint64_t>(100)]() mutable { sketch.add(std::span(*keys)); });
    // 4096 places of 18 bytes each, of which three quarters are filled: the memory of top_k(100), rounded up.
    add_row(top, "DataSketches frequent items, 4096", stream_size,
            [keys, sketch = datasketches::frequent_items_sketch<std::uint64_t>(12)]() mutable {
                for (const std::uint64_t key : *keys) sketch.update(key);
            });
}

} // namespace

int main(int argc, char** argv) {
    quantile_rows();
    distinct_rows(12);
    distinct_rows(14);
    frequency_rows();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
