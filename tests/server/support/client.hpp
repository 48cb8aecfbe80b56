#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace server_test {

struct reply {
    int status = 0; ///< 0 if none came.
    std::string head;
    std::string body;

    /// The value of a header field, its name in lower case; empty if it is missing.
    [[nodiscard]] std::string header(const std::string& name) const {
        std::string lower = head;
        std::transform(lower.begin(), lower.end(), lower.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        const auto at = lower.find("\r\n" + name + ":");
        if (at == lower.npos) return {};
        const auto end = head.find("\r\n", at + 2);
        const auto from = (std::min)(head.find_first_not_of(' ', at + name.size() + 3), end);
        return head.substr(from, end - from);
    }
};

/// One connection, byte by byte as the test says.
class connection {
public:
    explicit connection(std::uint16_t port) {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            if (fd_ >= 0) ::close(fd_);
            throw std::runtime_error("cannot connect");
        }
        const int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    connection(connection&& other) noexcept : fd_(std::exchange(other.fd_, -1)), in_(std::move(other.in_)) {}
    ~connection() {
        if (fd_ >= 0) ::close(fd_);
    }

    /// False if the server has gone.
    bool send(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    void finish_sending() const { ::shutdown(fd_, SHUT_WR); }

    /// The next answer. `bodiless` where the request was HEAD.
    reply receive(std::chrono::milliseconds patience = std::chrono::seconds(10), bool bodiless = false) {
        const auto end = std::chrono::steady_clock::now() + patience;
        reply out;
        std::size_t head_end = 0;
        while ((head_end = in_.find("\r\n\r\n")) == in_.npos)
            if (!more(end)) return out;
        out.head = in_.substr(0, head_end + 2);
        in_.erase(0, head_end + 4);
        const std::string length = out.header("content-length");
        const std::size_t size = bodiless || length.empty() ? 0 : std::stoul(length);
        while (in_.size() < size)
            if (!more(end)) return out;
        out.body = in_.substr(0, size);
        in_.erase(0, size);
        out.status = std::atoi(out.head.substr(9, 3).c_str());
        return out;
    }

    /// Does the server end the connection in that time, whatever it sends before?
    bool ends_within(std::chrono::milliseconds patience) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (more(end)) in_.clear();
        return ended_;
    }

private:
    bool more(std::chrono::steady_clock::time_point end) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd ready{fd_, POLLIN, 0};
        if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) != 1) return false;
        std::array<char, 65536> buffer;
        const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
        ended_ = n <= 0;
        if (n > 0) in_.append(buffer.data(), static_cast<std::size_t>(n));
        return n > 0;
    }

    int fd_ = -1;
    bool ended_ = false;
    std::string in_;
};

/// One request on a connection of its own. `fields` are whole header lines with CRLF.
inline reply ask(std::uint16_t port, const std::string& method, const std::string& target, const std::string& body = {},
                 const std::string& fields = {}) {
    connection c(port);
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + fields;
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    c.send(text + "\r\n" + body);
    return c.receive(std::chrono::seconds(20), method == "HEAD");
}
inline reply get(std::uint16_t port, const std::string& target, const std::string& fields = {}) {
    return ask(port, "GET", target, {}, fields);
}
inline reply post_json(std::uint16_t port, const std::string& target, const std::string& body) {
    return ask(port, "POST", target, body, "Content-Type: application/json\r\n");
}
inline reply post_lines(std::uint16_t port, const std::string& target, const std::string& body) {
    return ask(port, "POST", target, body, "Content-Type: application/x-ndjson\r\n");
}

inline std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

} // namespace server_test
