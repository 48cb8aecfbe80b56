#include "storage/log_tail.hpp"

#include "storage/storage.hpp"

#include <qsketch/detail/endian.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>
#include <system_error>

// The format of RocksDB's logs: blocks of 32 KiB that hold fragments of records, none of them across the end of a
// block. A fragment is CRC-32C (masked) of what follows its size, u16 size, u8 type, bytes. A record's bytes begin
// with its u64 sequence number. Source: RocksDB's wiki, "Write Ahead Log File Format".
namespace qsketch_server {
namespace {

constexpr std::size_t block_size = 32768;
constexpr std::size_t header_size = 7;

enum class part : unsigned char { full = 1, first = 2, middle = 3, last = 4 }; // others are settings we do not use

template <class Integer>
[[nodiscard]] Integer load(std::string_view bytes, std::size_t at) noexcept {
    return qsketch::detail::load_little_endian<Integer>(reinterpret_cast<const std::byte*>(bytes.data() + at));
}

constexpr std::array<std::uint32_t, 256> crc_table = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0x82f63b78u : 0u);
    }
    return table;
}();

[[nodiscard]] std::uint32_t masked_crc(std::string_view bytes) noexcept {
    std::uint32_t crc = ~std::uint32_t{0};
    for (const char c : bytes) crc = crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

struct fragment {
    part type;
    std::string_view bytes;
};

/// The fragment at that place; nothing if there is none, or a damaged one.
[[nodiscard]] std::optional<fragment> fragment_at(std::string_view log, std::size_t at) noexcept {
    const std::size_t end = (std::min)(log.size(), at / block_size * block_size + block_size);
    if (end - at < header_size) return {};
    const std::size_t size = load<std::uint16_t>(log, at + 4);
    const auto type = static_cast<unsigned char>(log[at + 6]);
    if (type == 0 || end - at - header_size < size) return {};
    if (masked_crc(log.substr(at + 6, 1 + size)) != load<std::uint32_t>(log, at)) return {};
    return fragment{static_cast<part>(type), log.substr(at + header_size, size)};
}

/// A log as a whole.
struct log_file {
    std::string name;
    std::string bytes;

    explicit log_file(const std::string& file) : name(file) {
        std::ifstream in(file, std::ios::binary | std::ios::ate);
        bytes.resize(in ? static_cast<std::size_t>(in.tellg()) : 0);
        if (!in.seekg(0).read(bytes.data(), static_cast<std::streamsize>(bytes.size())))
            throw storage_error(file + " cannot be read");
    }

    /// How much has been written: what was allotted in advance reads as zeros.
    [[nodiscard]] std::size_t written() const noexcept { return bytes.find_last_not_of('\0') + 1; }
};

/// Calls visit(record) for whole records until it returns false; says where the last it took ends. Stops at damage, or
/// goes on with the first record that begins in a later block, as RocksDB would: nothing else shows where one begins.
template <class Visitor>
[[nodiscard]] std::size_t visit_records(const log_file& file, Visitor visit, bool past_damage = false) {
    const std::string_view log = file.bytes;
    std::size_t end = 0;
    bool inside = false;
    bool lost = false; // a damaged record may still go on
    std::string record;
    for (std::size_t at = 0; at < log.size();) {
        const std::size_t left = block_size - at % block_size;
        if (left < header_size) { // too little for a fragment
            at += left;
            continue;
        }
        const auto found = fragment_at(log, at);
        if (found && found->type > part::last)
            throw storage_error(file.name + " has records of a kind that is not known here");
        const bool begins = found && (found->type == part::full || found->type == part::first);
        if (!found || (begins == inside && !lost)) {
            if (!past_damage) break;
            lost = true;
            inside = false;
            if (!found) {
                at += left;
                continue;
            }
        }
        at += header_size + found->bytes.size();
        if (lost && !begins) continue;
        lost = false;
        if (begins) record.clear();
        record.append(found->bytes);
        inside = found->type == part::first || found->type == part::middle;
        if (inside) continue;
        if (record.size() < sizeof(std::uint64_t) || !visit(std::string_view(record))) break;
        end = at;
    }
    return end;
}

/// Where the last whole record with no higher sequence number ends.
[[nodiscard]] std::size_t end_of_records(const log_file& log, std::uint64_t last) {
    return visit_records(log, [&](std::string_view record) { return load<std::uint64_t>(record, 0) <= last; });
}

/// Does a record begin somewhere behind that place?
[[nodiscard]] bool has_record_after(std::string_view log, std::size_t at) noexcept {
    while (++at + header_size <= log.size()) {
        const auto type = static_cast<part>(log[at + 6]); // looked at first, as sums take their time
        if ((type == part::full || type == part::first) && fragment_at(log, at)) return true;
    }
    return false;
}

void cut(const std::string& file, std::size_t size) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    const bool done = fd >= 0 && ::ftruncate(fd, static_cast<off_t>(size)) == 0 && ::fsync(fd) == 0;
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (!done)
        throw storage_error(file +
                            " cannot be shortened: " + std::error_code(error, std::generic_category()).message());
}

constexpr std::uint64_t any_sequence = (std::numeric_limits<std::uint64_t>::max)();

} // namespace

std::uint64_t cut_torn_tail(const std::string& log) {
    const log_file file(log);
    const std::size_t end = end_of_records(file, any_sequence);
    const std::size_t written = file.written();
    if (written <= end) return 0;
    if (has_record_after(file.bytes, end))
        throw storage_error(log + " is damaged at byte " + std::to_string(end) + ", with whole records behind it");
    cut(log, end);
    return written - end;
}

bool is_whole(const std::string& log) {
    const log_file file(log);
    return file.written() <= end_of_records(file, any_sequence);
}

void cut_after(const std::string& log, std::uint64_t last) {
    const log_file file(log);
    const std::size_t end = end_of_records(file, last);
    if (end < file.bytes.size()) cut(log, end);
}

void each_record(const std::string& log, const std::function<void(std::string_view record)>& visit) {
    const auto take = [&](std::string_view record) {
        visit(record);
        return true;
    };
    (void)visit_records(log_file(log), take, true);
}

} // namespace qsketch_server
