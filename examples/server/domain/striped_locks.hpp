#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace qsketch_server {

/// Locks for any number of things that are known by numbers; some share one.
class striped_locks {
public:
    /// Waits until nobody else has locked any of them. They stay locked until the last copy of the result is gone,
    /// which is to be on this thread.
    [[nodiscard]] std::shared_ptr<void> lock(std::vector<std::uint64_t> numbers) {
        for (std::uint64_t& n : numbers) n %= stripes_.size();
        // In this order by everybody, so that nobody waits in a circle.
        std::sort(numbers.begin(), numbers.end());
        numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
        auto held = std::make_shared<std::vector<std::unique_lock<std::mutex>>>();
        held->reserve(numbers.size());
        for (const std::uint64_t n : numbers) held->emplace_back(stripes_[n]);
        return held;
    }

private:
    std::array<std::mutex, 1024> stripes_;
};

} // namespace qsketch_server
