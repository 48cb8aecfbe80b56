#include "http/metrics.hpp"

#include "routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace qsketch_server {
namespace {

[[nodiscard]] std::string labels_of(std::size_t place) {
    if (place == routes().size()) return R"(method="other",route="other")";
    const route& r = routes()[place];
    return fmt::format(R"(method="{}",route="{}")", r.method, r.pattern);
}

} // namespace

void metrics_page::metric(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void metrics_page::sample(std::uint64_t value, std::string_view labels, std::string_view suffix) {
    put(labels, suffix, fmt::format("{}", value));
}

void metrics_page::sample(double value, std::string_view labels, std::string_view suffix) {
    put(labels, suffix, fmt::format("{}", value));
}

void metrics_page::put(std::string_view labels, std::string_view suffix, std::string_view value) {
    if (labels.empty())
        fmt::format_to(std::back_inserter(text_), "{}{} {}\n", name_, suffix, value);
    else
        fmt::format_to(std::back_inserter(text_), "{}{}{{{}}} {}\n", name_, suffix, labels, value);
}

void duration_histogram::record(std::chrono::nanoseconds took) noexcept {
    const auto at = std::find_if(bounds.begin(), bounds.end(), [&](const bound& b) { return took <= b.at_most; });
    counts_[static_cast<std::size_t>(at - bounds.begin())].fetch_add(1, std::memory_order_relaxed);
    nanoseconds_.fetch_add(static_cast<std::uint64_t>(took.count()), std::memory_order_relaxed);
}

std::uint64_t duration_histogram::count() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& n : counts_) sum += n.load(std::memory_order_relaxed);
    return sum;
}

void duration_histogram::write(metrics_page& page, const std::string& labels) const {
    const std::string comma = labels.empty() ? "" : ",";
    std::uint64_t so_far = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        so_far += counts_[i].load(std::memory_order_relaxed);
        const std::string_view le = i < bounds.size() ? bounds[i].seconds : "+Inf";
        page.sample(so_far, fmt::format(R"({}{}le="{}")", labels, comma, le), "_bucket");
    }
    page.sample(static_cast<double>(nanoseconds_.load(std::memory_order_relaxed)) / 1e9, labels, "_sum");
    page.sample(so_far, labels, "_count");
}

request_metrics::request_metrics() : routes_(routes().size() + 1) {}

void request_metrics::record(std::size_t route, const answer& a, std::chrono::nanoseconds took) noexcept {
    figures& f = routes_[route];
    const int status_class = std::clamp(a.status / 100, 1, 5) - 1;
    f.by_class[static_cast<std::size_t>(status_class)].fetch_add(1, std::memory_order_relaxed);
    f.took.record(took);
    if (a.error_code.empty()) return;
    const auto code = std::find(error_codes.begin(), error_codes.end(), a.error_code);
    errors_[static_cast<std::size_t>(code - error_codes.begin())].fetch_add(1, std::memory_order_relaxed);
}

void request_metrics::write(metrics_page& page) const {
    page.metric("qsketch_requests_total", "counter", "Requests answered, by route and class of the status.");
    for (std::size_t i = 0; i < routes_.size(); ++i)
        for (std::size_t c = 0; c < routes_[i].by_class.size(); ++c)
            if (const auto n = routes_[i].by_class[c].load(std::memory_order_relaxed); n > 0)
                page.sample(n, fmt::format(R"({},status="{}xx")", labels_of(i), c + 1));
    page.metric("qsketch_request_duration_seconds", "histogram",
                "Time from a request that is there as a whole to its answer, by route.");
    for (std::size_t i = 0; i < routes_.size(); ++i)
        if (routes_[i].took.count() > 0) routes_[i].took.write(page, labels_of(i));
    page.metric("qsketch_errors_total", "counter", "Errors answered, by their code.");
    for (std::size_t i = 0; i < error_codes.size(); ++i)
        page.sample(errors_[i].load(std::memory_order_relaxed), fmt::format(R"(code="{}")", error_codes[i]));
}

} // namespace qsketch_server
