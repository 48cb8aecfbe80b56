#pragma once

#include <semaphore.h>

#include <mutex>
#include <vector>

namespace qsketch_server {

/// Who works on what, where there are more threads than lanes of work: a lane is held by one thread at a time, and a
/// thread that is about to wait passes its lane on. The thread that came last gets the next lane, so that as few of
/// them as possible are kept warm.
template <class Lane>
class rota {
public:
    /// Where a thread waits; it has one for as long as it calls take().
    class seat {
    public:
        seat() noexcept { ::sem_init(&called_, 0, 0); }
        ~seat() { ::sem_destroy(&called_); }
        seat(const seat&) = delete;
        seat& operator=(const seat&) = delete;

    private:
        friend rota;
        ::sem_t called_; // that of the standard library spins first, and a thread that spins keeps a core from others
        Lane* lane_ = nullptr;
    };

    /// Waits for a lane. Null when end() has been called.
    [[nodiscard]] Lane* take(seat& mine) {
        {
            const std::lock_guard lock(mutex_);
            if (ended_) return nullptr;
            if (!free_.empty()) {
                Lane* const lane = free_.back();
                free_.pop_back();
                return lane;
            }
            mine.lane_ = nullptr;
            waiting_.push_back(&mine);
        }
        while (::sem_wait(&mine.called_) != 0) { // a signal came
        }
        return mine.lane_;
    }

    /// For a lane that the caller holds, or a new one.
    void pass(Lane& lane) {
        seat* next = nullptr;
        {
            const std::lock_guard lock(mutex_);
            if (waiting_.empty()) {
                free_.push_back(&lane);
                return;
            }
            next = waiting_.back();
            waiting_.pop_back();
        }
        next->lane_ = &lane;
        ::sem_post(&next->called_);
    }

    void end() {
        const std::lock_guard lock(mutex_);
        ended_ = true;
        for (seat* s : waiting_) ::sem_post(&s->called_);
        waiting_.clear();
    }

private:
    std::mutex mutex_;
    std::vector<Lane*> free_;
    std::vector<seat*> waiting_;
    bool ended_ = false;
};

} // namespace qsketch_server
