#include <qsketch/tdigest.hpp>

#ifdef BAD
using scale = qsketch::k1_scale;
#else
using scale = qsketch::quartic_scale;
#endif

void test(qsketch::tdigest<>& a, const qsketch::tdigest<scale>& b) { a.merge(b); }
