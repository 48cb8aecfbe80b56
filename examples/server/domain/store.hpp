#pragma once

#include "domain/instant.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

// What the endpoints ask of whatever keeps the data. All members may be called from any thread; when a call that
// writes returns, the write is visible to every later call. What is handed out is a copy: nobody holds a lock while an
// answer is written.
namespace qsketch_server {

/// Slices of time of equal length, numbered from a first one.
struct slicing {
    instant first{};
    std::chrono::milliseconds length = std::chrono::hours(1);

    [[nodiscard]] std::int64_t slice_of(instant t) const noexcept {
        const auto since = (t - first).count();
        return since / length.count() - (since % length.count() < 0 ? 1 : 0);
    }
    [[nodiscard]] instant start_of(std::int64_t slice) const noexcept { return first + slice * length; }
};

/// One click or impression. The user is known by a keyed hash only, which audience_store::pseudonym() makes.
struct visit {
    std::int64_t slice;
    std::uint64_t user;
    bool click;
};

/// What is known of one slice.
struct slice_figures {
    std::int64_t slice = 0;
    std::uint64_t clicks = 0;
    std::uint64_t impressions = 0;
    double unique_users = 0;
    double unique_users_lower = 0; ///< 95 % confidence, as is the upper bound.
    double unique_users_upper = 0;
};

class audience_store {
public:
    virtual ~audience_store() = default;

    /// 64 bits that stand for this user in this slice, and say nothing about who it is or about other slices.
    [[nodiscard]] virtual std::uint64_t pseudonym(std::int64_t slice, std::string_view user) const noexcept = 0;
    /// Counts the visits; may reorder them.
    virtual void count(std::span<visit> visits) = 0;
    /// All zero for a slice in which nothing happened.
    [[nodiscard]] virtual slice_figures figures(std::int64_t slice) const = 0;
    /// Every slice in which something happened, oldest first.
    [[nodiscard]] virtual std::vector<slice_figures> all() const = 0;
    /// Forgets the slices before this one.
    virtual void expire_before(std::int64_t slice) = 0;
};

} // namespace qsketch_server
