#include <qsketch/tdigest.hpp>

#include <cstddef>
#include <cstdint>

struct even_scale {
#ifndef BAD
    static constexpr std::uint8_t id = 77;
#endif
    even_scale(std::size_t cells, double count) : width_(count / static_cast<double>(cells)) {}
    double edge(std::size_t i) const noexcept { return width_ * static_cast<double>(i); }

private:
    double width_;
};

void test(qsketch::tdigest<even_scale>& digest) { digest.flush(); }
