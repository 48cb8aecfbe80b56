#pragma once

namespace server_test {

/// Does a sanitizer add its own memory and time to what the program takes?
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

} // namespace server_test
