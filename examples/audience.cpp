// Who came on Monday, who on Tuesday, and who on both? Two sketches of 16 kB instead of two sets of a million users.
#include <qsketch/overlap.hpp>

#include <cstdio>
#include <string>

int main() {
    qsketch::hyperloglog<> monday(14);
    qsketch::hyperloglog<> tuesday(14);
    for (int user = 0; user < 1'000'000; ++user) monday.add("user" + std::to_string(user));
    for (int user = 900'000; user < 1'700'000; ++user) tuesday.add("user" + std::to_string(user)); // 100 000 again

    auto either = monday;
    either.merge(tuesday);
    std::printf("either day: %.0f users, 95 %%: %.0f to %.0f\n", either.estimate(), either.lower_bound(2),
                either.upper_bound(2));
    const auto both = qsketch::overlap(monday, tuesday);
    std::printf("both days:  %.0f users, give or take %.0f\n", both.both, 2 * both.both_standard_error);
    std::printf("of Monday's users %.0f %% came back\n", 100 * both.both / (both.both + both.first_only));
}
