#include "storage/unreadable_row.hpp"

#include "storage/database.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace qsketch_server {
namespace {

[[nodiscard]] std::string printable(std::string_view key) {
    std::string out;
    for (const char c : key)
        if (c < ' ' || c > '~' || c == '\\')
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += c;
    return out;
}

} // namespace

unreadable_row::unreadable_row(table where, std::string_view key, const char* why)
    : unreadable_row(database::name(where), printable(key), why) {
    spdlog::error("storage: {}", what());
}

unreadable_row::unreadable_row(const char* table_name, std::string key, const char* why)
    : storage_error(fmt::format("the row {} of the table {} cannot be read: {}", key, table_name, why)),
      table_name_(table_name), key_(std::move(key)) {}

} // namespace qsketch_server
