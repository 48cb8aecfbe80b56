// How much merging allocates, counted by an operator new of this program's own.

#include "support/catch.hpp"
#include "support/distributions.hpp"

#include <qsketch/tdigest.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>
#include <vector>

namespace {
std::size_t allocated = 0;
} // namespace

// Not inlined: compilers warn of a free() that they see next to their own operator new.
[[gnu::noinline]] void* operator new(std::size_t size) {
    allocated += size;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

std::size_t allocated_by_merging(std::size_t digests) {
    std::vector<qsketch::tdigest<>> parts(digests);
    std::vector<const qsketch::tdigest<>*> others;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        parts[i].add(std::span<const double>(support::values_of(support::distributions[0], 300, i)));
        others.push_back(&parts[i]);
    }
    qsketch::tdigest<> merged;
    const std::size_t before = allocated;
    merged.merge(std::span<const qsketch::tdigest<>* const>(others));
    REQUIRE(merged.count() == 300 * digests);
    return allocated - before;
}

} // namespace

TEST_CASE("merging four times as many digests at once allocates at most six times as much") {
    const std::size_t few = allocated_by_merging(100);
    CHECK(few > 100 * 300 * sizeof(double)); // it is counted at all
    CHECK(allocated_by_merging(400) <= 6 * few);
}
