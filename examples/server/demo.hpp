#pragma once

#include "domain/instant.hpp"

#include <stop_token>
#include <string>
#include <thread>

namespace qsketch_server {

struct answer;
struct application;
struct request;

/// What happened in one second of a shop that does not exist: bodies of NDJSON, events in the order of nothing.
struct demo_events {
    std::string samples; ///< For POST /samples: latencies of three services and the size of a fourth's answers.
    std::string visits;  ///< For POST /analytics.
    std::string views;   ///< For POST /api/traffic.
};

/// Adds the events of that second, of which more come by day than by night. The same second always has the same.
void add_samples(demo_events& to, std::chrono::sys_seconds second);
void add_visits_and_views(demo_events& to, std::chrono::sys_seconds second);

/// Feeds an application, by the handlers of clients' requests: first the day that is past, as far as there is nothing
/// in it yet, then every second when it is over.
class demo {
public:
    explicit demo(application& app);
    /// Returns when nothing is under way any more.
    ~demo();
    demo(const demo&) = delete;
    demo& operator=(const demo&) = delete;

private:
    void run(const std::stop_token& stop);
    void feed_past(std::chrono::sys_seconds until, const std::stop_token& stop);
    void post(answer (*handler)(application&, const request&), std::string& body);

    application& app_;
    bool warned_ = false;
    std::jthread thread_;
};

} // namespace qsketch_server
