#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace qsketch_server {

/// Lets any number of threads in, or one that keeps all others out. Who closes it keeps newcomers waiting at once, so
/// that it empties. Other than with a shared mutex, a thread may leave for another one that has entered.
class turnstile {
public:
    /// Inside as long as the object lives. Nobody may enter twice, or close from inside.
    class visit {
    public:
        explicit visit(turnstile& t) : turnstile_(t) {
            std::unique_lock lock(t.mutex_);
            t.changed_.wait(lock, [&] { return !t.closed_; });
            ++t.inside_;
        }
        visit(const visit&) = delete;
        visit& operator=(const visit&) = delete;
        ~visit() {
            const std::lock_guard lock(turnstile_.mutex_);
            if (--turnstile_.inside_ == 0) turnstile_.changed_.notify_all();
        }

    private:
        turnstile& turnstile_;
    };

    /// Alone inside as long as the object lives.
    class closure {
    public:
        explicit closure(turnstile& t) : turnstile_(t) {
            std::unique_lock lock(t.mutex_);
            t.changed_.wait(lock, [&] { return !t.closed_; });
            t.closed_ = true;
            t.changed_.wait(lock, [&] { return t.inside_ == 0; });
        }
        closure(const closure&) = delete;
        closure& operator=(const closure&) = delete;
        ~closure() {
            const std::lock_guard lock(turnstile_.mutex_);
            turnstile_.closed_ = false;
            turnstile_.changed_.notify_all();
        }

    private:
        turnstile& turnstile_;
    };

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t inside_ = 0;
    bool closed_ = false;
};

} // namespace qsketch_server
