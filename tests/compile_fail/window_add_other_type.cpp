#include <qsketch/sliding_window.hpp>
#include <qsketch/tdigest.hpp>

void test(qsketch::sliding_window<qsketch::tdigest<>>& window) {
#ifdef BAD
    window.add("12");
#else
    window.add(12.0);
#endif
}
