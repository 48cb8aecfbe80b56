#include <qsketch/hyperloglog.hpp>

#include <cstdint>
#include <functional>

#ifdef BAD
using hash = std::hash<std::uint64_t>; // differs between libraries, has no id, and may be the identity
#else
using hash = qsketch::hash;
#endif

void test(qsketch::hyperloglog<std::uint64_t, hash>& sketch) { sketch.add(1); }
