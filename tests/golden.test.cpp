// What may not change within an image version: hash values, and the bytes that sketches write. Bytes written by any
// release must stay readable and must mean the same, so a difference here is a bug unless image_version was raised, or
// unless the release that will first write the new bytes has not been made yet. Only then:
//
//     golden_test "[.regenerate]"
//
// which writes the images of image_version and leaves those of earlier versions, which lie in directories of their own,
// as they are.

#include "support/sketch_types.hpp"

#include "support/catch.hpp"
#include "support/hex.hpp"

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using support::from_hex;
using support::sketch_case;
using support::sketch_types;
using support::to_hex;

/// Small: a handful of events. Large: enough to leave every small form.
template <class Sketch>
std::vector<std::pair<std::string, Sketch>> examples() {
    return {{"empty", sketch_case<Sketch>::make()},
            {"small", support::filled<Sketch>(12, 40, 1)},
            {"large", support::filled<Sketch>(20'000, 50'000, 2)}};
}

template <class Sketch>
std::string path_of(const std::string& example, unsigned version = qsketch::detail::image_version) {
    return std::string(QSKETCH_GOLDEN_DIRECTORY) + (version == 1 ? "" : "/" + std::to_string(version)) + "/" +
           sketch_case<Sketch>::name() + "_" + example + ".hex";
}

} // namespace

TEMPLATE_LIST_TEST_CASE("sketches write the bytes they always wrote", "", sketch_types) {
    for (const auto& [name, sketch] : examples<TestType>()) {
        CAPTURE(path_of<TestType>(name));
        const std::string text = support::text_of_file(path_of<TestType>(name));
        REQUIRE_FALSE(text.empty());
        CHECK(to_hex(sketch.serialize()) == text);
        const auto read = TestType::deserialize(from_hex(text));
        CHECK(read == sketch);
        CHECK(to_hex(read.serialize()) == text);
    }
}

TEMPLATE_LIST_TEST_CASE("images of every version there was are read, and mean the same", "", sketch_types) {
    for (unsigned version = 1; version <= qsketch::detail::image_version; ++version)
        for (const auto& [name, sketch] : examples<TestType>()) {
            const std::string path = path_of<TestType>(name, version);
            CAPTURE(path);
            const std::string text = support::text_of_file(path);
            const bool of_later_version = text.empty() && version < qsketch::detail::image_version;
            if (of_later_version) continue;
            const auto image = from_hex(text);
            REQUIRE(image.size() > 4);
            CHECK(std::to_integer<unsigned>(image[3]) == version);
            CHECK(TestType::deserialize(image) == sketch);
        }
}

TEST_CASE("digests that were clustered otherwise load, and are written as they were") {
    const auto check = [](const auto& digest, const std::string& example) {
        using digest_type = std::decay_t<decltype(digest)>;
        const std::string text = support::text_of_file(
            path_of<digest_type>(example).insert(std::string_view(QSKETCH_GOLDEN_DIRECTORY).size(), "/earlier"));
        const auto read = digest_type::deserialize(from_hex(text));
        CHECK(read.count() == digest.count());
        CHECK(read.max() == digest.max());
        CHECK(to_hex(read.serialize()) == text);
    };
    check(support::filled<qsketch::tdigest<>>(20'000, 50'000, 2), "large");
    check(support::filled<qsketch::tdigest<qsketch::k1_scale>>(20'000, 50'000, 2), "large");
}

TEST_CASE("hashes are what they always were") {
    const qsketch::hash hash;
    CHECK(hash(0) == 0x7acdbb98b1344213);
    CHECK(hash(std::int8_t{-1}) == 0xbe0627ce1831f633);
    CHECK(hash(1.5) == 0xabaabcc077d9f8c1);
    CHECK(hash(std::string_view("")) == 0x2b21d35958eae1c7);
    CHECK(hash(std::string_view("qsketch")) == 0x92a111daef8ab353);
    CHECK(hash(std::string_view("a text of more than forty-eight bytes, for the long loop")) == 0xcd6952795fc93f08);
    CHECK(hash.id() == 0x470158a3);
    CHECK(qsketch::hash(1)(0) == 0xb456bcfc34c2cb2c);
    CHECK(qsketch::sip_hash(1, 2)(std::string_view("qsketch")) == 0x3586a377f3715a1d);
    CHECK(qsketch::sip_hash(1, 2).id() == 0xe4d012cb);
}

TEMPLATE_LIST_TEST_CASE("write the golden files and the seeds of the fuzzer anew", "[.regenerate]", sketch_types) {
    for (const auto& [name, sketch] : examples<TestType>()) {
        const auto image = sketch.serialize();
        std::ofstream file(path_of<TestType>(name), std::ios::binary);
        file << to_hex(image);
        CHECK(file.good());
        if (name == "empty") continue;
        std::ofstream seed(std::string(QSKETCH_GOLDEN_DIRECTORY) + "/../fuzz/corpus/images/" +
                               sketch_case<TestType>::name() + "_" + name,
                           std::ios::binary);
        seed.put(static_cast<char>(support::place_of<TestType>(static_cast<sketch_types*>(nullptr))));
        seed.write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
        CHECK(seed.good());
    }
}
