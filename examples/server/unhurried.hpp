#pragma once

#include <unistd.h>

#include <future>
#include <utility>

namespace qsketch_server {

/// Calls f on a thread of its own, and returns or throws what f does. Where others want the processor too, that thread
/// and those it makes get a third of the share of a common one. And the thread that waits here owes nothing afterwards:
/// Linux lets who has had more than its share wait, which is not to be done by the next small request.
template <class Function>
auto unhurried(Function&& f) {
    return std::async(std::launch::async,
                      [&] {
                          [[maybe_unused]] const int level = ::nice(5); // of this thread, on Linux
                          return std::forward<Function>(f)();
                      })
        .get();
}

} // namespace qsketch_server
