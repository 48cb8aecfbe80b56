#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

class changes;

struct answer {
    int status = 200;
    std::string content_type; ///< Empty without a body.
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string_view error_code{};      ///< Of an error; a literal.
    std::shared_ptr<changes> unsaved{}; ///< What has to be durable before anybody sees this.
};

[[nodiscard]] answer empty_answer(int status);
[[nodiscard]] answer text_answer(int status, std::string body);
[[nodiscard]] answer json_answer(int status, std::string body);

/// A JSON string, quotes included. Bytes that are not UTF-8 become '?'.
[[nodiscard]] std::string json_string(std::string_view text);
/// The shortest text that reads back as the same double; null for NaN and the infinities, which JSON has not.
[[nodiscard]] std::string json_number(double value);

} // namespace qsketch_server
