#include "poison.hpp"

#include <qsketch/qsketch.hpp>

#if !defined(min) || !defined(max)
#error "list the standard header that undefined min and max in poison.hpp"
#endif

std::unique_ptr<qsketch::sliding_window<qsketch::tdigest<>>> second_window();
qsketch::hyperloglog<std::uint64_t> second_hyperloglog();

std::unique_ptr<qsketch::sliding_window<qsketch::tdigest<>>> second_window() {
    auto window = std::make_unique<qsketch::sliding_window<qsketch::tdigest<>>>(std::chrono::seconds(1), 5);
    window->add_at({}, 1.0);
    return window;
}

qsketch::hyperloglog<std::uint64_t> second_hyperloglog() {
    qsketch::hyperloglog<std::uint64_t> distinct(12);
    distinct.add(1);
    return distinct;
}
