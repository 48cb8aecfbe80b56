#pragma once

#include "storage/storage.hpp"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/merge_operator.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

// How table_rules look to RocksDB.
namespace qsketch_server {

[[nodiscard]] inline std::string_view view_of(const rocksdb::Slice& s) noexcept { return {s.data(), s.size()}; }
[[nodiscard]] inline rocksdb::Slice slice_of(std::string_view s) noexcept { return {s.data(), s.size()}; }

/// A row as it is stored: the row and a byte that says so. Or, after fold has thrown, what could not be folded and
/// another byte: a merge operator that fails would end all writing to the database, not only reading this row.
class stored_row {
public:
    static constexpr char whole = 'r';
    static constexpr char unfolded = 'u';

    /// Takes the existing stored row, if there is one, and operands on top of it.
    explicit stored_row(const rocksdb::Slice* existing, std::vector<std::string_view> operands = {})
        : operands_(std::move(operands)) {
        if (existing == nullptr) return;
        std::string_view all = view_of(*existing);
        const bool plain = all.empty() || all.back() == whole;
        if (!all.empty()) all.remove_suffix(1);
        if (plain)
            row_ = all;
        else
            take_unfolded(all);
    }

    [[nodiscard]] std::optional<std::string_view> row() const noexcept { return row_; }
    [[nodiscard]] bool is_folded() const noexcept { return operands_.empty(); }

    /// Throws what the table's fold throws.
    [[nodiscard]] std::string fold(const table_rules& rules) const {
        if (!rules.fold) throw storage_error("the table has no fold");
        return rules.fold(row_, operands_);
    }

    /// Has-a-row byte, and each part with its size in front: a row if there is one, the operands.
    [[nodiscard]] std::string as_unfolded() const {
        std::string out(1, row_ ? '\1' : '\0');
        if (row_) put_part(out, *row_);
        for (const std::string_view o : operands_) put_part(out, o);
        return out += unfolded;
    }

private:
    static void put_part(std::string& out, std::string_view part) {
        const auto size = static_cast<std::uint32_t>(part.size());
        out.append(reinterpret_cast<const char*>(&size), sizeof size).append(part);
    }

    void take_unfolded(std::string_view in) {
        const bool has_row = in.front() == '\1';
        std::vector<std::string_view> parts;
        for (in.remove_prefix(1); !in.empty();) {
            std::uint32_t size = 0;
            std::memcpy(&size, in.data(), sizeof size);
            parts.push_back(in.substr(sizeof size, size));
            in.remove_prefix(sizeof size + size);
        }
        if (has_row) {
            row_ = parts.front();
            parts.erase(parts.begin());
        }
        operands_.insert(operands_.begin(), parts.begin(), parts.end());
    }

    std::optional<std::string_view> row_;
    std::vector<std::string_view> operands_;
};

class fold_operator final : public rocksdb::MergeOperator {
public:
    explicit fold_operator(table_rules rules) : rules_(std::move(rules)) {}

    const char* Name() const override { return "qsketch.fold"; }

    bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
        std::vector<std::string_view> operands;
        operands.reserve(in.operand_list.size());
        for (const rocksdb::Slice& o : in.operand_list) operands.push_back(view_of(o));
        const stored_row stored(in.existing_value, std::move(operands));
        try {
            out->new_value = stored.fold(rules_);
            out->new_value += stored_row::whole;
        } catch (...) {
            out->new_value = stored.as_unfolded();
        }
        return true;
    }

    bool PartialMergeMulti(const rocksdb::Slice&, const std::deque<rocksdb::Slice>& in, std::string* out,
                           rocksdb::Logger*) const override {
        if (!rules_.combine) return false;
        std::vector<std::string_view> operands;
        for (const rocksdb::Slice& o : in) operands.push_back(view_of(o));
        try {
            auto combined = rules_.combine(operands);
            if (combined) *out = *std::move(combined);
            return combined.has_value();
        } catch (...) {
            return false;
        }
    }

private:
    table_rules rules_;
};

class expiry_filter final : public rocksdb::CompactionFilter {
public:
    explicit expiry_filter(table_rules rules) : rules_(std::move(rules)) {}

    const char* Name() const override { return "qsketch.expiry"; }

    Decision FilterV2(int, const rocksdb::Slice& key, ValueType type, const rocksdb::Slice& value, std::string*,
                      std::string*) const override {
        if (type != ValueType::kValue) return Decision::kKeep; // an operand is no row yet
        const stored_row stored(&value);
        try {
            return stored.is_folded() && rules_.expired(view_of(key), *stored.row()) ? Decision::kRemove
                                                                                     : Decision::kKeep;
        } catch (...) {
            return Decision::kKeep;
        }
    }

private:
    table_rules rules_;
};

} // namespace qsketch_server
