#pragma once

#include <unistd.h>

#include <future>
#include <system_error>
#include <type_traits>
#include <utility>

namespace qsketch_server {

/// Calls f on a thread of its own, and returns or throws what f does. Where others want the processor too, that thread
/// and those it makes get a third of the share of a common one. And the thread that waits here owes nothing afterwards:
/// Linux lets who has had more than its share wait, which is not to be done by the next small request. Where the system
/// has no thread to give, f is called on this one.
template <class Function>
auto unhurried(Function&& f) {
    std::future<std::invoke_result_t<Function>> done;
    try {
        done = std::async(std::launch::async, [&] {
            [[maybe_unused]] const int level = ::nice(5); // of this thread, on Linux
            return std::forward<Function>(f)();
        });
    } catch (const std::system_error&) {
        return f();
    }
    return done.get();
}

} // namespace qsketch_server
