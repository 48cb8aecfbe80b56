#include <qsketch/hyperloglog.hpp>
#include <qsketch/interchange/redis.hpp>

#include <string_view>

#ifdef BAD
using other = qsketch::redis::hyperloglog;
#else
using other = qsketch::hyperloglog<std::string_view>;
#endif

void test(qsketch::hyperloglog<std::string_view>& a, const other& b) { a.merge(b); }
