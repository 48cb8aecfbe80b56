#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

namespace qsketch_server {

/// Who works on what, where there are more threads than lanes of work: a lane is held by one thread at a time, and a
/// thread that is about to wait passes its lane on. The thread that came last gets the next lane, so that as few of
/// them as possible are kept warm.
template <class Lane>
class rota {
public:
    /// Waits for a lane. Null when end() has been called.
    [[nodiscard]] Lane* take() {
        std::unique_lock lock(mutex_);
        if (ended_) return nullptr;
        if (!free_.empty()) {
            Lane* const lane = free_.back();
            free_.pop_back();
            return lane;
        }
        seat mine;
        waiting_.push_back(&mine);
        mine.called.wait(lock, [&] { return mine.lane != nullptr || ended_; });
        return mine.lane;
    }

    /// For a lane that the caller holds, or a new one.
    void pass(Lane& lane) {
        const std::lock_guard lock(mutex_);
        if (waiting_.empty()) {
            free_.push_back(&lane);
            return;
        }
        seat& next = *waiting_.back();
        waiting_.pop_back();
        next.lane = &lane;
        next.called.notify_one(); // under the lock: the seat ends with its thread's wait
    }

    void end() {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        for (seat* s : waiting_) s->called.notify_one();
        waiting_.clear();
    }

private:
    struct seat {
        std::condition_variable called;
        Lane* lane = nullptr;
    };

    std::mutex mutex_;
    std::vector<Lane*> free_;
    std::vector<seat*> waiting_;
    bool ended_ = false;
};

} // namespace qsketch_server
