#pragma once

#include "domain/instant.hpp"

#include <chrono>
#include <cstdint>

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

/// One click or impression. The user is known by a keyed hash only, which audience::pseudonym() makes.
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

} // namespace qsketch_server
