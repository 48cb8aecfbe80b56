#pragma once

#include "domain/instant.hpp"
#include "domain/problem.hpp"
#include "http/answer.hpp"
#include "storage/storage.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace qsketch_server {

/// An Idempotency-Key that has come with another request before.
class key_used_before : public invalid_fields {
public:
    using invalid_fields::invalid_fields;
};

/// What requests with an Idempotency-Key were answered, so that one that is sent again is answered the same and does
/// nothing. It is kept in the same commit as what the request changed.
class repeats {
public:
    static constexpr std::chrono::hours remembered{24};
    static constexpr std::size_t max_key_bytes = 255;
    static constexpr std::size_t max_body_bytes = std::size_t{64} << 10; ///< A longer answer is kept without its body.

    repeats(storage& rows, wall_clock now) : rows_(rows), now_(std::move(now)) {}

    [[nodiscard]] static table_rules rules(wall_clock now);

    /// A request that has a key; while it is there, others with the same key wait.
    class turn {
    public:
        /// `place` is what keys belong to: a client's use of a route. Two requests are the same if they have the same
        /// fingerprint. Waits for its turn. Throws invalid_fields if the key is not 1 to max_key_bytes characters of
        /// visible ASCII, key_used_before, storage_error.
        turn(repeats& all, std::string_view place, const std::string& key, std::uint64_t fingerprint);
        ~turn();
        turn(const turn&) = delete;
        turn& operator=(const turn&) = delete;

        /// What the request was answered before: 200 without a body if the server ended before it knew. Nothing if this
        /// is the first time.
        [[nodiscard]] std::optional<answer>& known() noexcept { return known_; }

        /// Adds to the changes of this request that it has been here, and how it is answered if that is known by then.
        void join(changes& what, const answer* acknowledged);

        /// Keeps the answer, a success, unless that is done. Throws storage_error; what join() has added stays.
        void finish(const answer& acknowledged);

    private:
        void look_up();
        void leave() noexcept;
        [[nodiscard]] std::string row(const answer* acknowledged) const;

        repeats& all_;
        std::string key_;
        std::uint64_t fingerprint_;
        std::optional<answer> known_;
        bool kept_ = false; // the answer, in a commit that is over or under way
    };

private:
    storage& rows_;
    wall_clock now_;
    std::mutex mutex_;
    std::condition_variable over_;
    std::unordered_set<std::string> under_way_;
};

} // namespace qsketch_server
