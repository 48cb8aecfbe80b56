#pragma once

#include "http/framing.hpp"
#include "http/gate.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace qsketch_server {

/// Leaves the memory that most requests need, and no more: assignment would leave all.
inline void make_empty(std::string& s) {
    constexpr std::size_t most_kept = 1024;
    s.clear();
    if (s.capacity() > most_kept) s.shrink_to_fit();
}

/// A socket, the request that arrives there or is worked on, and what of its answer has not been sent.
struct gate::connection {
    using clock = std::chrono::steady_clock;

    /// What the connection waits for; it decides which deadline runs and what the end of it means.
    enum class stage { idle, request, busy, answer, linger };

    int fd = -1;
    std::atomic<stage> at = stage::idle;
    std::atomic<std::int64_t> since = 0;    // when the stage began
    std::atomic<std::int64_t> deadline = 0; // of the stage
    std::atomic<bool> expired = false;
    std::string in; // received, not used
    std::size_t scanned = 0;
    bool has_head = false;
    bool peer_done = false; // it sends nothing more
    exchange current;
    chunked_decoder chunks;
    std::string out;
    std::size_t sent = 0;
    bool last = false;  // ends with this answer
    bool begun = false; // a head has begun, and its deadline runs
    lane* home = nullptr;
    std::uint32_t watched = 0; // the events its lane's epoll set waits for; none: it is not in the set
    std::optional<load> aside; // its thread has passed the lane on
    load wanted = load::slow;  // what it has found no place for
    // The kernel passes a connection on in order, but that is no order the language knows: this is.
    std::atomic<bool> handed_over = false;
    std::size_t counted = 0;
    std::size_t lingered = 0;

    [[nodiscard]] static std::int64_t ticks(clock::time_point t) noexcept { return t.time_since_epoch().count(); }

    template <class Allowance>
    void enter(stage next, Allowance allowance) {
        const auto now = clock::now();
        since = ticks(now);
        deadline = ticks(now + allowance);
        at = next;
    }
};

} // namespace qsketch_server
