#pragma once

#include <simdjson.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

namespace qsketch_server {

/// A JSON parser for a body of a given size, waited for if need be: it takes some 14 times the memory of what it
/// parses, and threads are many. Each has one for small bodies; up to a MiB there is one for each core, and of larger
/// ones two.
class borrowed_parser {
public:
    static constexpr std::size_t small_body = std::size_t{64} << 10;
    static constexpr std::size_t medium_body = std::size_t{1} << 20;
    static constexpr std::ptrdiff_t large_bodies_at_once = 2;

    explicit borrowed_parser(std::size_t body) : large_(body > medium_body) {
        if (body <= small_body) return;
        own_ = std::make_unique<simdjson::dom::parser>(); // which takes its memory when it parses
        if (large_) {
            large_turns.acquire();
            return;
        }
        std::unique_lock lock(medium.mutex);
        medium.returned.wait(lock, [] { return medium.lent < medium.most; });
        ++medium.lent;
        if (medium.idle.empty()) return;
        own_ = std::move(medium.idle.back());
        medium.idle.pop_back();
    }
    ~borrowed_parser() {
        if (large_) {
            own_.reset();
            large_turns.release();
        } else if (own_) {
            const std::lock_guard lock(medium.mutex);
            medium.idle.push_back(std::move(own_));
            --medium.lent;
            medium.returned.notify_one();
        }
    }
    borrowed_parser(const borrowed_parser&) = delete;
    borrowed_parser& operator=(const borrowed_parser&) = delete;

    [[nodiscard]] simdjson::dom::parser& operator*() const noexcept {
        static thread_local simdjson::dom::parser small;
        return own_ ? *own_ : small;
    }

private:
    struct stock {
        stock() { idle.reserve(most); }
        const std::size_t most = (std::max)(1U, std::thread::hardware_concurrency());
        std::mutex mutex;
        std::condition_variable returned;
        std::size_t lent = 0;
        std::vector<std::unique_ptr<simdjson::dom::parser>> idle;
    };
    static inline std::counting_semaphore<large_bodies_at_once> large_turns{large_bodies_at_once};
    static inline stock medium;

    bool large_;
    std::unique_ptr<simdjson::dom::parser> own_;
};

} // namespace qsketch_server
