#include "http/rate_limit.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace qsketch_server {

std::string network_of(const std::string& address) {
    in6_addr bytes{};
    if (address.find(':') == address.npos || ::inet_pton(AF_INET6, address.c_str(), &bytes) != 1) return address;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (IN6_IS_ADDR_V4MAPPED(&bytes)) return ::inet_ntop(AF_INET, bytes.s6_addr + 12, text.data(), text.size());
    std::memset(bytes.s6_addr + 8, 0, 8);
    return ::inet_ntop(AF_INET6, &bytes, text.data(), text.size());
}

} // namespace qsketch_server
