#ifdef BAD
#define __FAST_MATH__
#endif
#include <qsketch/hyperloglog.hpp>
#include <qsketch/log_histogram.hpp>
#include <qsketch/tdigest.hpp>

int main() {}
