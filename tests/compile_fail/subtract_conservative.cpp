#include <qsketch/count_min.hpp>

#include <cstdint>

#ifdef BAD
using policy = qsketch::conservative;
#else
using policy = qsketch::plain;
#endif

void test(qsketch::count_min<std::uint64_t, policy>& a, const qsketch::count_min<std::uint64_t, policy>& b) {
    a.subtract(b);
}
