#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace qsketch_server {

/// RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// Is any byte an ASCII control character?
[[nodiscard]] bool has_control_characters(std::string_view text) noexcept;

/// 1 to `most` of the characters a-z, A-Z, 0-9, _, . and -?
[[nodiscard]] bool is_plain_name(std::string_view text, std::size_t most) noexcept;

/// A client's value as an error message shows it: quoted, at most 64 bytes of it, and bytes that are no readable text
/// replaced by '?'.
[[nodiscard]] std::string in_quotes(std::string_view value);

} // namespace qsketch_server
