#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace support {

/// Calls work(0) .. work(count - 1), each in a thread of its own, all let go at once; throws what one of them threw.
template <class Work>
void run_threads(std::size_t count, const Work& work) {
    std::atomic<std::size_t> ready{0};
    std::vector<std::exception_ptr> errors(count);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            ++ready;
            while (ready < count) std::this_thread::yield();
            try {
                work(i);
            } catch (...) {
                errors[i] = std::current_exception();
            }
        });
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors)
        if (error) std::rethrow_exception(error);
}

} // namespace support
