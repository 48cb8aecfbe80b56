#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qsketch_server {

/// What the bytes of a request's head say about where the request ends and how its connection goes on, and the fields
/// that mean something to an endpoint. No other field goes any further.
struct request_head {
    std::string method;
    std::string target; ///< As sent, without scheme and host.
    bool keep_alive = true;
    bool expects_continue = false;
    bool chunked = false;
    std::uint64_t content_length = 0;
    // As sent, without the spaces around them. Lists that come in several lines are joined by commas.
    std::optional<std::string> accept;
    std::optional<std::string> accept_encoding;
    std::optional<std::string> authorization;
    std::optional<std::string> content_encoding;
    std::optional<std::string> content_type;
    std::optional<std::string> idempotency_key;
    std::optional<std::string> request_id;
};

/// Why a head is refused: then nobody knows where the next request begins, so the connection ends with the answer.
struct framing_error {
    int status;
    std::string_view message; ///< Of static storage.
};

inline constexpr std::size_t max_head_bytes = 16 * 1024;
inline constexpr std::size_t max_target_bytes = 7 * 1024; // fits the 8192 of a request line in cpp-httplib
inline constexpr std::size_t max_header_fields = 100;

/// Bytes that bodies may take together where one may have `max_body`.
[[nodiscard]] constexpr std::size_t bodies_together(std::size_t max_body) noexcept {
    return (std::max)(std::size_t{256} << 20, 4 * max_body);
}

/// How many bytes the head at the start of `bytes` takes, its empty line included; 0 if it has not all come yet.
/// `scanned` remembers what was looked at before. A bare LF, a control character or a head beyond max_head_bytes is an
/// error as soon as it is seen.
[[nodiscard]] std::size_t find_head(std::string_view bytes, std::size_t& scanned, std::optional<framing_error>& error);

/// Reads one whole head. Strict where two readers of the same bytes could disagree about where a body ends: one
/// Content-Length of digits only, no Content-Length beside Transfer-Encoding, no folded lines, no space before a colon.
[[nodiscard]] std::optional<framing_error> parse_head(std::string_view bytes, request_head& head);

/// Takes a chunked body out of a stream of bytes.
class chunked_decoder {
public:
    /// Appends what it can decode to `body` and returns how many bytes it used. Stops at the end of the body, at an
    /// error, and where `body` reaches `limit` bytes: then overflow() is true.
    std::size_t feed(std::string_view bytes, std::string& body, std::size_t limit);
    [[nodiscard]] bool done() const noexcept { return state_ == state::done; }
    [[nodiscard]] bool broken() const noexcept { return state_ == state::broken; }
    [[nodiscard]] bool overflow() const noexcept { return overflow_; }

private:
    enum class state { size, data, data_end, trailer, done, broken };

    void take_line();

    state state_ = state::size;
    std::string line_;
    std::uint64_t left_ = 0;
    std::size_t trailer_bytes_ = 0;
    bool overflow_ = false;
};

} // namespace qsketch_server
