// The latencies of a service: one histogram a worker, no lock, merged for the report.
//
// log_histogram rather than tdigest, because a report that pages somebody wants a bound on its error.
#include <qsketch/log_histogram.hpp>

#include <cstdio>
#include <thread>
#include <vector>

namespace {

/// Stands in for a request: milliseconds, most of them few, every hundredth waiting for a disk.
double handle(unsigned request) { return request % 100 == 99 ? 250.0 + request % 7 : 2.0 + request % 10 * 0.1; }

} // namespace

int main() {
    constexpr unsigned workers = 4;
    constexpr unsigned requests = 100'000;

    std::vector<qsketch::log_histogram<>> latencies(workers, qsketch::log_histogram<>(0.01)); // within 1 %
    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < workers; ++worker)
        threads.emplace_back([&mine = latencies[worker], worker] {
            for (unsigned i = worker; i < requests; i += workers) mine.add(handle(i));
        });
    for (auto& thread : threads) thread.join();

    qsketch::log_histogram<> all = latencies.front();
    for (unsigned worker = 1; worker < workers; ++worker) all.merge(latencies[worker]);
    std::printf("%llu requests\n", static_cast<unsigned long long>(all.count()));
    for (const double q : {0.5, 0.9, 0.99, 0.999}) std::printf("p%-5g %6.1f ms\n", 100 * q, all.quantile(q));
    std::printf("over 100 ms: %.2f %%\n", 100 * (1 - all.cdf(100)));
    std::printf("%zu bytes to send\n", all.serialize().size());
}
