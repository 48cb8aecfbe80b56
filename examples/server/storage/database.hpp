#pragma once

#include "storage/storage.hpp"

#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace qsketch_server {

[[nodiscard]] inline std::string_view view_of(const rocksdb::Slice& s) noexcept { return {s.data(), s.size()}; }
[[nodiscard]] inline rocksdb::Slice slice_of(std::string_view s) noexcept { return {s.data(), s.size()}; }

/// Throws storage_error unless the status is ok.
void require(const rocksdb::Status& s);

/// An open RocksDB with one column family a table.
class database {
public:
    /// Bytes that are summed up and written, or compressed, in a tenth of a millisecond, about.
    static constexpr std::size_t written_at_a_stretch = std::size_t{64} << 10;

    struct settings {
        std::string path;
        storage::sync when = storage::sync::commit;
        std::array<table_rules, table_count> rules;
        rocksdb::Env* env = nullptr; ///< Null: the system's files.
        /// Called when writing has come to an end in the background, with the reason.
        std::function<void(const std::string&)> on_halt;
        std::function<bool()> others_wait; ///< As storage::settings has it.
    };

    /// Makes it if there is none. Throws storage_error.
    explicit database(const settings& s);
    database(const database&) = delete;
    database& operator=(const database&) = delete;
    ~database();

    /// To be called before a database on disk is first opened: cuts off the torn tail of its log. Throws storage_error
    /// if it has tables that are not known here, or if parts of it are missing or damaged, naming the file.
    static void check(const settings& s);
    /// Puts one with all that is sound of it in the place of a damaged one, which is kept beside it under another name.
    /// Does nothing if there is no damage. Throws storage_error.
    static void repair(const settings& s);

    /// Writes down the format of a new one, or of one of the earlier format, of which this has all. Throws
    /// storage_error if the format is not known here; nothing has been lost till then, as what cannot be folded is
    /// kept.
    void settle_format();
    /// Reads all of it, up to some size, and throws storage_error for a checksum that does not fit.
    void verify() const;

    [[nodiscard]] rocksdb::DB& rows() const noexcept { return *rows_; }
    [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(table t) const { return handles_[static_cast<std::size_t>(t)]; }
    [[nodiscard]] static const char* name(table t) noexcept;

private:
    database() = default;
    void close() noexcept;
    void replay(const std::map<std::uint64_t, std::string>& logs);

    using filter_list = std::vector<std::unique_ptr<rocksdb::CompactionFilter>>;

    [[nodiscard]] static rocksdb::DBOptions options_for(const settings& s);
    /// The filters have to outlive the database.
    [[nodiscard]] static std::vector<rocksdb::ColumnFamilyDescriptor> families_for(const settings& s,
                                                                                   filter_list& filters);

    filter_list filters_;
    std::unique_ptr<rocksdb::DB> rows_;
    std::vector<rocksdb::ColumnFamilyHandle*> handles_;
};

/// The logs of the database in that directory by their numbers, which count with those of its other files.
[[nodiscard]] std::map<std::uint64_t, std::string> logs_in(const std::string& path);
/// The last of them that is not empty.
[[nodiscard]] std::optional<std::string> newest_log(const std::string& path);

} // namespace qsketch_server
