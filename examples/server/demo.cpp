#include "demo.hpp"

#include "application.hpp"
#include "routes.hpp"

#include <qsketch/hash.hpp>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <numbers>
#include <string_view>

namespace qsketch_server {
namespace {

using namespace std::chrono_literals;
using std::chrono::sys_seconds;

/// Numbers that depend on a second and on what they are for, and on nothing else.
class dice {
public:
    dice(sys_seconds second, std::uint64_t purpose)
        : state_(qsketch::hash{}(static_cast<std::uint64_t>(second.time_since_epoch().count()) * 16 + purpose)) {}

    std::uint64_t bits() { return state_ = qsketch::hash{}(state_ + 1); }
    /// From 0 to 1, 1 excluded.
    double share() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
    /// Of a standard normal law, nearly.
    double normal() {
        return std::numbers::sqrt2 * (share() + share() + share() + share() + share() + share() - 3); // 6 / 12 each
    }
    /// How many of something that comes at that rate.
    int count(double rate) { return static_cast<int>(rate + share()); }
    /// 0 to n - 1, small numbers much more often.
    std::uint32_t popular(std::uint32_t n) { return static_cast<std::uint32_t>(std::pow(share(), 3) * n); }

private:
    std::uint64_t state_;
};

/// How much is going on: from 0.3 by night to 1.7 in the early afternoon, a quarter more or less from minute to minute.
[[nodiscard]] double busy(sys_seconds second) {
    const auto t = static_cast<double>(second.time_since_epoch().count() % 86'400);
    const double hour = t / 3600;
    return (1 - 0.7 * std::cos((hour - 2) / 12 * std::numbers::pi)) *
           (1 + 0.15 * std::sin(t / 31) + 0.1 * std::sin(t / 9.7));
}

/// In each seven minutes some half minute is bad.
[[nodiscard]] bool bad_moment(sys_seconds second) {
    const auto since_epoch = second.time_since_epoch();
    dice d(sys_seconds(since_epoch - since_epoch % 7min), 1);
    const auto begin = static_cast<std::int64_t>(d.share() * 390);
    const auto now = (since_epoch % 7min).count();
    return now >= begin && now < begin + 30;
}

struct service {
    std::string_view key;
    double rate;
    double median;
    double spread;  ///< Of the logarithm.
    double suffers; ///< How much slower a bad moment makes it.
};
constexpr std::array<service, 4> services = {{{"checkout.ms", 5, 84, 0.55, 6},
                                              {"search.ms", 12, 23, 0.8, 2},
                                              {"login.ms", 3, 140, 0.3, 1.2},
                                              {"image.bytes", 8, 38'000, 1.1, 1}}};

constexpr std::array<std::string_view, 12> top_pages = {"/",        "/search", "/cart",    "/checkout",
                                                        "/offers",  "/login",  "/account", "/help",
                                                        "/returns", "/gift",   "/contact", "/imprint"};
constexpr std::uint32_t articles = 400;
constexpr std::uint32_t users = 30'000;

[[nodiscard]] std::int64_t millis(sys_seconds second, dice& d) {
    return second.time_since_epoch().count() * 1000 + static_cast<std::int64_t>(d.share() * 1000);
}

} // namespace

void add_samples(demo_events& to, sys_seconds second) {
    dice d(second, 2);
    const bool bad = bad_moment(second);
    for (const service& s : services)
        for (int n = d.count(s.rate * busy(second)); n > 0; --n) {
            const double load = (0.9 + 0.15 * busy(second)) * (bad ? s.suffers : 1);
            const double value = s.median * load * std::exp(s.spread * d.normal());
            fmt::format_to(std::back_inserter(to.samples), "{{\"key\":\"{}\",\"value\":{:.4g},\"timestamp\":{}}}\n",
                           s.key, value, millis(second, d));
        }
}

void add_visits_and_views(demo_events& to, sys_seconds second) {
    dice d(second, 3);
    for (int n = d.count(3 * busy(second)); n > 0; --n) {
        const std::uint32_t user = d.popular(users);
        const std::int64_t at = millis(second, d);
        fmt::format_to(std::back_inserter(to.visits), "{{\"timestamp\":{},\"user\":\"user-{}\",\"type\":\"{}\"}}\n", at,
                       user, d.share() < 0.2 ? "click" : "impression");
        if (d.share() > 0.4) continue; // the page is not of those that are counted
        const std::uint32_t page = d.popular(articles + top_pages.size());
        const std::string url = page < top_pages.size() ? std::string(top_pages[page])
                                                        : fmt::format("/article/{}", page - top_pages.size() + 1);
        fmt::format_to(std::back_inserter(to.views),
                       "{{\"request_id\":{},\"user_id\":{},\"created_at\":{},\"page_url\":\"{}\"}}\n", d.bits(), user,
                       at, url);
    }
}

demo::demo(application& app) : app_(app), thread_([this](const std::stop_token& stop) { run(stop); }) {}
demo::~demo() = default;

void demo::post(answer (*handler)(application&, const request&), std::string& body) {
    if (body.empty()) return;
    body.reserve(body.size() + 64);
    request rq;
    rq.method = "POST";
    rq.body = body;
    rq.content_type = "application/x-ndjson";
    rq.id = "demo";
    answer got;
    try {
        got = handler(app_, rq);
    } catch (...) {
        got = exception_answer(std::current_exception(), rq, error_style::envelope);
    }
    if (got.status >= 300 && !warned_) {
        warned_ = true; // once: the reasons seldom change from second to second
        spdlog::warn("--demo: {}: {}", got.status, got.body);
    }
    body.clear();
}

void demo::feed_past(sys_seconds until, const std::stop_token& stop) {
    // The youngest first, so that a page that is opened at once has something to show.
    const auto steps = [&](std::chrono::seconds length, std::chrono::seconds step, auto feed) {
        const auto kept = std::chrono::floor<std::chrono::minutes>(length) - 1min;
        for (sys_seconds to = until; to > until - kept && !stop.stop_requested(); to -= step)
            for (sys_seconds s = (std::max)(to - step, until - kept); s < to; s += 1s) feed(s, s + 1s == to);
    };
    demo_events events;
    if (app_.samples.size() == 0)
        steps((std::min<std::chrono::seconds>)(1h, app_.opts.window_retention), 5min, [&](sys_seconds s, bool last) {
            add_samples(events, s);
            if (last) post(post_samples, events.samples);
        });
    const auto back = std::chrono::floor<std::chrono::seconds>(app_.opts.retention);
    const auto since_first = std::chrono::floor<std::chrono::seconds>(until - app_.opts.first_slice);
    if (app_.audience.all().empty())
        steps((std::min)({std::chrono::seconds(24h), back, since_first}), 15min, [&](sys_seconds s, bool last) {
            add_visits_and_views(events, s);
            if (!last) return;
            post(post_analytics, events.visits);
            post(post_views, events.views);
        });
    if (!stop.stop_requested()) spdlog::info("--demo: the past is fed");
}

void demo::run(const std::stop_token& stop) {
    const auto this_second = [&] { return std::chrono::floor<std::chrono::seconds>(app_.now()); };
    sys_seconds next = this_second();
    feed_past(next, stop);
    std::mutex mutex;
    std::condition_variable_any over;
    while (!stop.stop_requested()) {
        demo_events events;
        for (const sys_seconds now = this_second(); next < now; next += 1s) {
            if (next < now - 60s) next = now - 60s; // it was asleep
            add_samples(events, next);
            add_visits_and_views(events, next);
        }
        post(post_samples, events.samples);
        post(post_analytics, events.visits);
        post(post_views, events.views);
        std::unique_lock lock(mutex);
        over.wait_for(lock, stop, 200ms, [] { return false; });
    }
}

} // namespace qsketch_server
