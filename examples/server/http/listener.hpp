#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace qsketch_server {

struct listening {
    int fd;          ///< Non-blocking; the caller's to close.
    std::string url; ///< Of the place, with the port that was picked.
    bool loopback;   ///< No other machine reaches it.
};

/// Binds and listens. Port 0 picks one.
/// Throws std::runtime_error if the host is unknown or the port taken, and, unless `anywhere`, if the host is not this
/// machine's loopback.
[[nodiscard]] listening listen_on(const std::string& host, std::uint16_t port, bool anywhere);

/// 127.0.0.1 or ::1, without the port.
[[nodiscard]] std::string address_of(const sockaddr_storage& address);

} // namespace qsketch_server
