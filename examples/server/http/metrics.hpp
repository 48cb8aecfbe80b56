#pragma once

#include "http/errors.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// A page of metrics in Prometheus' text format 0.0.4.
class metrics_page {
public:
    /// Begins a metric; its samples follow.
    void metric(std::string_view name, std::string_view type, std::string_view help);
    /// `labels` is `a="b",c="d"` or empty; `suffix` is what a histogram puts behind the name.
    void sample(std::uint64_t value, std::string_view labels = {}, std::string_view suffix = {});
    void sample(double value, std::string_view labels = {}, std::string_view suffix = {});
    /// A metric of one sample.
    template <class Number>
    void single(std::string_view name, std::string_view type, std::string_view help, Number value) {
        metric(name, type, help);
        sample(value);
    }

    [[nodiscard]] std::string text() && { return std::move(text_); }

private:
    void put(std::string_view labels, std::string_view suffix, std::string_view value);

    std::string name_;
    std::string text_;
};

/// How long something took, in buckets; an update is two additions.
class duration_histogram {
public:
    void record(std::chrono::nanoseconds took) noexcept;
    void write(metrics_page& page, const std::string& labels = {}) const;
    [[nodiscard]] std::uint64_t count() const noexcept;

private:
    struct bound {
        std::chrono::nanoseconds at_most;
        std::string_view seconds;
    };
    static constexpr std::array<bound, 11> bounds = {{{std::chrono::microseconds(100), "0.0001"},
                                                      {std::chrono::microseconds(300), "0.0003"},
                                                      {std::chrono::milliseconds(1), "0.001"},
                                                      {std::chrono::milliseconds(3), "0.003"},
                                                      {std::chrono::milliseconds(10), "0.01"},
                                                      {std::chrono::milliseconds(30), "0.03"},
                                                      {std::chrono::milliseconds(100), "0.1"},
                                                      {std::chrono::milliseconds(300), "0.3"},
                                                      {std::chrono::seconds(1), "1"},
                                                      {std::chrono::seconds(3), "3"},
                                                      {std::chrono::seconds(10), "10"}}};

    std::array<std::atomic<std::uint64_t>, bounds.size() + 1> counts_{};
    std::atomic<std::uint64_t> nanoseconds_ = 0;
};

/// What came in and how it was answered, by route. All members may be called from any thread.
class request_metrics {
public:
    request_metrics();

    /// `route` is the place in routes(), or their number for what is at none of them.
    void record(std::size_t route, const answer& a, std::chrono::nanoseconds took) noexcept;
    void write(metrics_page& page) const;

private:
    /// On cache lines of its own: threads that answer different requests do not take them from each other.
    struct alignas(64) figures {
        std::array<std::atomic<std::uint64_t>, 5> by_class{}; // 1xx to 5xx
        duration_histogram took;
    };

    std::vector<figures> routes_;
    std::array<std::atomic<std::uint64_t>, error_codes.size() + 1> errors_{}; // the last for none of them
};

} // namespace qsketch_server
