#pragma once

#include "storage/storage.hpp"

#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <utility>

namespace qsketch_server {

/// A row that is there and says nothing any more, while others do. The message names it.
class unreadable_row : public storage_error {
public:
    /// Logs it.
    unreadable_row(table where, std::string_view key, const char* why);

    [[nodiscard]] const char* table_name() const noexcept { return table_name_; }
    /// What is no printable ASCII in it, and backslashes, as \xNN.
    [[nodiscard]] const std::string& key() const noexcept { return key_; }

private:
    unreadable_row(const char* table_name, std::string key, const char* why);

    const char* table_name_;
    std::string key_;
};

/// What f() makes of a row. Whatever it throws, but for a lack of memory, becomes an unreadable_row.
template <class Function>
auto read_row(table where, std::string_view key, Function&& f) {
    try {
        return std::forward<Function>(f)();
    } catch (const unreadable_row&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& e) {
        throw unreadable_row(where, key, e.what());
    }
}

} // namespace qsketch_server
