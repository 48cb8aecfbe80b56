#pragma once

#include "storage/storage.hpp"

#include <qsketch/detail/endian.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace qsketch_server {

/// A row as it is kept: the row and a byte that says so. Or, after the table's fold has thrown, what it was to fold and
/// another byte: a merge that fails would end all writing to RocksDB, not only the reading of this row.
class stored_row {
public:
    static constexpr char whole = 'r';
    static constexpr char unfolded = 'u';

    /// Looks at the bytes of a stored row, if there is one, with further operands on top; copies none of them.
    explicit stored_row(std::optional<std::string_view> stored, std::vector<std::string_view> operands = {})
        : operands_(std::move(operands)) {
        if (!stored) return;
        if (stored->empty()) throw storage_error("it is empty");
        const std::string_view bytes = stored->substr(0, stored->size() - 1);
        if (stored->back() == whole)
            row_ = bytes;
        else if (stored->back() == unfolded)
            take_unfolded(bytes);
        else
            throw storage_error("it is of no known kind");
    }

    /// The row, if nothing is left to be folded.
    [[nodiscard]] std::optional<std::string_view> folded() const noexcept {
        return operands_.empty() ? row_ : std::nullopt;
    }

    /// The row as the table knows it. Throws what its fold throws.
    [[nodiscard]] std::string fold(const table_rules& rules) const {
        if (!rules.fold) throw storage_error("its table folds nothing");
        return rules.fold(row_, operands_);
    }

    /// A byte that tells if there is a row, then the row and the operands, each with its size in front.
    [[nodiscard]] std::string to_unfolded() const {
        std::string out(1, row_ ? '\1' : '\0');
        if (row_) put_part(out, *row_);
        for (const std::string_view operand : operands_) put_part(out, operand);
        return out += unfolded;
    }

private:
    using size_bytes = std::uint32_t;

    static void put_part(std::string& out, std::string_view part) {
        std::byte size[sizeof(size_bytes)];
        qsketch::detail::store_little_endian(size, static_cast<size_bytes>(part.size()));
        out.append(reinterpret_cast<const char*>(size), sizeof size).append(part);
    }

    void take_unfolded(std::string_view in) {
        const bool has_row = in.starts_with('\1');
        std::vector<std::string_view> parts;
        for (in.remove_prefix(in.empty() ? 0 : 1); in.size() >= sizeof(size_bytes);) {
            const auto size =
                qsketch::detail::load_little_endian<size_bytes>(reinterpret_cast<const std::byte*>(in.data()));
            in.remove_prefix(sizeof(size_bytes));
            if (size > in.size()) break;
            parts.push_back(in.substr(0, size));
            in.remove_prefix(size);
        }
        if (!in.empty() || (has_row && parts.empty())) throw storage_error("it is cut short");
        if (has_row) row_ = parts.front();
        operands_.insert(operands_.begin(), parts.begin() + (has_row ? 1 : 0), parts.end());
    }

    std::optional<std::string_view> row_;
    std::vector<std::string_view> operands_;
};

} // namespace qsketch_server
