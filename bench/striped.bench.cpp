// Many threads adding to one sketch: time on the wall for each value added by any of them (`each`), while 1, 2, 4 and 8
// threads add as fast as they can. Per sketch the reference rows come first: the sketch without any lock, for one
// thread, and one mutex around it. Values are made outside the timing. Compare rows of one run only:
//     striped_bench --benchmark_repetitions=9 --benchmark_report_aggregates_only=true
//         --benchmark_enable_random_interleaving=true

#include <qsketch/qsketch.hpp>

#include <benchmark/benchmark.h>

#include "support/distributions.hpp"
#include "support/generators.hpp"

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace {

constexpr std::size_t round_size = 4096;

template <class Sketch>
Sketch prototype() {
    if constexpr (requires { Sketch::for_error(0.001, 0.01); })
        return Sketch::for_error(0.001, 0.01);
    else if constexpr (std::constructible_from<Sketch, std::uint32_t> && !std::default_initializable<Sketch>)
        return Sketch(100);
    else
        return Sketch();
}

template <class Sketch>
const auto& values() {
    if constexpr (qsketch::quantile_sketch<Sketch>) {
        static const auto made = support::values_of(support::distributions[3], std::size_t{1} << 16, 1);
        return made;
    } else {
        static const auto made = support::skewed_keys(std::size_t{1} << 16, 100'000, 1);
        return made;
    }
}
template <class Sketch>
using value_of = typename std::decay_t<decltype(values<Sketch>())>::value_type;

template <class Sketch>
struct bare {
    static constexpr const char* name = "no lock";
    explicit bare(const Sketch& prototype) : sketch(prototype) {}
    struct handle {
        explicit handle(bare& to) : sketch(to.sketch) {}
        template <class T>
        void add(const T& value) {
            sketch.add(value);
        }
        Sketch& sketch;
    };
    Sketch sketch;
};

template <class Sketch>
struct one_mutex {
    static constexpr const char* name = "one mutex";
    explicit one_mutex(const Sketch& prototype) : sketch(prototype) {}
    struct handle {
        explicit handle(one_mutex& to) : all(to) {}
        template <class T>
        void add(const T& value) {
            const std::lock_guard held(all.lock);
            all.sketch.add(value);
        }
        one_mutex& all;
    };
    std::mutex lock;
    Sketch sketch;
};

/// Buffers with locks of their own, which flow into one sketch: what folly's DigestBuilder does, with a buffer for each
/// thread in place of one for each processor.
template <class Sketch>
struct shared_buffers {
    static constexpr const char* name = "buffers before one sketch";
    using T = value_of<Sketch>;
    static constexpr std::size_t capacity = 1024;
    struct alignas(128) buffer {
        std::mutex lock;
        std::vector<T> values;
    };
    explicit shared_buffers(const Sketch& prototype) : buffers(8), sketch(prototype) {}
    struct handle {
        explicit handle(shared_buffers& to) : all(to), at(to.handles++ % to.buffers.size()) {}
        void add(const T& value) {
            std::unique_lock held(all.buffers[at].lock, std::try_to_lock);
            while (!held) held = std::unique_lock(all.buffers[++at %= all.buffers.size()].lock, std::try_to_lock);
            std::vector<T>& values = all.buffers[at].values;
            if (values.capacity() == 0) values.reserve(capacity);
            values.push_back(value);
            if (values.size() < capacity) return;
            const std::lock_guard shared(all.lock);
            all.sketch.add(std::span<const T>(values));
            values.clear();
        }
        shared_buffers& all;
        std::size_t at;
    };
    std::vector<buffer> buffers;
    std::atomic<std::size_t> handles = 0;
    std::mutex lock;
    Sketch sketch;
};

template <class Sketch>
struct stripes {
    static constexpr const char* name = "striped";
    explicit stripes(const Sketch& prototype) : all(prototype, 8) {}
    struct handle {
        explicit handle(stripes& to) : all(to.all) {}
        template <class T>
        void add(const T& value) {
            all.add(value);
        }
        qsketch::striped<Sketch>& all;
    };
    qsketch::striped<Sketch> all;
};

template <class Sketch>
struct writers : stripes<Sketch> {
    static constexpr const char* name = "writer of striped";
    using stripes<Sketch>::stripes;
    struct handle : qsketch::writer<Sketch> {
        explicit handle(writers& to) : qsketch::writer<Sketch>(to.all) {}
    };
};

template <class Way>
std::unique_ptr<Way> under_test; // made by the library's Setup, before any thread starts

template <class Sketch, template <class> class Way>
void rows(const char* sketch, int most_threads) {
    const auto add = [](benchmark::State& state) {
        const auto& all = values<Sketch>();
        typename Way<Sketch>::handle to(*under_test<Way<Sketch>>);
        std::size_t from = static_cast<std::size_t>(state.thread_index()) * (all.size() / 8);
        for (auto _ : state) {
            for (const auto& value : std::span(all).subspan(from, round_size)) to.add(value);
            from = (from + round_size) % all.size();
        }
        state.counters["each"] =
            benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(round_size),
                               benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
    };
    benchmark::RegisterBenchmark((std::string(sketch) + ", " + Way<Sketch>::name).c_str(), add)
        ->Setup([](const benchmark::State&) {
            under_test<Way<Sketch>> = std::make_unique<Way<Sketch>>(prototype<Sketch>());
        })
        ->Teardown([](const benchmark::State&) { under_test<Way<Sketch>>.reset(); })
        ->ThreadRange(1, most_threads)
        ->UseRealTime();
}

/// What only hyperloglog has.
template <class Sketch>
struct registers {
    static constexpr const char* name = "concurrent_hyperloglog";
    explicit registers(const Sketch& sketch) : all(sketch.precision()) {}
    struct handle {
        explicit handle(registers& to) : all(to.all) {}
        void add(value_of<Sketch> value) { all.add(value); }
        qsketch::concurrent_hyperloglog<value_of<Sketch>>& all;
    };
    qsketch::concurrent_hyperloglog<value_of<Sketch>> all;
};

template <class Sketch>
void all_rows(const char* sketch) {
    rows<Sketch, bare>(sketch, 1);
    rows<Sketch, one_mutex>(sketch, 8);
    rows<Sketch, shared_buffers>(sketch, 8);
    rows<Sketch, stripes>(sketch, 8);
    rows<Sketch, writers>(sketch, 8);
    if constexpr (qsketch::distinct_sketch<Sketch>) rows<Sketch, registers>(sketch, 8);
}

} // namespace

int main(int argc, char** argv) {
    using key = std::uint64_t;
    all_rows<qsketch::tdigest<>>("tdigest");
    all_rows<qsketch::log_histogram<>>("log_histogram");
    all_rows<qsketch::hyperloglog<key>>("hyperloglog");
    all_rows<qsketch::count_min<key>>("count_min");
    all_rows<qsketch::count_min<key, qsketch::conservative>>("count_min, conservative");
    all_rows<qsketch::top_k<key>>("top_k");
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
}
