#include <qsketch/sliding_window.hpp>
#include <qsketch/tdigest.hpp>

#include <vector>

#ifdef BAD
using element = std::vector<double>;
#else
using element = qsketch::tdigest<>;
#endif

void test(qsketch::sliding_window<element>& window) { window.clear(); }
