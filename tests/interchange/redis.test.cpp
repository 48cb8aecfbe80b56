#include <qsketch/interchange/redis.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/hex.hpp"
#include "support/redis_server.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace redis = qsketch::redis;
using bytes = std::vector<std::byte>;

namespace {

std::vector<std::string> elements(std::size_t count) {
    std::vector<std::string> keys(count);
    for (std::size_t i = 0; i < count; ++i) keys[i] = "element-" + std::to_string(i);
    return keys;
}

redis::hyperloglog told(const std::vector<std::string>& keys) {
    redis::hyperloglog sketch;
    for (const auto& key : keys) sketch.add(key);
    return sketch;
}

std::string text_of(const bytes& image) { return {reinterpret_cast<const char*>(image.data()), image.size()}; }

bytes bytes_of(std::string_view text) {
    bytes image(text.size());
    std::memcpy(image.data(), text.data(), text.size());
    return image;
}

/// "HYLL", encoding, reserved, cached estimate, and what follows.
bytes image_of(std::uint8_t encoding, const std::vector<std::uint8_t>& body) {
    bytes image = bytes_of(std::string_view("HYLL\0\0\0\0\0\0\0\0\0\0\0\x80", 16));
    image[4] = std::byte(encoding);
    for (const auto value : body) image.push_back(std::byte(value));
    return image;
}

/// Keys of all lengths, with bytes of all values.
std::vector<std::string> binary_keys(std::size_t count, std::uint64_t seed) {
    support::random_bits bits(seed);
    std::vector<std::string> keys(count);
    for (auto& key : keys) {
        key.resize(bits.below(40));
        for (char& c : key) c = static_cast<char>(bits());
    }
    return keys;
}

void add(interchange_test::redis_server& server, const std::string& key, const std::vector<std::string>& elements) {
    std::vector<std::string> command{"PFADD", key};
    command.insert(command.end(), elements.begin(), elements.end());
    server(command);
}

} // namespace

TEST_CASE("the bytes are those that Redis wrote for the same keys") {
    const std::string text = support::text_of_file(QSKETCH_IMAGE_DIRECTORY "/redis_sparse.hex");
    const auto sketch = told(elements(100));
    CHECK(support::to_hex(redis::serialize(sketch)) == text);
    CHECK(redis::deserialize(support::from_hex(text)).registers() == sketch.registers());

    // Of 20 000 keys a hash of the 12 304 bytes that Redis 7.0.15 wrote.
    const bytes dense = redis::serialize(told(elements(20'000)));
    CHECK(dense.size() == 12'304);
    CHECK(qsketch::hash{}(text_of(dense)) == 0x19fc3fc0bebe1364);
}

TEST_CASE("a running Redis takes the bytes, counts and merges them, and gives back what can be read") {
    const auto server = interchange_test::redis_server::start();
    if (!server) {
        WARN("redis-server is not installed: not tried against it");
        return;
    }
    for (const std::size_t count : {0u, 1u, 2u, 10u, 500u, 1500u, 2000u, 5000u, 40'000u}) {
        CAPTURE(count);
        const auto keys = binary_keys(count, count);
        const auto others = binary_keys(count / 2 + 3, 1'000'000 + count);
        const auto ours = told(keys);
        (*server)({"FLUSHALL"});
        add(*server, "theirs", keys);
        add(*server, "others", others);
        CHECK((*server)({"SET", "ours", text_of(redis::serialize(ours))}) == "OK");

        // What both made of the same keys.
        const bytes theirs = bytes_of((*server)({"GET", "theirs"}));
        CHECK(redis::deserialize(theirs).registers() == ours.registers());
        const std::string counted = (*server)({"PFCOUNT", "theirs"});
        CHECK((*server)({"PFCOUNT", "ours"}) == counted);
        CHECK((*server)({"PFCOUNT", "ours", "theirs"}) == counted);
        CHECK(std::abs(redis::deserialize(theirs).estimate() - std::stod(counted)) <= 0.5 + 1e-4 * std::stod(counted));

        // What both merge.
        CHECK((*server)({"PFMERGE", "merged", "ours", "others"}) == "OK");
        auto merged = ours;
        merged.merge(told(others));
        CHECK(redis::deserialize(bytes_of((*server)({"GET", "merged"}))).registers() == merged.registers());
        CHECK((*server)({"PFMERGE", "all", "merged", "theirs"}) == "OK");
        CHECK((*server)({"PFCOUNT", "all"}) == (*server)({"PFCOUNT", "merged"}));

        // Redis goes on with ours as with its own, also from runs to registers.
        add(*server, "ours", others);
        CHECK(redis::deserialize(bytes_of((*server)({"GET", "ours"}))).registers() == merged.registers());
        // The same bytes as Redis, but for the estimate that it caches.
        bytes sorted = theirs;
        for (std::size_t i = 8; i < 15; ++i) sorted[i] = std::byte{0};
        sorted[15] = std::byte{0x80};
        CHECK(redis::serialize(ours) == sorted);
    }
}

TEST_CASE("written and read again, registers are the same") {
    for (const std::size_t count : {0u, 1u, 100u, 1700u, 1800u, 3000u, 4000u, 100'000u}) {
        const auto sketch = told(elements(count));
        const bytes image = redis::serialize(sketch);
        CHECK(image.size() <= 12'304);
        const auto read = redis::deserialize(image);
        CHECK(read.registers() == sketch.registers());
        CHECK(redis::serialize(read) == image);
        CHECK(read.empty() == (count == 0));
    }
    // Runs hold ranks up to 32 only.
    for (const std::uint8_t rank : {std::uint8_t{32}, std::uint8_t{33}, std::uint8_t{51}}) {
        std::vector<std::uint8_t> registers(16'384);
        registers[77] = rank;
        const bytes image = redis::serialize(redis::hyperloglog::from_registers(registers));
        CHECK(image.size() == (rank > 32 ? 12'304 : 16 + 5));
        CHECK(redis::deserialize(image).registers() == registers);
    }
}

TEST_CASE("runs are as long as they can be, and used while they are short enough") {
    const auto size_of = [](const std::vector<std::uint8_t>& registers) {
        const auto sketch = redis::hyperloglog::from_registers(registers);
        const bytes image = redis::serialize(sketch);
        CHECK(redis::deserialize(image).registers() == registers);
        return image.size() - 16;
    };
    for (std::size_t length = 1; length <= 9; ++length) {
        std::vector<std::uint8_t> registers(16'384);
        for (std::size_t i = 0; i < length; ++i) registers[100 + i] = 7;
        CHECK(size_of(registers) == 2 + (length + 3) / 4 + 2);
    }
    for (const std::size_t zeros : {1u, 63u, 64u, 65u, 66u}) {
        std::vector<std::uint8_t> registers(16'384);
        registers[zeros] = 1;
        CHECK(size_of(registers) == (zeros > 64 ? 2u : 1u) + 1 + 2);
    }
    for (const std::size_t pairs : {1490u, 1491u, 1492u}) {
        std::vector<std::uint8_t> registers(16'384);
        for (std::size_t i = 0; i < pairs; ++i) registers[2 * i + 1] = 1;
        CHECK(size_of(registers) == (pairs > 1491 ? 12'288 : 2 * pairs + 2));
    }
}

TEST_CASE("only precision 14 can be written; more can be reduced to it") {
    redis::hyperloglog fine(16);
    for (const auto& key : elements(50'000)) fine.add(key);
    CHECK_THROWS_AS(redis::serialize(fine), std::invalid_argument);
    CHECK_THROWS_AS(redis::serialize(redis::hyperloglog(12)), std::invalid_argument);
    CHECK(redis::serialize(fine.reduced(14)) == redis::serialize(told(elements(50'000))));
}

TEST_CASE("bytes that Redis does not write are refused") {
    const auto refused = [](const bytes& image) { CHECK_THROWS_AS(redis::deserialize(image), qsketch::format_error); };
    for (const std::size_t count : {std::size_t{5}, std::size_t{3000}}) {
        const bytes image = redis::serialize(told(elements(count)));
        for (std::size_t size = 0; size < image.size(); ++size)
            refused(bytes(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(size)));
        bytes longer = image;
        longer.push_back(std::byte{0});
        refused(longer);
        for (std::size_t i = 0; i < 8; ++i) { // letters, encoding, reserved
            bytes other = image;
            other[i] ^= std::byte{8};
            refused(other);
        }
        bytes cached = image;
        for (std::size_t i = 8; i < 16; ++i) cached[i] ^= std::byte{0xff};
        CHECK(redis::deserialize(cached) == redis::deserialize(image));
    }
    refused(image_of(2, {0x7f, 0xff}));
    CHECK(redis::deserialize(image_of(1, {0x7f, 0xff})).empty());
    refused(image_of(1, {0x7f, 0xfe}));       // 16 383 registers
    refused(image_of(1, {0x7f, 0xff, 0x00})); // 16 385
    refused(image_of(1, {0x7f, 0xff, 0x80})); // and one that is set
    refused(image_of(1, {0x7f}));             // half a run
    CHECK(redis::deserialize(image_of(1, {0x7f, 0xfe, 0xff - 3})).registers()[16'383] == 32);
    std::vector<std::uint8_t> many; // so many runs that a sum of 32 bits would come out right
    for (int i = 0; i < (1 << 18) + 1; ++i) many.insert(many.end(), {0x7f, 0xff});
    CHECK_THROWS_WITH(redis::deserialize(image_of(1, many)), Catch::Matchers::Contains("more than 16384 registers"));
    std::vector<std::uint8_t> body(12'288);
    body[0] = 51;
    CHECK(redis::deserialize(image_of(0, body)).registers()[0] == 51);
    body[0] = 52;
    refused(image_of(0, body));
}
