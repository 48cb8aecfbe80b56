#include <qsketch/detail/clustering.hpp>

#include "support/catch.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace {

/// Cells of equal width.
struct even_scale {
    even_scale(std::size_t cells, double count) noexcept : width(count / static_cast<double>(cells)) {}
    [[nodiscard]] double edge(std::size_t i) const noexcept { return width * static_cast<double>(i); }
    double width;
};

/// 0, 1, ... 39, where `length` values from index `run` on are equal; clustered in four cells of ten.
std::vector<std::uint64_t> weights_with_run(std::size_t run, std::size_t length) {
    std::vector<double> values(40);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<double>(i >= run && i < run + length ? run : i);
    const auto list = qsketch::detail::clustered<even_scale>(std::span<const double>(values), 4, 40);
    std::vector<std::uint64_t> weights;
    for (std::size_t i = 0; i < list.size(); ++i) {
        weights.push_back(list.weight(i));
        CHECK(list.exact(i) == (list.weight(i) == 1 || (list.start(i) == run && list.weight(i) == length)));
    }
    return weights;
}

} // namespace

TEST_CASE("equal values of a block stay together, on the side of an edge that their middle is on") {
    using weights = std::vector<std::uint64_t>;
    CHECK(weights_with_run(0, 1) == weights{10, 10, 10, 10});
    CHECK(weights_with_run(6, 6) == weights{12, 8, 10, 10});
    CHECK(weights_with_run(8, 6) == weights{8, 12, 10, 10});
    CHECK(weights_with_run(7, 6) == weights{13, 7, 10, 10}); // in the middle: to the lower side
}

TEST_CASE("the grid is that of whole numbers below its edges, mirrored at the median") {
    const qsketch::detail::cell_grid<even_scale> grid(4, 5, 40); // twice the edges: 2.5, 5, 7.5, 10
    CHECK(grid.cells() == 4);
    CHECK(grid.edge(1) == 2);
    CHECK(grid.edge(2) == 5);
    CHECK(grid.edge(3) == 7);
    CHECK(grid.edge(4) == 10);
}

TEST_CASE("equal values that fill a cell stay alone") {
    using weights = std::vector<std::uint64_t>;
    CHECK(weights_with_run(2, 10) == weights{2, 10, 8, 10, 10});
    CHECK(weights_with_run(5, 25) == weights{5, 25, 10});
    CHECK(weights_with_run(15, 25) == weights{10, 5, 25});
}
