#include "domain/sample_batch.hpp"

#include "support/catch.hpp"
#include "support/generators.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

using namespace qsketch_server;

TEST_CASE("Samples of a batch are series by series in the order of time, and within a second as they came") {
    support::random_bits random(1);
    // Few seconds, as many as there are samples, and far more.
    for (const std::uint64_t seconds : {1U, 10U, 500U, 40'000U}) {
        struct sample {
            std::size_t series;
            std::int64_t second;
            std::uint64_t line;
        };
        std::vector<sample> samples;
        sample_batch batch;
        for (std::uint64_t line = 1; line <= 500; ++line) {
            const sample s{static_cast<std::size_t>(random.below(5)),
                           static_cast<std::int64_t>(random.below(seconds)) - 20, line};
            samples.push_back(s);
            batch.add(line, "series " + std::to_string(s.series), instant(std::chrono::seconds(s.second)),
                      static_cast<double>(line));
        }
        batch.group_by_series();
        std::stable_sort(samples.begin(), samples.end(),
                         [](const sample& a, const sample& b) { return a.second < b.second; });
        REQUIRE(batch.size() == 5);
        for (std::size_t series = 0; series < 5; ++series) {
            const auto group = batch.find("series " + std::to_string(series));
            REQUIRE(group);
            std::vector<std::int64_t> times;
            std::vector<double> values;
            std::vector<std::uint32_t> lines;
            for (const sample& s : samples) {
                if (s.series != series) continue;
                times.push_back(s.second);
                values.push_back(static_cast<double>(s.line));
                lines.push_back(static_cast<std::uint32_t>(s.line));
            }
            CHECK(std::ranges::equal(batch[*group].seconds, times));
            CHECK(std::ranges::equal(batch[*group].values, values));
            CHECK(std::ranges::equal(batch[*group].lines, lines));
        }
    }
}
