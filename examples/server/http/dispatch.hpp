#pragma once

#include "http/answer.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace qsketch_server {

struct application;
struct request;

/// The rules that all routes have in common, in their order: token, rate limit, method, step aside or, if it is large,
/// wait for a place, unpack the body, call the handler, pack the answer. All errors are answers too. `target` is path
/// and query as sent; it fills in what the request has of them, and who sent it.
[[nodiscard]] answer dispatch(application& app, request& rq, std::string_view target);

/// Is this somebody whose body is worth waiting for?
[[nodiscard]] bool may_send_body(const application& app, std::string_view method, std::string_view target,
                                 const std::optional<std::string>& authorization);

/// The path of a target, still encoded.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;

} // namespace qsketch_server
