#pragma once

#include <chrono>
#include <cstdint>
#include <ratio>

namespace support {

/// A clock that stands still until told otherwise. Copies share the hands of the one they were copied from; `reads`
/// counts how often anyone looked.
template <class Period = std::milli>
class mock_clock {
public:
    using rep = std::int64_t;
    using period = Period;
    using duration = std::chrono::duration<rep, period>;
    using time_point = std::chrono::time_point<mock_clock>;
    static constexpr bool is_steady = false;

    struct hands {
        time_point now{};
        int reads = 0;
    };

    mock_clock() = default;
    explicit mock_clock(hands& shared) : hands_(&shared) {}

    [[nodiscard]] time_point now() const noexcept {
        if (hands_ == nullptr) return time_point{};
        ++hands_->reads;
        return hands_->now;
    }

private:
    hands* hands_ = nullptr;
};

} // namespace support
