#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include <cstdint>

#ifdef BAD
using other_hash = qsketch::sip_hash;
#else
using other_hash = qsketch::hash;
#endif

void test(qsketch::hyperloglog<std::uint64_t>& a, const qsketch::hyperloglog<std::uint64_t, other_hash>& b) {
    a.merge(b);
}
