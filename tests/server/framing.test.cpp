#include "http/framing.hpp"

#include "support/catch.hpp"

#include <string>

using namespace qsketch_server;

namespace {

std::optional<framing_error> read(const std::string& bytes, request_head& head) {
    std::size_t scanned = 0;
    std::optional<framing_error> error;
    const std::size_t size = find_head(bytes, scanned, error);
    if (error) return error;
    REQUIRE(size > 0);
    return parse_head(std::string_view(bytes).substr(0, size), head);
}

} // namespace

TEST_CASE("A head is found wherever it is cut") {
    const std::string head = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    for (std::size_t cut = 0; cut < head.size(); ++cut) {
        std::size_t scanned = 0;
        std::optional<framing_error> error;
        CHECK(find_head(head.substr(0, cut), scanned, error) == 0);
        CHECK(find_head(head + "rest", scanned, error) == head.size());
        CHECK_FALSE(error);
    }
}

TEST_CASE("What matters for framing is read, and of the other fields those that endpoints need") {
    request_head head;
    CHECK_FALSE(
        read("POST /x?y=1 HTTP/1.1\r\nhOST: a\r\nCONTENT-LENGTH:  12 \r\nExpect: 100-Continue\r\n"
             "Content-Type: application/json\r\nRange: bytes=0-1\r\nREMOTE_ADDR: 6.6.6.6\r\nX-Request-Id: 7\r\n\r\n",
             head));
    CHECK(head.method == "POST");
    CHECK(head.target == "/x?y=1");
    CHECK(head.content_length == 12);
    CHECK(head.expects_continue);
    CHECK(head.keep_alive);
    CHECK_FALSE(head.chunked);
    CHECK(head.content_type == "application/json");
    CHECK(head.request_id == "7");
    CHECK_FALSE(head.authorization);
    CHECK_FALSE(read("GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, Close\r\n\r\n", head));
    CHECK_FALSE(head.keep_alive);
    CHECK(head.content_length == 0);
    CHECK_FALSE(read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", head));
    CHECK(head.keep_alive);
    CHECK_FALSE(read("GET http://h:80/p?q HTTP/1.1\r\nHost: h:80\r\nContent-Encoding: br\r\n\r\n", head));
    CHECK(head.target == "/p?q");
    CHECK(head.content_encoding == "br");
    CHECK_FALSE(head.content_type);
}

TEST_CASE("Lists may come in several lines, other fields that endpoints need come once and exactly as sent") {
    request_head head;
    CHECK_FALSE(read("GET / HTTP/1.1\r\nHost: h\r\nAccept: a/b\r\naccept:c/d\r\nAccept-Encoding: br\r\n"
                     "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nAccept-Encoding: gzip\r\n"
                     "Authorization:\t Bearer a%41+b \r\nIdempotency-Key:\r\n\r\n",
                     head));
    CHECK(head.accept == "a/b, c/d");
    CHECK(head.accept_encoding == "br, gzip");
    CHECK(head.content_encoding == "gzip, gzip");
    CHECK(head.authorization == "Bearer a%41+b");
    CHECK(head.idempotency_key == "");
    for (const std::string name : {"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"}) {
        const auto error = read("GET / HTTP/1.1\r\nHost: h\r\n" + name + ": a\r\n" + name + ": a\r\n\r\n", head);
        REQUIRE(error);
        CHECK(error->status == 400);
        CHECK(error->message == name + " is given twice");
    }
}

TEST_CASE("A head of which two readers could think differently is refused") {
    request_head head;
    for (const char* bytes :
         {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n", "GET / HTTP/1.1\nHost: x\r\nA: b\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: x\r\nA\rB: b\r\n\r\n", " / HTTP/1.1\r\n\r\n"}) {
        INFO(bytes);
        const auto error = read(bytes, head);
        REQUIRE(error);
        CHECK(error->status == 400);
    }
}

TEST_CASE("A request of HTTP/1.1 names its host, one of HTTP/1.0 need not") {
    request_head head;
    const auto error = read("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", head);
    REQUIRE(error);
    CHECK(error->status == 400);
    CHECK(error->message.find("Host") != error->message.npos);
    CHECK_FALSE(read("GET / HTTP/1.1\r\nHost:\r\n\r\n", head)); // as RFC 9112 has it for a target without one
    CHECK_FALSE(read("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", head));
}

TEST_CASE("A chunked body comes out whole wherever it is cut, and what follows it stays") {
    const std::string bytes = "5;x=\"y\"\r\nhello\r\nB\r\n, world and\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\nGET";
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        chunked_decoder decoder;
        std::string body;
        std::size_t used = decoder.feed(std::string_view(bytes).substr(0, cut), body, 1000);
        used += decoder.feed(std::string_view(bytes).substr(used), body, 1000);
        CHECK(decoder.done());
        CHECK(body == "hello, world and!");
        CHECK(used == bytes.size() - 3);
    }
}

TEST_CASE("A broken chunked body is seen, and one beyond the limit before it is stored") {
    for (const char* bytes :
         {"x\r\n", "\r\n", "5\nhello", "5\r\nhelloX\r\n", "-1\r\n", "10000000000000000\r\n", "0x5\r\n"}) {
        INFO(bytes);
        chunked_decoder decoder;
        std::string body;
        decoder.feed(bytes, body, 1000);
        CHECK(decoder.broken());
        CHECK_FALSE(decoder.done());
    }
    chunked_decoder decoder;
    std::string body;
    decoder.feed("4\r\nabcd\r\nffffffffffffffff\r\nefgh", body, 7);
    CHECK(decoder.overflow());
    CHECK(body == "abcd");
    chunked_decoder fits;
    fits.feed("4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n", body = "", 7);
    CHECK(fits.done());
    CHECK(body == "abcdefg");
}
