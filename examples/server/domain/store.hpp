#pragma once

#include "domain/instant.hpp"
#include "domain/sample_sketch.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
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

struct sample {
    instant at;
    double value;
};

/// Samples of one key, in any order.
struct keyed_samples {
    std::string key;
    std::vector<sample> samples;
};

/// What a window holds: all samples with from <= time < to.
struct window_view {
    sample_sketch samples;
    instant from;
    instant to;
};

class series_store {
public:
    virtual ~series_store() = default;

    /// Adds the samples, sorting them by time. False, with nothing added, if the key is new and no more keys may be.
    [[nodiscard]] virtual bool add(keyed_samples& batch) = 0;
    /// All samples with now - length < time <= now, and what else is in the first and the last second of that interval;
    /// nothing for an unknown key.
    [[nodiscard]] virtual std::optional<window_view> window(std::string_view key, std::chrono::seconds length,
                                                            instant now) const = 0;
    /// At most `limit` keys that begin with `prefix` and come after `after`, in byte order.
    [[nodiscard]] virtual std::vector<std::string> keys(std::string_view prefix, std::string_view after,
                                                        std::size_t limit) const = 0;
    /// False for an unknown key.
    [[nodiscard]] virtual bool erase(std::string_view key) = 0;
    /// Forgets the keys whose newest sample is older than this.
    virtual void expire_before(instant oldest) = 0;
    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
};

} // namespace qsketch_server
