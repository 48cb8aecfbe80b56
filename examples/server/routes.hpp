#pragma once

#include "http/access.hpp"
#include "http/answer.hpp"
#include "http/errors.hpp"
#include "http/rate_limit.hpp"
#include "http/request.hpp"

#include <span>
#include <string>
#include <string_view>

namespace qsketch_server {

struct application;

/// Quick: made within some tens of microseconds, and sent later if its changes are to be on disk first. That is done by
/// the thread that received the request; others are answered by one that has stepped aside.
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

/// The row of a method and a decoded path; null if there is none.
[[nodiscard]] const route* row_of(std::string_view method, std::string_view path) noexcept;

/// What the {…} of a row's pattern stands for in a path that fits; nothing where there is none.
[[nodiscard]] std::string_view rest_of(const route& row, std::string_view path) noexcept;

/// The methods of a path, or of all for "*": "GET, HEAD, POST, OPTIONS"; empty for an unknown path.
[[nodiscard]] std::string allowed_at(std::string_view path);

/// How a path writes its errors.
[[nodiscard]] error_style error_style_at(std::string_view path) noexcept;

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
