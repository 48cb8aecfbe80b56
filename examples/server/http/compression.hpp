#pragma once

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace qsketch_server {

/// How a body is packed (RFC 9110, 8.4.1).
enum class coding { gzip, deflate };

/// Of a Content-Encoding in lower case; nothing if it is none of these, or more than one.
[[nodiscard]] std::optional<coding> coding_of(std::string_view content_encoding) noexcept;

/// Does an Accept-Encoding in lower case take gzip?
[[nodiscard]] bool takes_gzip(std::string_view accept_encoding) noexcept;

/// At level 1. Throws std::bad_alloc.
[[nodiscard]] std::string gzipped(std::string_view text);

/// A body that has been unpacked, and its share of what all of them may take together.
class unpacked_body {
public:
    struct limits {
        std::size_t body;     ///< Bytes of one body.
        std::size_t together; ///< Bytes of all that are there at once.
    };

    /// Unpacks no further than the limits allow, so what is packed small and large inside costs no more than those.
    /// `in_use` counts the bytes of all bodies there are, and must outlive them.
    /// Throws malformed_request unless `packed` is whole and valid, refused_request where a limit is reached (413; 503
    /// for all together), std::bad_alloc.
    unpacked_body(std::string_view packed, coding how, limits most, std::atomic<std::size_t>& in_use);
    ~unpacked_body() { in_use_ -= counted_; }
    unpacked_body(const unpacked_body&) = delete;
    unpacked_body& operator=(const unpacked_body&) = delete;

    /// 64 bytes behind it may be read.
    [[nodiscard]] std::string_view text() const noexcept { return text_; }

private:
    void unpack(std::string_view packed, coding how, limits most);
    void grow_to(std::size_t size, std::size_t most_together);

    std::atomic<std::size_t>& in_use_;
    std::size_t counted_ = 0;
    std::string text_;
};

} // namespace qsketch_server
