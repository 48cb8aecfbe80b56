#include "storage/database.hpp"
#include "storage/log_tail.hpp"

#include <rocksdb/sst_file_reader.h>
#include <rocksdb/write_batch.h>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

// With a sound list of files, those that are sound themselves are put together anew, each where it was. Without one,
// RocksDB's own repair makes another list. The logs are not its business: it would read them again for tables as well
// whose rows of that log are in files already, and so count them twice.
namespace qsketch_server {
namespace {

namespace fs = std::filesystem;

[[nodiscard]] std::string unused_name(const std::string& stem) {
    for (int i = 1;; ++i)
        if (const std::string name = stem + "-" + std::to_string(i); !fs::exists(name)) return name;
}

using table_file = rocksdb::LiveFileMetaData;

[[nodiscard]] bool is_sound(const table_file& file, const rocksdb::ColumnFamilyOptions& family) {
    rocksdb::SstFileReader reader(rocksdb::Options({}, family));
    const bool sound = reader.Open(file.db_path + file.name).ok() && reader.VerifyChecksum().ok();
    if (!sound)
        spdlog::warn("storage: {}{}, {} rows of the table {}, is damaged and left out", file.db_path, file.name,
                     file.num_entries, file.column_family_name);
    return sound;
}

/// The temporary rows of a table that a lost file of it may have removed: those in the levels below it, of the keys it
/// had, of which no level above has a newer one. In level 0 a file has all that a commit changed in its table.
[[nodiscard]] std::set<std::string> perhaps_removed(const table_file& lost, std::span<const table_file> sound,
                                                    const rocksdb::ColumnFamilyOptions& family,
                                                    const std::string& temporary) {
    std::set<std::string> out;
    if (temporary.empty() || lost.level == 0) return out;
    const auto each_key = [&](const table_file& file, const auto& visit) {
        rocksdb::SstFileReader reader(rocksdb::Options({}, family));
        require(reader.Open(file.db_path + file.name));
        const std::unique_ptr<rocksdb::Iterator> at(reader.NewIterator({}));
        for (at->Seek((std::max)(temporary, lost.smallestkey));
             at->Valid() && at->key().starts_with(temporary) && at->key().compare(lost.largestkey) <= 0; at->Next())
            visit(at->key().ToString());
        require(at->status());
    };
    const auto of_table = [&](const table_file& file) { return file.column_family_name == lost.column_family_name; };
    for (const table_file& file : sound)
        if (of_table(file) && file.level > lost.level)
            each_key(file, [&](std::string key) { out.insert(std::move(key)); });
    if (out.empty()) return out;
    for (const table_file& file : sound)
        if (of_table(file) && file.level < lost.level) each_key(file, [&](const std::string& key) { out.erase(key); });
    return out;
}

/// The changes in a log to tables whose files are all older than it; those of others may be in their files.
class unflushed final : public rocksdb::WriteBatch::Handler {
public:
    unflushed(std::uint64_t log, std::span<const std::uint64_t> newest_files,
              std::span<rocksdb::ColumnFamilyHandle* const> tables)
        : log_(log), newest_files_(newest_files), tables_(tables) {}

    rocksdb::WriteBatch batch;

    rocksdb::Status PutCF(std::uint32_t t, const rocksdb::Slice& key, const rocksdb::Slice& row) override {
        return wanted(t) ? batch.Put(tables_[t], key, row) : rocksdb::Status::OK();
    }
    rocksdb::Status MergeCF(std::uint32_t t, const rocksdb::Slice& key, const rocksdb::Slice& operand) override {
        return wanted(t) ? batch.Merge(tables_[t], key, operand) : rocksdb::Status::OK();
    }
    rocksdb::Status DeleteCF(std::uint32_t t, const rocksdb::Slice& key) override {
        return wanted(t) ? batch.Delete(tables_[t], key) : rocksdb::Status::OK();
    }

private:
    [[nodiscard]] bool wanted(std::uint32_t t) const { return t < tables_.size() && newest_files_[t] < log_; }

    std::uint64_t log_;
    std::span<const std::uint64_t> newest_files_;
    std::span<rocksdb::ColumnFamilyHandle* const> tables_;
};

} // namespace

void database::replay(const std::map<std::uint64_t, std::string>& logs) {
    std::array<std::uint64_t, table_count> newest_files{};
    std::vector<table_file> files;
    rows_->GetLiveFilesMetaData(&files);
    for (std::size_t t = 0; t < table_count; ++t)
        for (const auto& file : files)
            if (file.column_family_name == name(static_cast<table>(t)))
                newest_files[t] = (std::max)(newest_files[t], file.file_number);
    for (const auto& [number, log] : logs) {
        spdlog::warn("storage: of {} only the changes to tables are taken whose files are all older", log);
        each_record(log, [&, n = number](std::string_view record) {
            unflushed changes(n, newest_files, handles_);
            require(rocksdb::WriteBatch(std::string(record)).Iterate(&changes));
            require(rows_->Write({}, &changes.batch));
        });
    }
}

void database::repair(const settings& s) {
    if (!fs::exists(s.path)) return;
    filter_list filters;
    auto families = families_for(s, filters);
    for (auto& family : families) family.options.disable_auto_compactions = true;
    rocksdb::DBOptions options = options_for(s);
    options.paranoid_checks = false; // so that it opens with damaged files
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kSkipAnyCorruptedRecords;
    options.avoid_flush_during_recovery = false;
    options.create_missing_column_families = false; // one that is missing is a part of the list lost

    const auto open = [&](database& into) {
        rocksdb::DB* opened = nullptr;
        const auto status = rocksdb::DB::Open(options, s.path, families, &into.handles_, &opened);
        into.rows_.reset(opened);
        return status;
    };
    database old;
    if (const auto status = open(old); !status.ok()) {
        spdlog::warn("storage: {}", status.ToString());
        const std::string aside = unused_name(s.path + ".logs");
        fs::create_directory(aside);
        for (const auto& [number, log] : logs_in(s.path)) fs::rename(log, fs::path(aside) / fs::path(log).filename());
        for (auto& family : families) family.options.force_consistency_checks = false;
        options.create_missing_column_families = true;
        auto listed = rocksdb::RepairDB(s.path, options, families, families.front().options);
        if (listed.ok()) listed = open(old);
        if (!listed.ok())
            throw storage_error(s.path + " cannot be repaired, its logs are in " + aside + ": " + listed.ToString());
        old.replay(logs_in(aside));
    }

    std::vector<table_file> files;
    old.rows_->GetLiveFilesMetaData(&files);
    const auto damaged = std::stable_partition(
        files.begin(), files.end(), [&](const auto& file) { return is_sound(file, families.front().options); });
    if (damaged == files.end()) return;
    const std::vector<table_file> lost(damaged, files.end());
    files.erase(damaged, files.end());

    const std::string place = s.path + ".new";
    fs::remove_all(place);
    settings anew = s;
    anew.path = place;
    {
        options = options_for(anew);
        options.create_if_missing = true;
        fs::create_directory(place);
        database fresh;
        rocksdb::DB* opened = nullptr;
        require(rocksdb::DB::Open(options, place, {families.front()}, &fresh.handles_, &opened));
        fresh.rows_.reset(opened);
        fresh.settle_format();
        const std::unique_ptr<rocksdb::Iterator> at(old.rows_->NewIterator({}));
        for (at->SeekToFirst(); at->Valid(); at->Next()) require(fresh.rows_->Put({}, at->key(), at->value()));
        for (auto family = families.begin() + 1; family != families.end(); ++family) {
            const auto of_table = [&](const table_file& file) { return file.column_family_name == family->name; };
            rocksdb::ExportImportFilesMetaData kept;
            kept.db_comparator_name = family->options.comparator->Name();
            std::copy_if(files.begin(), files.end(), std::back_inserter(kept.files), of_table);
            rocksdb::ColumnFamilyHandle* handle = nullptr;
            require(kept.files.empty()
                        ? fresh.rows_->CreateColumnFamily(family->options, family->name, &handle)
                        : fresh.rows_->CreateColumnFamilyWithImport(family->options, family->name, {}, kept, &handle));
            fresh.handles_.push_back(handle);
            const std::string& temporary = s.rules[fresh.handles_.size() - 1].temporary;
            for (const table_file& file : lost) {
                if (!of_table(file)) continue;
                const auto back = perhaps_removed(file, files, family->options, temporary);
                for (const std::string& key : back) require(fresh.rows_->Delete({}, handle, key));
                if (!back.empty())
                    spdlog::warn("storage: {} may have held the removal of rows of the table {}: left out are {}",
                                 file.name, family->name, back.size());
            }
        }
        require(fresh.rows_->SyncWAL());
    }
    old.close();
    const std::string kept = unused_name(s.path + ".damaged");
    fs::rename(s.path, kept);
    fs::rename(place, s.path);
    spdlog::warn("storage: {} has been made anew of what was sound, the damaged one is kept as {}", s.path, kept);
}

} // namespace qsketch_server
