#include <qsketch/qsketch.hpp>

#include <cstdio>

int main() {
    qsketch::tdigest<> digest;
    digest.add(1.0);
    std::printf("qsketch %d.%d.%d\n", QSKETCH_VERSION_MAJOR, QSKETCH_VERSION_MINOR, QSKETCH_VERSION_PATCH);
    return digest.quantile(0.5) == 1.0 ? 0 : 1;
}
