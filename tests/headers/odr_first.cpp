#include "poison.hpp"

#include <qsketch/qsketch.hpp>

#if !defined(min) || !defined(max)
#error "list the standard header that undefined min and max in poison.hpp"
#endif

std::unique_ptr<qsketch::sliding_window<qsketch::tdigest<>>> second_window();
qsketch::hyperloglog<std::uint64_t> second_hyperloglog();

/// What one translation unit made, the other one uses.
int main() {
    const auto window = second_window();
    window->add_at({}, 2.0);
    auto distinct = second_hyperloglog();
    distinct.add(2);
    const auto answer = window->query(std::chrono::seconds(1), {});
    return answer.sketch.count() == 2 && distinct.estimate() > 1.5 ? 0 : 1;
}
