#include <qsketch/tdigest.hpp>

#include <cstddef>
#include <span>

#ifdef BAD
using element = int; // whose bytes would depend on the machine
#else
using element = std::byte;
#endif

void test(std::span<const element> image) { static_cast<void>(qsketch::tdigest<>::deserialize(image)); }
