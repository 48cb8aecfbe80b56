#pragma once

#include <semaphore.h>

#include <algorithm>
#include <thread>

namespace qsketch_server {

/// Two for each processor, as one may wait for the disk: more requests at work at the same time would push each other
/// out of its caches.
class workplaces {
public:
    /// Taken where it is made, which waits until one is free.
    class place {
    public:
        explicit place(workplaces& of) noexcept : of_(of) {
            while (::sem_wait(&of_.free_) != 0) { // a signal came
            }
        }
        ~place() { ::sem_post(&of_.free_); }
        place(const place&) = delete;
        place& operator=(const place&) = delete;

    private:
        workplaces& of_;
    };

    workplaces() noexcept { ::sem_init(&free_, 0, 2 * (std::max)(std::thread::hardware_concurrency(), 1u)); }
    ~workplaces() { ::sem_destroy(&free_); }
    workplaces(const workplaces&) = delete;
    workplaces& operator=(const workplaces&) = delete;

private:
    ::sem_t free_; // that of the standard library spins first
};

} // namespace qsketch_server
