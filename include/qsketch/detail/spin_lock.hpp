#pragma once

#include <atomic>
#include <thread>

namespace qsketch::inline v0::detail {

/// For what takes as long as one add, and where hardly anybody waits: taking it and giving it back costs a third of
/// what std::mutex costs, whose function calls are most of it. Those who wait let others run.
class spin_lock {
public:
    [[nodiscard]] bool try_lock() noexcept {
        return !held_.load(std::memory_order_relaxed) && !held_.exchange(true, std::memory_order_acquire);
    }
    void lock() noexcept {
        while (!try_lock()) std::this_thread::yield();
    }
    void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
    std::atomic<bool> held_{false};
};

} // namespace qsketch::inline v0::detail
