#include <qsketch/hyperloglog.hpp>
#include <qsketch/ultraloglog.hpp>

#include "support/catch.hpp"
#include "support/distinct_accuracy.hpp"

#include <cstdint>

namespace {

using counter = qsketch::ultraloglog<std::uint64_t>;

void check(const support::promise& p) { support::check_promise<counter>(p); }

constexpr std::array<double, 3> small_coverage{0.68, 0.945, 0.985};
constexpr std::array<double, 3> large_coverage{0.68, 0.95, 0.995};

} // namespace

TEST_CASE("bias, error and coverage of the bounds are as promised: 16 registers of recent ranks") {
    check({4, 8'000, 0.006, 1.06, small_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 64 registers of recent ranks") {
    check({6, 3'000, 0.0025, 1.02, small_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 256 registers of recent ranks") {
    check({8, 1'000, 0.001, 1.01, large_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 1024 registers of recent ranks") {
    check({10, 300, 0.001, 1.0, large_coverage});
}
TEST_CASE("bias, error and coverage of the bounds are as promised: 4096 registers of recent ranks") {
    check({12, 60, 0.001, 1.0, large_coverage});
}

TEST_CASE("the same of recent ranks with trials enough to resolve a bias of 0.1 %", "[.long]") {
    check({4, 400'000, 0.006, 1.06, small_coverage});
    check({6, 200'000, 0.0025, 1.02, small_coverage});
    check({8, 60'000, 0.001, 1.01, large_coverage});
    check({10, 12'000, 0.001, 1.0, large_coverage});
    check({12, 3'000, 0.001, 1.0, large_coverage});
    check({14, 500, 0.001, 1.0, large_coverage});
}

TEST_CASE("4 KiB of recent ranks are within 1.2 %, where the largest ranks alone reach 1.6 %") {
    CHECK(counter(12).relative_error() < 0.012);
    CHECK(qsketch::hyperloglog<>(12).relative_error() > 0.016);
}
