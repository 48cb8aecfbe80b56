#pragma once

#include <atomic>
#include <cstdint>

namespace qsketch::inline v0::detail {

/// A lock of four bytes for many readers or one writer. A writer first keeps out who comes after it and then waits for
/// the readers inside, so that readers who overlap cannot keep it waiting for good.
class entry_lock {
public:
    void lock() noexcept {
        std::uint32_t state = 0;
        for (;;) {
            if ((state & writer) != 0)
                state = changed(state);
            else if (state_.compare_exchange_weak(state, state | writer, std::memory_order_acquire,
                                                  std::memory_order_relaxed))
                break;
        }
        for (state |= writer; (state & readers) != 0;) state = changed(state);
    }

    /// Fails if anybody is inside.
    [[nodiscard]] bool try_lock() noexcept {
        std::uint32_t state = 0;
        return state_.compare_exchange_strong(state, writer, std::memory_order_acquire, std::memory_order_relaxed);
    }

    void unlock() noexcept {
        if ((state_.exchange(0, std::memory_order_release) & sleepers) != 0) state_.notify_all();
    }

    void lock_shared() noexcept {
        std::uint32_t state = 0;
        for (;;) {
            if ((state & writer) != 0)
                state = changed(state);
            else if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                                  std::memory_order_relaxed))
                return;
        }
    }

    void unlock_shared() noexcept {
        if (state_.fetch_sub(1, std::memory_order_release) != (writer | sleepers | 1)) return;
        // Should others have gone to sleep since, they are woken for nothing.
        state_.fetch_and(~sleepers, std::memory_order_relaxed);
        state_.notify_all();
    }

private:
    static constexpr std::uint32_t writer = std::uint32_t{1} << 31;
    static constexpr std::uint32_t sleepers = std::uint32_t{1} << 30; // only together with `writer`
    static constexpr std::uint32_t readers = sleepers - 1;

    /// Sleeps while the state, which has a writer, stays as it is; returns what it is then.
    [[nodiscard]] std::uint32_t changed(std::uint32_t state) noexcept {
        if ((state & sleepers) == 0 &&
            !state_.compare_exchange_strong(state, state | sleepers, std::memory_order_acquire))
            return state;
        state_.wait(state | sleepers, std::memory_order_relaxed);
        return state_.load(std::memory_order_acquire);
    }

    std::atomic<std::uint32_t> state_ = 0; // and how many readers are inside
};

} // namespace qsketch::inline v0::detail
