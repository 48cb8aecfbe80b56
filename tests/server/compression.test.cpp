#include "http/compression.hpp"

#include "http/request.hpp"
#include "support/catch.hpp"
#include "support/client.hpp"
#include "support/directory.hpp"
#include "support/json.hpp"
#include "support/process.hpp"
#include "support/sanitized.hpp"

#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

using namespace server_test;
using namespace std::chrono_literals;
using qsketch_server::coding;
using qsketch_server::unpacked_body;

namespace {

/// What a command of the shell makes of a text.
std::string through(const std::string& command, const std::string& text) {
    const directory place;
    const std::string file = place.path() + "/in";
    std::ofstream(file, std::ios::binary) << text;
    FILE* const out = ::popen((command + " <" + file + " 2>/dev/null").c_str(), "r");
    REQUIRE(out != nullptr);
    std::string got;
    std::array<char, 4096> buffer{};
    for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), out)) > 0;) got.append(buffer.data(), n);
    ::pclose(out);
    return got;
}
std::string gzip(const std::string& text) { return through("gzip -c", text); }
std::string gunzip(const std::string& bytes) { return through("gzip -dc", bytes); }

std::string bytes(const std::string& hex) {
    std::string out;
    for (std::size_t i = 0; i < hex.size(); i += 2) out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    return out;
}

std::uint16_t shared() {
    static const server s({"--max-body=64KiB"});
    return s.port();
}

reply post_packed(const std::string& encoding, const std::string& body, const std::string& target = "/samples") {
    return ask(shared(), "POST", target, body,
               "Content-Type: application/x-ndjson\r\nContent-Encoding: " + encoding + "\r\n");
}

std::size_t unpacked_size(const std::string& packed, std::size_t body, std::size_t together,
                          std::atomic<std::size_t>& in_use) {
    const unpacked_body b(packed, coding::gzip, {body, together}, in_use);
    CHECK(in_use >= b.text().size());
    return b.text().size();
}

int status_of(const std::string& packed, std::size_t body, std::size_t together) {
    std::atomic<std::size_t> in_use = 0;
    int status = 200;
    try {
        (void)unpacked_size(packed, body, together, in_use);
    } catch (const qsketch_server::refused_request& e) {
        status = e.status();
    } catch (const qsketch_server::malformed_request&) {
        status = 400;
    }
    CHECK(in_use == 0);
    return status;
}

} // namespace

TEST_CASE("A body may come as gzip or deflate") {
    const std::string event = R"({"key":"z","value":3})";
    // By Python's zlib: with zlib's frame, and bare.
    const std::string framed = bytes("78daab56ca4ead54b252aa52d2512a4bcc294d55b232ae0500473e0678");
    const std::string bare = bytes("ab56ca4ead54b252aa52d2512a4bcc294d55b232ae0500");
    struct row {
        std::string encoding;
        std::string body;
        int status;
        std::string names;
    };
    const std::string packed = gzip(event);
    std::string broken_sum = packed;
    broken_sum[broken_sum.size() - 6] ^= 1;
    std::string broken_middle = packed;
    broken_middle[12] ^= 0x55;
    const std::vector<row> rows = {
        {"gzip", packed, 200, R"("accepted":1)"},
        {"GZip", packed, 200, R"("accepted":1)"},
        {"x-gzip", packed, 200, R"("accepted":1)"},
        {"gzip", through("gzip -9nc", event), 200, R"("accepted":1)"},
        {"gzip", gzip(event + "\n") + gzip(event), 200, R"("accepted":2)"},
        {"gzip", gzip("") + gzip(event) + gzip(""), 200, R"("accepted":1)"},
        {"deflate", framed, 200, R"("accepted":1)"},
        {"deflate", bare, 400, "frame of zlib"},
        {"deflate", framed + framed, 400, "behind its end"},
        {"deflate", framed.substr(0, framed.size() - 1), 400, "too early"},
        {"gzip", framed, 400, "not valid gzip"},
        {"identity", event, 200, R"("accepted":1)"},
        {"", event, 200, R"("accepted":1)"},
        {"gzip", event, 400, "not valid gzip"},
        {"gzip", gzip(""), 400, "empty"},
        {"gzip", packed.substr(0, packed.size() - 1), 400, "too early"},
        {"gzip", packed.substr(0, 12), 400, "too early"},
        {"gzip", packed.substr(0, 5), 400, "too early"},
        {"gzip", packed + "x", 400, "too early"},
        {"gzip", packed + "xx", 400, "not valid gzip"},
        {"gzip", packed + gzip(event).substr(0, 15), 400, "too early"},
        {"gzip", broken_sum, 400, "not valid gzip"},
        {"gzip", broken_middle, 400, "body"},
        {"deflate", packed, 400, "deflate"},
        {"br", packed, 415, "br"},
        {"zstd", packed, 415, "zstd"},
        {"gzip, gzip", gzip(packed), 415, "gzip, gzip"},
        {"gzip, identity", packed, 415, "identity"},
    };
    for (const row& r : rows) {
        INFO(r.encoding << " " << r.status << " " << r.names);
        const reply got = post_packed(r.encoding, r.body);
        CHECK(got.status == r.status);
        CHECK(got.body.find(r.names) != std::string::npos);
        CHECK(got.header("accept-encoding") == (r.status == 415 ? "gzip, deflate" : ""));
    }
    CHECK(json_at(post_packed("br", packed).body, "/code") == R"("UNSUPPORTED_MEDIA_TYPE")");
    CHECK(json_at(post_packed("br", packed, "/analytics").body, "/error") == "true");
}

TEST_CASE("What is small packed and large inside is refused before it takes memory") {
    const std::string line = R"({"key":"z","value":3})";
    const std::string fits = line + std::string(65'536 - line.size(), ' ');
    CHECK(post_packed("gzip", gzip(fits)).status == 200);
    const reply over = post_packed("gzip", gzip(fits + " "));
    CHECK(over.status == 413);
    CHECK(json_at(over.body, "/code") == R"("PAYLOAD_TOO_LARGE")");
    const std::string bomb = through("head -c 60000000 /dev/zero | gzip -1c; true", "");
    REQUIRE(bomb.size() > 65'536);
    const server s({"--max-body=1MiB"});
    for (int i = 0; i < 5; ++i)
        CHECK(ask(s.port(), "POST", "/samples", bomb, "Content-Encoding: gzip\r\n").status == 413);
    const long peak_kib = s.kib("VmHWM");
    CHECK(peak_kib > 1000);
    CHECK((sanitized || peak_kib < 60'000));
}

TEST_CASE("Unpacked bodies stay within their own limit and within one for all together") {
    const std::string text(100'000, 'x');
    const std::string packed = gzip(text);
    CHECK(status_of(packed, 100'000, 1'000'000) == 200);
    CHECK(status_of(packed, 99'999, 1'000'000) == 413);
    CHECK(status_of(packed, 1, 1'000'000) == 413);
    CHECK(status_of(packed, 200'000, 100'000) == 503);
    CHECK(status_of(packed, 100'000, 100'001) == 200);
    CHECK(status_of(packed.substr(0, packed.size() - 1), 100'000, 1'000'000) == 400);
    std::atomic<std::size_t> in_use = 0;
    {
        const unpacked_body first(packed, coding::gzip, {200'000, 300'000}, in_use);
        CHECK(first.text() == text);
        CHECK(in_use >= 100'000);
        CHECK_THROWS_AS(unpacked_body(packed, coding::gzip, {200'000, 150'000}, in_use),
                        qsketch_server::refused_request);
        CHECK(unpacked_size(packed, 100'000, 300'000, in_use) == 100'000);
    }
    CHECK(in_use == 0);
    // Every length around the steps in which memory is taken.
    for (const std::size_t size : {0U, 1U, 4095U, 4096U, 4097U, 8191U, 8192U, 8193U}) {
        CHECK(unpacked_size(gzip(std::string(size, 'y')), 100'000, 1'000'000, in_use) == size);
        CHECK(status_of(gzip(std::string(size, 'y')), size, 1'000'000) == 200);
        if (size > 0) CHECK(status_of(gzip(std::string(size, 'y')), size - 1, 1'000'000) == 413);
    }
}

TEST_CASE("Packing and unpacking give back what went in, by gzip's own reading") {
    std::string text;
    std::uint64_t random = 1;
    for (const std::size_t size : {1U, 255U, 256U, 257U, 1024U, 32'767U, 32'768U, 300'000U}) {
        while (text.size() < size) {
            random = random * 6364136223846793005U + 1442695040888963407U;
            text +=
                text.size() % 7 == 0 ? std::to_string(random >> 40) : std::string(1, static_cast<char>(random >> 56));
        }
        text.resize(size);
        const std::string packed = qsketch_server::gzipped(text);
        CHECK(gunzip(packed) == text);
        std::atomic<std::size_t> in_use = 0;
        CHECK(unpacked_body(packed, coding::gzip, {size, size + 1}, in_use).text() == text);
    }
}

TEST_CASE("Large answers are packed for those who take gzip") {
    const reply plain = get(shared(), "/openapi.yaml");
    REQUIRE(plain.body.size() > 10'000);
    CHECK(plain.header("vary") == "Accept-Encoding");
    CHECK(plain.header("content-encoding").empty());
    for (const char* accepted : {"gzip", "GZIP", "x-gzip", "deflate, gzip;q=0.001", "br;q=1.0, gzip;q=0.8, *;q=0.1",
                                 "*", "gzip;q=0, gzip", "identity;q=0, *"}) {
        INFO(accepted);
        const reply r = get(shared(), "/openapi.yaml", std::string("Accept-Encoding: ") + accepted + "\r\n");
        CHECK(r.status == 200);
        CHECK(r.header("content-encoding") == "gzip");
        CHECK(r.header("vary") == "Accept-Encoding");
        CHECK(r.body.size() < plain.body.size() / 2);
        CHECK(gunzip(r.body) == plain.body);
        const reply head =
            ask(shared(), "HEAD", "/openapi.yaml", {}, std::string("Accept-Encoding: ") + accepted + "\r\n");
        CHECK(head.header("content-length") == r.header("content-length"));
        CHECK(head.header("content-encoding") == "gzip");
    }
    for (const char* refused : {"", "br", "deflate", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "gzipped", "identity"}) {
        INFO(refused);
        const reply r = get(shared(), "/openapi.yaml", std::string("Accept-Encoding: ") + refused + "\r\n");
        CHECK(r.header("content-encoding").empty());
        CHECK(r.body == plain.body);
    }
    const reply two_lines = get(shared(), "/openapi.yaml", "Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n");
    CHECK(two_lines.header("content-encoding") == "gzip");
}

TEST_CASE("Answers of less than a kilobyte are sent as they are") {
    const reply small = get(shared(), "/health", "Accept-Encoding: gzip\r\n");
    CHECK(small.header("content-encoding").empty());
    CHECK(small.header("vary").empty());
    std::string lines;
    for (int i = 0; i < 40; ++i) lines += "{\"key\":\"" + std::string(30, 'k') + "\"}\n";
    const reply errors =
        ask(shared(), "POST", "/samples", lines, "Accept-Encoding: gzip\r\nContent-Type: application/x-ndjson\r\n");
    CHECK(errors.status == 400);
    CHECK(errors.header("content-encoding") == "gzip");
    CHECK(json_at(gunzip(errors.body), "/rejected") == "40");
}
