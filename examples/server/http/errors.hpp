#pragma once

#include "http/answer.hpp"

#include <exception>
#include <string>
#include <string_view>

namespace qsketch_server {

struct request;

/// How errors are written: family B keeps the form its clients know, where "error" is the sentence itself.
enum class error_style { envelope, sentence };

/// `details` is a JSON object.
[[nodiscard]] answer error_answer(int status, std::string_view message, error_style style,
                                  std::string_view details = "{}");

/// For a status that has more than one code.
[[nodiscard]] answer error_answer(int status, std::string_view code, std::string_view message, error_style style,
                                  std::string_view details);

/// The one place where an exception becomes an answer. What is not expected is logged with the request's id and
/// answered without its text.
[[nodiscard]] answer exception_answer(const std::exception_ptr& thrown, const request& rq, error_style style);

} // namespace qsketch_server
