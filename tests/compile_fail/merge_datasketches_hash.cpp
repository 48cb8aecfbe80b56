#include <qsketch/hyperloglog.hpp>
#include <qsketch/interchange/datasketches_hll.hpp>

#include <string_view>

#ifdef BAD
using other = qsketch::datasketches::hyperloglog<>;
#else
using other = qsketch::hyperloglog<std::string_view>;
#endif

void test(qsketch::hyperloglog<std::string_view>& a, const other& b) { a.merge(b); }
