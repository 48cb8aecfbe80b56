#pragma once

#include <sched.h>
#include <unistd.h>

#include <cstddef>
#include <functional>
#include <future>
#include <system_error>
#include <type_traits>
#include <utility>

namespace qsketch_server {

/// In the midst of what takes long, lets others go first if any wait. Linux may do so by itself, but where it does not
/// when they wake up it will not before its next tick, which may be four milliseconds away.
class pauses {
public:
    /// `at_a_stretch` is what takes a tenth of a millisecond.
    explicit pauses(std::size_t at_a_stretch) noexcept : at_a_stretch_(at_a_stretch) {}

    /// So much more is done.
    void after(std::size_t work) noexcept {
        done_ += work;
        if (done_ < at_a_stretch_) return;
        done_ = 0;
        if (others_wait != nullptr && *others_wait && (*others_wait)()) ::sched_yield();
    }

    /// Of this thread. Only asked for, since who yields for nothing loses a turn to other programs.
    static inline thread_local const std::function<bool()>* others_wait = nullptr;

private:
    std::size_t at_a_stretch_;
    std::size_t done_ = 0;
};

/// Calls f on a thread of its own, and returns or throws what f does. Where others want the processor too, that thread
/// and those it makes get a sixth of the share of a common one, and where `others_wait` says so it pauses. And the
/// thread that waits here owes nothing afterwards: Linux lets who has had more than its share wait, which is not to be
/// done by the next small request. Where the system has no thread to give, f is called on this one.
template <class Function>
auto unhurried(Function&& f, const std::function<bool()>& others_wait = {}) {
    std::future<std::invoke_result_t<Function>> done;
    try {
        done = std::async(std::launch::async, [&] {
            [[maybe_unused]] const int level = ::nice(8); // of this thread, on Linux
            pauses::others_wait = &others_wait;
            return std::forward<Function>(f)();
        });
    } catch (const std::system_error&) {
        return f();
    }
    return done.get();
}

} // namespace qsketch_server
