#pragma once

#include "http/gate.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

namespace qsketch_server {

/// The events of an epoll set that have come and are not served yet go with the lane to its next thread.
struct gate::lane {
    static constexpr int batch = 64;
    int epoll = -1;
    std::array<epoll_event, batch> events;
    int next = 0;
    int count = 0;

    lane() : epoll(::epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll < 0) throw std::system_error(errno, std::generic_category(), "cannot watch sockets");
    }
    ~lane() { ::close(epoll); }
    lane(const lane&) = delete;
    lane& operator=(const lane&) = delete;

    void watch(int fd, std::uint32_t what, void* who, int action = EPOLL_CTL_ADD) const noexcept {
        epoll_event event{};
        event.events = what;
        event.data.ptr = who;
        ::epoll_ctl(epoll, action, fd, &event);
    }
};

} // namespace qsketch_server
