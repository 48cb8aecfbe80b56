// Who came on both days? Redis counts users with PFADD and cannot tell; its registers can.
//
//     redis-cli GET users:monday >monday.hll; redis-cli GET users:tuesday >tuesday.hll
//     redis_users monday.hll tuesday.hll
#include <qsketch/interchange/redis.hpp>
#include <qsketch/overlap.hpp>

#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>

namespace {

/// What redis-cli wrote: the value, and a line break that is none of it.
qsketch::redis::hyperloglog read_users(const char* path) {
    std::ifstream file(path, std::ios::binary);
    const std::string value{std::istreambuf_iterator<char>(file), {}};
    if (!value.ends_with('\n')) throw std::runtime_error(std::string(path) + " is not from redis-cli");
    return qsketch::redis::deserialize(std::as_bytes(std::span(value)).first(value.size() - 1));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "redis_users: wants two files\n");
        return 2;
    }
    try {
        const auto first = read_users(argv[1]);
        const auto second = read_users(argv[2]);
        const auto all = qsketch::overlap(first, second);
        std::printf("first:  %.0f users, 95 %%: %.0f to %.0f\n", first.estimate(), first.lower_bound(2),
                    first.upper_bound(2));
        std::printf("second: %.0f users, 95 %%: %.0f to %.0f\n", second.estimate(), second.lower_bound(2),
                    second.upper_bound(2));
        std::printf("both:   %.0f users, give or take %.0f\n", all.both, 2 * all.both_standard_error);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "redis_users: %s\n", error.what());
        return 1;
    }
}
