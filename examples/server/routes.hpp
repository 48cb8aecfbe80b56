#pragma once

#include "http/access.hpp"
#include "http/answer.hpp"
#include "http/errors.hpp"
#include "http/rate_limit.hpp"
#include "http/request.hpp"

#include <span>
#include <string_view>

namespace qsketch_server {

struct application;

/// Always answered within some tens of microseconds, or says itself when it is about to wait: such a request is
/// answered by the thread that received it, others by one that has stepped aside.
enum class pace { quick, slow };

/// One row a method and path. A {…} in a pattern stands for one byte or more, whatever they are.
struct route {
    std::string_view method;
    std::string_view pattern;
    answer (*handler)(application&, const request&);
    error_style errors;
    scope needs;
    asker who;
    pace takes;
    std::string_view doc;
};

/// Everything the server answers, apart from HEAD (as GET) and OPTIONS (what is allowed).
[[nodiscard]] std::span<const route> routes() noexcept;

/// Finds the row and calls its handler; all errors are answers too. `target` is path and query as sent; it fills in
/// the request's path and query.
[[nodiscard]] answer dispatch(application& app, request& rq, std::string_view target);

/// Is this somebody whose body is worth waiting for?
[[nodiscard]] bool may_send_body(const application& app, std::string_view method, std::string_view target,
                                 const std::optional<std::string>& authorization);

/// How the path of a target writes its errors.
[[nodiscard]] error_style error_style_of(std::string_view target) noexcept;

// The handlers: each parses, validates, asks a store, answers.
answer post_analytics(application& app, const request& rq);
answer get_analytics(application& app, const request& rq);
answer get_per_worker(application& app, const request& rq);
answer get_all_slices(application& app, const request& rq);
answer post_worker(application& app, const request& rq);
answer get_worker(application& app, const request& rq);

answer post_samples(application& app, const request& rq);
answer get_quantile(application& app, const request& rq);
answer get_cdf(application& app, const request& rq);
answer get_frequency(application& app, const request& rq);
answer get_topk(application& app, const request& rq);
answer get_keys(application& app, const request& rq);
answer delete_key(application& app, const request& rq);

answer post_views(application& app, const request& rq);
answer post_view(application& app, const request& rq);
answer put_view(application& app, const request& rq);
answer get_daily_pages(application& app, const request& rq);
answer get_pages(application& app, const request& rq);

answer get_sketch(application& app, const request& rq);
answer put_sketch(application& app, const request& rq);

answer post_metrics(application& app, const request& rq);
answer post_insert(application& app, const request& rq);
answer get_aggregate(application& app, const request& rq);
answer post_compute(application& app, const request& rq);
answer get_average(application& app, const request& rq); // of GET /analytics without a timestamp

answer get_health(application& app, const request& rq);
answer get_metrics_page(application& app, const request& rq);
answer get_livez(application& app, const request& rq);
answer get_readyz(application& app, const request& rq);
answer get_openapi(application& app, const request& rq);
answer get_page(application& app, const request& rq);

} // namespace qsketch_server
