#include "http/listener.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <system_error>

namespace qsketch_server {
namespace {

constexpr int backlog = 1024;

[[nodiscard]] std::string system_message() { return std::error_code(errno, std::generic_category()).message(); }

[[nodiscard]] bool is_loopback(const sockaddr* address) noexcept {
    if (address->sa_family == AF_INET)
        return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

} // namespace

std::string address_of(const sockaddr_storage& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET6)
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text.data(), text.size());
    else
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
    return text.data();
}

listening listen_on(const std::string& host, std::uint16_t port, bool anywhere) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const std::string place = "--host=" + host + " --port=" + std::to_string(port);
    if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found))
        throw std::runtime_error("cannot listen on " + place + ": " + ::gai_strerror(error));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
    for (const addrinfo* a = found; a != nullptr && !anywhere; a = a->ai_next)
        if (!is_loopback(a->ai_addr))
            throw std::runtime_error("--host=" + host +
                                     " is reachable from other machines, and nobody is asked for a token; give "
                                     "--auth-tokens-file, or --insecure if that is meant");
    std::string why;
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
        const int fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        const int on = 1;
        // Without SO_REUSEPORT, with which a second server would take half of the connections and nobody would notice.
        if (fd >= 0 && ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
            ::bind(fd, a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd, backlog) == 0) {
            sockaddr_storage bound{};
            socklen_t size = sizeof bound;
            ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
            const bool v6 = bound.ss_family == AF_INET6;
            const auto chosen = ntohs(v6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                         : reinterpret_cast<sockaddr_in&>(bound).sin_port);
            const std::string address = address_of(bound);
            return {fd, "http://" + (v6 ? "[" + address + "]" : address) + ":" + std::to_string(chosen),
                    is_loopback(a->ai_addr)};
        }
        why = system_message();
        if (fd >= 0) ::close(fd);
    }
    throw std::runtime_error("cannot listen on " + place + ": " + why);
}

} // namespace qsketch_server
