#pragma once

#include "http/answer.hpp"

#include <array>
#include <exception>
#include <string>
#include <string_view>

namespace qsketch_server {

struct request;

/// How errors are written: family B keeps the form its clients know, where "error" is the sentence itself.
enum class error_style { envelope, sentence };

/// All codes there are.
inline constexpr std::array<std::string_view, 13> error_codes = {
    "INVALID_REQUEST",        "VALIDATION_ERROR",  "AUTH_ERROR",          "NOT_FOUND",  "METHOD_NOT_ALLOWED",
    "PAYLOAD_TOO_LARGE",      "CARDINALITY_LIMIT", "RATE_LIMIT_EXCEEDED", "OVERLOADED", "STORAGE_ERROR",
    "UNSUPPORTED_MEDIA_TYPE", "CLUSTER_ERROR",     "INTERNAL_ERROR"};

/// `details` is a JSON object.
[[nodiscard]] answer error_answer(int status, std::string_view message, error_style style,
                                  std::string_view details = "{}");

/// For a status that has more than one code, which is one of error_codes.
[[nodiscard]] answer error_answer(int status, std::string_view code, std::string_view message, error_style style,
                                  std::string_view details);

/// The one place where an exception becomes an answer. What is not expected is logged with the request's id and
/// answered without its text.
[[nodiscard]] answer exception_answer(const std::exception_ptr& thrown, const request& rq, error_style style);

} // namespace qsketch_server
