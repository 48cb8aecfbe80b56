#include <qsketch/qsketch.hpp>

int main() {
    qsketch::tdigest<> digest;
    digest.add(1.0);
    return digest.quantile(0.5) == 1.0 ? 0 : 1;
}
