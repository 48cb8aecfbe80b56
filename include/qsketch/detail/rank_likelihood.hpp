#pragma once

#include <qsketch/detail/strict_math.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace qsketch::inline v0::detail {

/// How many distinct keys a register has on average, judged by the ranks that came and those that did not.
///
/// Rank k comes to a register with probability 1 - e^(-x 2^-k), all of them independently, with x the keys per
/// register. The logarithm of the likelihood is a sum of -x 2^-k for the ranks that did not come and ln(1 - e^(-x
/// 2^-k)) for those that did, and is largest where x A = sum of B_k g(x 2^-k), with A the sum of 2^-k over the first,
/// B_k the number of the second and g(y) = y / (e^y - 1). Source: Ertl 2017 (arXiv 1702.01284), section on
/// maximum-likelihood estimation; the Newton iteration is ours.
class rank_likelihood {
public:
    /// Rank `rank` <= 60 came to so many registers.
    void came(unsigned rank, double registers) noexcept { came_[rank] += registers; }
    /// It did not.
    void missed(unsigned rank, double registers) noexcept { missed_ += product(registers, weights()[rank]); }
    /// No rank above it came, all of which together weigh as much as it does; 0: no rank at all.
    void none_above(unsigned rank, double registers) noexcept { missed(rank, registers); }

    /// The most likely x: infinite if every rank came, 0 if none did.
    [[nodiscard]] double rate() const noexcept {
        std::size_t first = 1;
        std::size_t last = most;
        while (first <= last && came_[first] == 0) ++first;
        while (last > first && came_[last] == 0) --last;
        if (first > last) return 0;
        if (missed_ == 0) return std::numeric_limits<double>::infinity();

        double all = 0;
        double slope = 0;
        for (std::size_t k = first; k <= last; ++k) {
            all += came_[k];
            slope += product(came_[k], weights()[k]);
        }
        // g(y) >= 1 - y/2 gives a value not above the root; from there the iterates rise, because the difference of
        // both sides is convex and falls.
        double x = all / (missed_ + slope / 2);
        for (int step = 0; step < most_steps; ++step) {
            double value = 0;
            double derivative = 0; // times x
            double y = product(x, weights()[last]);
            int halvings = 0;
            for (; y > 0.25; y /= 2) ++halvings;
            const double y2 = product(y, y);
            double g =
                1 - y / 2 + product(y2, 1.0 / 12 - product(y2, 1.0 / 720 - product(y2, 1.0 / 30240 - y2 / 1209600)));
            for (; halvings > 0; --halvings) g = doubled(g, y);
            for (std::size_t k = last;; --k) {
                value += product(came_[k], g);
                derivative += product(came_[k], product(g, 1 - g - y));
                if (k == first) break;
                g = doubled(g, y);
            }
            const double against = product(x, missed_);
            const double next = x + product(x, (value - against) / (against - derivative));
            if (!(next > x * (1 + tolerance))) return (std::max)(x, next);
            x = next;
        }
        return x;
    }

private:
    static constexpr std::size_t most = 60;
    static constexpr int most_steps = 100; // about five are needed
    /// Newton's error after a step of relative size d is of order d^2, far below the standard error of 2^18 registers.
    static constexpr double tolerance = 1e-7;

    /// From g(y) to g(2y); doubles y.
    [[nodiscard]] static double doubled(double g, double& y) noexcept {
        const double result = product(g + g, g) / (g + g + y);
        y += y;
        return result;
    }

    /// 2^-k.
    [[nodiscard]] static const std::array<double, most + 1>& weights() noexcept {
        static constexpr auto made = [] {
            std::array<double, most + 1> w{};
            double weight = 1;
            for (double& each : w) {
                each = weight;
                weight /= 2;
            }
            return w;
        }();
        return made;
    }

    std::array<double, most + 1> came_{};
    double missed_ = 0;
};

} // namespace qsketch::inline v0::detail
