#include "http/framing.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace qsketch_server {
namespace {

constexpr framing_error malformed{400, "the request is not HTTP/1.1"};

constexpr std::size_t max_chunk_line = 4096; // a size, and extensions that nobody reads

[[nodiscard]] bool is_token(std::string_view text) noexcept {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
    });
}

[[nodiscard]] char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

[[nodiscard]] bool same(std::string_view a, std::string_view b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

[[nodiscard]] std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// Is `token` in a comma-separated list?
[[nodiscard]] bool lists(std::string_view list, std::string_view token) noexcept {
    while (!list.empty()) {
        const std::size_t comma = (std::min)(list.find(','), list.size());
        if (same(trimmed(list.substr(0, comma)), token)) return true;
        list.remove_prefix((std::min)(comma + 1, list.size()));
    }
    return false;
}

[[nodiscard]] std::optional<std::uint64_t> digits(std::string_view text, int base) noexcept {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

struct endpoint_field {
    std::string_view name;
    std::optional<std::string> request_head::*value;
    std::string_view twice; ///< What is wrong with two of them; empty for a list, which may come in several lines.
};

constexpr endpoint_field endpoint_fields[] = {
    {"accept", &request_head::accept, {}},
    {"accept-encoding", &request_head::accept_encoding, {}},
    {"authorization", &request_head::authorization, "Authorization is given twice"},
    {"content-encoding", &request_head::content_encoding, {}},
    {"content-type", &request_head::content_type, "Content-Type is given twice"},
    {"idempotency-key", &request_head::idempotency_key, "Idempotency-Key is given twice"},
    {"x-request-id", &request_head::request_id, "X-Request-Id is given twice"},
};

/// Keeps the field if an endpoint wants it.
[[nodiscard]] std::optional<framing_error> keep_field(std::string_view name, std::string_view value,
                                                      request_head& head) {
    const auto known = std::find_if(std::begin(endpoint_fields), std::end(endpoint_fields),
                                    [&](const endpoint_field& f) { return same(f.name, name); });
    if (known == std::end(endpoint_fields)) return {};
    auto& kept = head.*known->value;
    if (!kept)
        kept = value;
    else if (known->twice.empty())
        kept->append(", ").append(value);
    else
        return framing_error{400, known->twice};
    return {};
}

[[nodiscard]] std::optional<framing_error> parse_request_line(std::string_view line, request_head& head) {
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == line.npos || last == first) return malformed;
    const std::string_view method = line.substr(0, first);
    std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method) || target.empty() || target.find(' ') != target.npos) return malformed;
    if (version == "HTTP/1.0")
        head.keep_alive = false;
    else if (version != "HTTP/1.1")
        return version.starts_with("HTTP/") ? framing_error{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"}
                                            : malformed;
    if (target.size() > max_target_bytes) return framing_error{414, "the request target exceeds 7168 bytes"};
    for (const std::string_view scheme : {"http://", "https://"})
        if (same(target.substr(0, scheme.size()), scheme)) {
            const std::size_t slash = target.find('/', scheme.size());
            target = slash == target.npos ? "/" : target.substr(slash);
            break;
        }
    if (target.front() != '/' && target != "*") return malformed;
    head.method = method;
    head.target = target;
    return {};
}

} // namespace

std::size_t find_head(std::string_view bytes, std::size_t& scanned, std::optional<framing_error>& error) {
    for (; scanned < bytes.size(); ++scanned) {
        const auto c = static_cast<unsigned char>(bytes[scanned]);
        if (scanned >= max_head_bytes) {
            error = framing_error{431, "the request head exceeds 16 KiB"};
            return 0;
        }
        if (c == '\n') {
            if (scanned == 0 || bytes[scanned - 1] != '\r') {
                error = malformed;
                return 0;
            }
            if (scanned >= 3 && bytes.substr(scanned - 3, 4) == "\r\n\r\n") return ++scanned;
        } else if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f || (scanned > 0 && bytes[scanned - 1] == '\r')) {
            error = malformed;
            return 0;
        }
    }
    return 0;
}

std::optional<framing_error> parse_head(std::string_view bytes, request_head& head) {
    head = {};
    std::size_t end = bytes.find("\r\n");
    if (auto error = parse_request_line(bytes.substr(0, end), head)) return error;
    bytes.remove_prefix(end + 2);
    const bool needs_host = head.keep_alive; // HTTP/1.1, that is
    std::optional<std::uint64_t> length;
    bool closes = false;
    bool asks_keep_alive = false;
    bool hosts = false;
    std::size_t fields = 0;
    for (; (end = bytes.find("\r\n")) != 0; bytes.remove_prefix(end + 2)) {
        const std::string_view line = bytes.substr(0, end);
        const std::size_t colon = line.find(':');
        if (colon == line.npos || !is_token(line.substr(0, colon))) return malformed;
        if (++fields > max_header_fields) return framing_error{431, "the request has more than 100 header fields"};
        const std::string_view name = line.substr(0, colon);
        const std::string_view value = trimmed(line.substr(colon + 1));
        if (same(name, "content-length")) {
            if (length) return framing_error{400, "Content-Length is given twice"};
            length = value.find_first_not_of("0123456789") == value.npos ? digits(value, 10) : std::nullopt;
            if (!length) return framing_error{400, "Content-Length is not a number"};
        } else if (same(name, "transfer-encoding")) {
            if (head.chunked || !same(value, "chunked"))
                return framing_error{501, "no transfer coding but chunked is understood here"};
            head.chunked = true;
        } else if (same(name, "connection")) {
            closes = closes || lists(value, "close");
            asks_keep_alive = asks_keep_alive || lists(value, "keep-alive");
        } else if (same(name, "expect")) {
            if (!same(value, "100-continue"))
                return framing_error{417, "no expectation but 100-continue is understood here"};
            head.expects_continue = true;
        } else if (same(name, "host")) {
            if (std::exchange(hosts, true)) return framing_error{400, "Host is given twice"};
        } else if (auto error = keep_field(name, value, head)) {
            return error;
        }
    }
    if (closes)
        head.keep_alive = false;
    else if (asks_keep_alive)
        head.keep_alive = true;
    if (head.chunked && length) return framing_error{400, "Content-Length and Transfer-Encoding exclude each other"};
    if (needs_host && !hosts) return framing_error{400, "a request of HTTP/1.1 must name its Host"};
    head.content_length = length.value_or(0);
    return {};
}

std::size_t chunked_decoder::feed(std::string_view bytes, std::string& body, std::size_t limit) {
    std::size_t used = 0;
    while (used < bytes.size() && !done() && !broken() && !overflow_) {
        if (state_ == state::data) {
            const auto n = static_cast<std::size_t>((std::min<std::uint64_t>)(left_, bytes.size() - used));
            body.append(bytes.substr(used, n));
            used += n;
            left_ -= n;
            if (left_ == 0) state_ = state::data_end;
            continue;
        }
        const std::size_t newline = bytes.find('\n', used);
        const std::size_t end = newline == bytes.npos ? bytes.size() : newline + 1;
        const std::size_t start = std::exchange(used, end);
        line_.append(bytes.substr(start, end - start));
        if (state_ == state::trailer) trailer_bytes_ += end - start;
        if (line_.size() > max_chunk_line || trailer_bytes_ > max_head_bytes) {
            state_ = state::broken;
        } else if (newline != bytes.npos) {
            take_line();
            if (state_ == state::data && left_ > limit - (std::min)(limit, body.size())) overflow_ = true;
        }
    }
    return used;
}

void chunked_decoder::take_line() {
    std::string line = std::exchange(line_, {});
    if (line.size() < 2 || line[line.size() - 2] != '\r') {
        state_ = state::broken;
        return;
    }
    line.resize(line.size() - 2);
    if (state_ == state::data_end) {
        state_ = line.empty() ? state::size : state::broken;
    } else if (state_ == state::trailer) {
        if (line.empty()) state_ = state::done;
    } else {
        const auto size = digits(trimmed(std::string_view(line).substr(0, line.find(';'))), 16);
        state_ = !size ? state::broken : *size == 0 ? state::trailer : state::data;
        left_ = size.value_or(0);
    }
}

} // namespace qsketch_server
