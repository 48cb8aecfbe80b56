#pragma once

#include "support/hex.hpp"
#include "support/sketch_types.hpp"

#include <qsketch/error.hpp>
#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace interchange_test {

using bytes = std::vector<std::byte>;

/// What images/`name`.hex holds.
inline bytes image(const std::string& name) {
    const std::string text = support::text_of_file(QSKETCH_IMAGE_DIRECTORY "/" + name + ".hex");
    if (text.empty()) throw std::runtime_error("no image of that name: " + name);
    return support::from_hex(text);
}

/// What the engines were told: multiples of a quarter below 25 000.
inline std::vector<double> numbers(std::size_t count, double offset = 0) {
    std::vector<double> values(count);
    std::uint64_t state = 1;
    for (double& value : values) {
        state = state * 6364136223846793005 + 1442695040888963407;
        value = static_cast<double>((state >> 40) % 100'000) * 0.25 + offset;
    }
    return values;
}

/// The largest difference between the rank that a digest gives to a value, and the true one.
template <class Digest>
double largest_rank_error(const Digest& digest, std::vector<double> values) {
    std::sort(values.begin(), values.end());
    double largest = 0;
    for (std::size_t i = 0; i < values.size(); i += values.size() / 200 + 1) {
        const auto up_to = std::upper_bound(values.begin(), values.end(), values[i]) - values.begin();
        const double truth = static_cast<double>(up_to) / static_cast<double>(values.size());
        largest = std::max(largest, std::abs(digest.cdf(values[i]) - truth));
    }
    return largest;
}

/// A digest of these values.
inline qsketch::tdigest<> told(const std::vector<double>& values, double compression = 100) {
    qsketch::tdigest<> made(compression);
    made.add(std::span<const double>(values));
    return made;
}

/// Reads every image that differs from this one in one bit or ends early. What is not refused must answer sanely.
template <class Read, class RequireSane>
void read_damaged(const bytes& image, const Read& read, const RequireSane& require_sane) {
    for (std::size_t size = 0; size < image.size(); ++size) {
        bool refused = false;
        try {
            static_cast<void>(read(std::span(image).first(size)));
        } catch (const qsketch::format_error&) {
            refused = true;
        }
        support::require(refused, "an image that ends early is refused");
    }
    for (std::size_t bit = 0; bit < image.size() * 8; ++bit) {
        bytes damaged = image;
        damaged[bit / 8] ^= std::byte(1u << bit % 8);
        try {
            require_sane(read(damaged));
        } catch (const qsketch::format_error&) {
        }
    }
}

} // namespace interchange_test
