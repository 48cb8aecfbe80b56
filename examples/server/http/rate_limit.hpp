#pragma once

#include <qsketch/keyed.hpp>
#include <qsketch/sip_hash.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace qsketch_server {

/// Who a route is for; each has a limit of its own.
enum class asker : std::uint8_t { client, node };

/// Requests a minute of one client, by asker; 0 is no limit.
using request_limits = std::array<std::uint32_t, 2>;

/// A token bucket for each client and asker: a minute's requests may come at once, and then one whenever its share of a
/// minute has gone by. Kept as the time at which the bucket will be full again (the generic cell rate algorithm), so a
/// client that has been quiet for a minute need not be remembered.
class rate_limiter {
public:
    using clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds window{60};
    static constexpr std::size_t max_clients = std::size_t{1} << 16;

    /// `key` keeps strangers from choosing addresses that are slow to look up.
    rate_limiter(request_limits limits, qsketch::sip_hash key, std::size_t clients = max_clients)
        : limits_(limits), buckets_(clients, {}, {}, key) {}

    /// Zero if the client may have its request now; else how long until it may, and nothing is counted. Clients for
    /// whom there is no room share one bucket.
    [[nodiscard]] clock::duration take(asker who, std::string_view client, clock::time_point now) {
        const std::uint32_t limit = limit_of(who);
        if (limit == 0) return {};
        clock::duration wait{};
        const auto count = [&](full_at& times) { wait = counted(times[static_cast<std::size_t>(who)], limit, now); };
        if (!buckets_.update_at(now, client, count)) {
            const std::lock_guard lock(others_mutex_);
            count(others_);
        }
        return wait;
    }

    [[nodiscard]] std::uint32_t limit_of(asker who) const noexcept { return limits_[static_cast<std::size_t>(who)]; }

    /// Forgets those whose buckets are full again.
    void expire(clock::time_point now) noexcept { buckets_.expire(now - window); }

    [[nodiscard]] std::size_t clients() const noexcept { return buckets_.size(); }

private:
    using full_at = std::array<clock::time_point, 2>;

    [[nodiscard]] static clock::duration counted(clock::time_point& full, std::uint32_t limit, clock::time_point now) {
        const clock::duration share = clock::duration(window) / limit;
        const auto begin = (std::max)(full, now);
        if (const auto wait = begin - now - share * (limit - 1); wait > clock::duration::zero()) return wait;
        full = begin + share;
        return {};
    }

    request_limits limits_;
    qsketch::keyed<std::string, full_at, qsketch::sip_hash> buckets_;
    std::mutex others_mutex_;
    full_at others_{};
};

/// What stands for the client of an address: the address, or of IPv6 the network of 64 bits, of which a single client
/// has all addresses. An IPv4 address written as IPv6 is the IPv4 address.
[[nodiscard]] std::string network_of(const std::string& address);

} // namespace qsketch_server
