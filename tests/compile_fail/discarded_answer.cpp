#include <qsketch/tdigest.hpp>

void test(const qsketch::tdigest<>& digest) {
#ifdef BAD
    digest.quantile(0.5);
#else
    static_cast<void>(digest.quantile(0.5));
#endif
}
