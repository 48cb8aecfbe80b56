#pragma once

#include <semaphore.h>

namespace qsketch_server {

/// Counts what is free. That of the standard library spins before it waits, and a thread that spins keeps a core from
/// others.
class semaphore {
public:
    explicit semaphore(unsigned free) noexcept { ::sem_init(&free_, 0, free); }
    ~semaphore() { ::sem_destroy(&free_); }
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;

    /// Waits until there is one, and takes it.
    void lock() noexcept {
        while (::sem_wait(&free_) != 0) { // a signal came
        }
    }
    void unlock() noexcept { ::sem_post(&free_); }

private:
    ::sem_t free_;
};

} // namespace qsketch_server
