#pragma once

#include "storage/storage.hpp"

#include <cstring>
#include <iterator>
#include <vector>

namespace qsketch_server {

/// What changes have staged: the rows in one buffer, as there may be a hundred thousand of them in a batch.
struct changes::state {
    enum class kind : char { put, merge, remove };

    std::string rows; ///< Of each: kind, table, u32 key size, u32 row size, key, row.
    std::vector<std::function<void()>> applies;
    std::vector<std::shared_ptr<void>> held;

    void add(kind what, table where, std::string_view key, std::string_view row) {
        rows += static_cast<char>(what);
        rows += static_cast<char>(where);
        for (const std::string_view part : {key, row}) {
            const auto size = static_cast<std::uint32_t>(part.size());
            rows.append(reinterpret_cast<const char*>(&size), sizeof size);
        }
        rows.append(key).append(row);
    }

    /// Adds the rows of others, and takes over what is to be called for them.
    void append(state& other) {
        rows += other.rows;
        applies.insert(applies.end(), std::make_move_iterator(other.applies.begin()),
                       std::make_move_iterator(other.applies.end()));
        other.applies.clear();
    }

    /// What throws here ends the process: it has been promised, and the next one finds it on disk.
    void apply() const noexcept {
        for (const auto& each : applies) each();
    }

    /// Calls visit(kind, table, key, row) for all of them, in order.
    template <class Visitor>
    void each(Visitor visit) const {
        for (const char* at = rows.data(); at != rows.data() + rows.size();) {
            std::uint32_t sizes[2];
            std::memcpy(sizes, at + 2, sizeof sizes);
            const char* const key = at + 2 + sizeof sizes;
            visit(static_cast<kind>(at[0]), static_cast<table>(at[1]), std::string_view(key, sizes[0]),
                  std::string_view(key + sizes[0], sizes[1]));
            at = key + sizes[0] + sizes[1];
        }
    }
};

} // namespace qsketch_server
