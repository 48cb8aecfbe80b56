#pragma once

#include <cstddef>
#include <deque>
#include <mutex>

namespace qsketch_server {

/// Few do something at once, and who has to wait for that does so in a queue, without a thread.
template <class Waiting>
class places {
public:
    explicit places(std::size_t free) noexcept : free_(free) {}

    /// Is there a place? The caller has it then.
    [[nodiscard]] bool take() {
        const std::lock_guard lock(mutex_);
        if (free_ == 0) return false;
        --free_;
        return true;
    }

    /// As take(), but false leaves it in the queue.
    [[nodiscard]] bool take_or_queue(Waiting& who) {
        const std::lock_guard lock(mutex_);
        if (free_ == 0) {
            queue_.push_back(&who);
            return false;
        }
        --free_;
        return true;
    }

    /// Gives up a place, for the first in the queue: that one has it now. Null if nobody waits.
    [[nodiscard]] Waiting* pass() {
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) {
            ++free_;
            return nullptr;
        }
        Waiting* const next = queue_.front();
        queue_.pop_front();
        return next;
    }

private:
    std::mutex mutex_;
    std::size_t free_;
    std::deque<Waiting*> queue_; // empty while there are free places
};

} // namespace qsketch_server
