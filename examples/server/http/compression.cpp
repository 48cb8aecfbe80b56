#include "http/compression.hpp"

#include "http/request.hpp"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <new>

namespace qsketch_server {
namespace {

constexpr std::size_t padding = 64; // what simdjson wants to be able to read behind a text
constexpr std::size_t first_size = 4096;
constexpr int gzip_frame = 16; // zlib's way to ask for it, added to the bits of the window

/// zlib counts in unsigned int; what it does not see now it sees next time.
[[nodiscard]] uInt counted(std::size_t bytes) noexcept {
    return static_cast<uInt>((std::min<std::size_t>)(bytes, (std::numeric_limits<uInt>::max)()));
}

[[nodiscard]] Bytef* bytes_of(const char* text) noexcept { return reinterpret_cast<Bytef*>(const_cast<char*>(text)); }

using stream = std::unique_ptr<z_stream, int (*)(z_stream*)>;

} // namespace

std::optional<coding> coding_of(std::string_view content_encoding) noexcept {
    if (content_encoding == "gzip" || content_encoding == "x-gzip") return coding::gzip;
    if (content_encoding == "deflate") return coding::deflate;
    return {};
}

bool takes_gzip(std::string_view accept_encoding) noexcept {
    for (const std::string_view name : {"gzip", "x-gzip", "*"})
        if (const auto taken = listed(accept_encoding, name)) return *taken;
    return false;
}

std::string gzipped(std::string_view text) {
    // A window wider than the text finds nothing more and costs memory: 268 KB for the widest.
    const int window = std::clamp(static_cast<int>(std::bit_width(text.size())), 9, 15);
    z_stream z{};
    if (::deflateInit2(&z, 1, Z_DEFLATED, window + gzip_frame, window - 7, Z_DEFAULT_STRATEGY) != Z_OK)
        throw std::bad_alloc();
    const stream end(&z, ::deflateEnd);
    std::string out(::deflateBound(&z, static_cast<uLong>(text.size())), '\0');
    z.next_in = bytes_of(text.data());
    z.next_out = bytes_of(out.data());
    int result = Z_OK;
    do {
        z.avail_in = counted(text.size() - z.total_in);
        z.avail_out = counted(out.size() - z.total_out);
        result = ::deflate(&z, z.total_in + z.avail_in == text.size() ? Z_FINISH : Z_NO_FLUSH);
    } while (result == Z_OK);
    out.resize(z.total_out);
    return out;
}

unpacked_body::unpacked_body(std::string_view packed, coding how, limits most, std::atomic<std::size_t>& in_use)
    : in_use_(in_use) {
    try {
        unpack(packed, how, most);
    } catch (...) {
        in_use_ -= counted_;
        throw;
    }
}

void unpacked_body::unpack(std::string_view packed, coding how, limits most) {
    z_stream z{};
    if (::inflateInit2(&z, how == coding::gzip ? 15 + gzip_frame : 15) != Z_OK) throw std::bad_alloc();
    const stream end(&z, ::inflateEnd);
    std::size_t used = 0;
    std::size_t made = 0;
    for (;;) {
        // One byte more than allowed, to see whether there is one.
        if (made == text_.size()) grow_to((std::min)((std::max)(first_size, 2 * made), most.body + 1), most.together);
        z.next_in = bytes_of(packed.data() + used);
        z.avail_in = counted(packed.size() - used);
        z.next_out = bytes_of(text_.data() + made);
        z.avail_out = counted(text_.size() - made);
        const uInt room = z.avail_out;
        const uInt rest = z.avail_in;
        const int result = ::inflate(&z, Z_NO_FLUSH);
        made += room - z.avail_out;
        used += rest - z.avail_in;
        if (made > most.body) throw refused_request(413, "the body exceeds --max-body when it is unpacked");
        if (result == Z_STREAM_END) {
            if (used == packed.size()) break;
            // Files of gzip may be put one behind the other (RFC 1952, 2.2).
            if (how != coding::gzip) throw malformed_request("the compressed body goes on behind its end");
            ::inflateReset(&z);
        } else if (result == Z_MEM_ERROR) {
            throw std::bad_alloc();
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            throw malformed_request(how == coding::gzip ? "the body is not valid gzip"
                                                        : "the body is not valid deflate, with the frame of zlib");
        } else if (used == packed.size() && z.avail_out > 0) {
            throw malformed_request("the compressed body ends too early");
        }
    }
    text_.resize(made);
    text_.reserve(made + padding);
}

void unpacked_body::grow_to(std::size_t size, std::size_t most_together) {
    const std::size_t more = size - counted_;
    if (in_use_.fetch_add(more) + more > most_together) {
        in_use_ -= more;
        throw refused_request(503, "too many large requests at once");
    }
    counted_ = size;
    text_.reserve(size + padding);
    text_.resize(size);
}

} // namespace qsketch_server
