#include "storage/database.hpp"

#include "storage/log_tail.hpp"
#include "storage/stored_row.hpp"
#include "unhurried.hpp"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/merge_operator.h>
#include <rocksdb/rate_limiter.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <limits>
#include <system_error>

namespace qsketch_server {
namespace {

/// RocksDB insists on a table of the name "default".
constexpr std::array<const char*, table_count> names = {"default", "audience",        "samples", "metrics",
                                                        "traffic", "traffic_by_user", "pages",   "requests"};

constexpr std::size_t cache_bytes = std::size_t{64} << 20;
/// Of all tables' rows that are in memory and in the log only.
constexpr std::size_t buffer_bytes = std::size_t{64} << 20;
/// What is read again after a crash, of large rows: small ones fill the buffers before they fill that.
constexpr std::size_t log_bytes = std::size_t{64} << 20;
constexpr std::uint64_t verified_bytes = std::uint64_t{1} << 30;
constexpr std::uint64_t seconds_of_a_day = 86400;

constexpr std::string_view format_key = "format";
constexpr std::string_view known_format = "2";
/// Has no batches of samples, and is otherwise the same.
constexpr std::string_view earlier_format = "1";

/// Is this a thread of RocksDB's own? These outlive the database, and may be another's next.
thread_local bool in_background = false;

/// Has pauses ask `others_wait` for as long as it lives, if the thread is RocksDB's; others know whom to ask.
class asking {
public:
    explicit asking(const std::function<bool()>& others_wait) : before_(pauses::others_wait) {
        if (in_background) pauses::others_wait = &others_wait;
    }
    ~asking() { pauses::others_wait = before_; }
    asking(const asking&) = delete;
    asking& operator=(const asking&) = delete;

private:
    const std::function<bool()>* before_;
};

class fold_operator final : public rocksdb::MergeOperator {
public:
    fold_operator(table_rules rules, std::function<bool()> others_wait)
        : rules_(std::move(rules)), others_wait_(std::move(others_wait)) {}

    const char* Name() const override { return "qsketch.fold"; }

    bool FullMergeV2(const MergeOperationInput& in, MergeOperationOutput* out) const override {
        const asking whom(others_wait_);
        pause_for(in.operand_list);
        std::optional<std::string_view> existing;
        if (in.existing_value != nullptr) existing = view_of(*in.existing_value);
        try {
            const stored_row stored(existing, views(in.operand_list));
            try {
                out->new_value = stored.fold(rules_) + stored_row::whole;
            } catch (const std::exception&) {
                out->new_value = stored.to_unfolded();
            }
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }

    bool PartialMergeMulti(const rocksdb::Slice&, const std::deque<rocksdb::Slice>& in, std::string* out,
                           rocksdb::Logger*) const override {
        const asking whom(others_wait_);
        pause_for(in);
        if (!rules_.combine) return false;
        try {
            auto combined = rules_.combine(views(in));
            if (combined) *out = *std::move(combined);
            return combined.has_value();
        } catch (const std::exception&) {
            return false;
        }
    }

private:
    /// To fold that much is work of a tenth of a millisecond, about.
    static constexpr std::size_t folded_at_a_stretch = std::size_t{16} << 10;

    template <class Slices>
    static void pause_for(const Slices& folded) {
        thread_local pauses pause(folded_at_a_stretch);
        for (const rocksdb::Slice& s : folded) pause.after(s.size());
    }
    template <class Slices>
    [[nodiscard]] static std::vector<std::string_view> views(const Slices& slices) {
        std::vector<std::string_view> out;
        out.reserve(slices.size());
        for (const rocksdb::Slice& s : slices) out.push_back(view_of(s));
        return out;
    }

    table_rules rules_;
    std::function<bool()> others_wait_;
};

class expiry_filter final : public rocksdb::CompactionFilter {
public:
    explicit expiry_filter(table_rules rules) : rules_(std::move(rules)) {}

    const char* Name() const override { return "qsketch.expiry"; }

    Decision FilterV2(int, const rocksdb::Slice& key, ValueType type, const rocksdb::Slice& value, std::string*,
                      std::string*) const override {
        if (type != ValueType::kValue) return Decision::kKeep; // an operand is no row yet
        try {
            const stored_row stored(view_of(value));
            if (stored.folded() && rules_.expired(view_of(key), *stored.folded())) return Decision::kRemove;
        } catch (const std::exception&) { // who cannot be read is kept, for a version that can
        }
        return Decision::kKeep;
    }

private:
    table_rules rules_;
};

/// RocksDB's errors in our log. Its own log is a file beside the data, and a disk without room for that would end the
/// process: a failed write to it is followed by an assertion.
class error_log final : public rocksdb::Logger {
public:
    error_log() : Logger(rocksdb::ERROR_LEVEL) {}

    using Logger::Logv;
    void Logv(const char*, std::va_list) override {}
    void Logv(rocksdb::InfoLogLevel level, const char* format, std::va_list values) override {
        if (level < rocksdb::ERROR_LEVEL || level > rocksdb::FATAL_LEVEL) return;
        std::array<char, 512> text{};
        std::vsnprintf(text.data(), text.size(), format, values);
        spdlog::error("storage: {}", text.data());
    }
};

class halt_listener final : public rocksdb::EventListener {
public:
    explicit halt_listener(std::function<void(const std::string&)> on_halt) : on_halt_(std::move(on_halt)) {}

    void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
        if (error->severity() >= rocksdb::Status::kHardError && on_halt_) on_halt_(error->ToString());
    }
    /// Resuming would write to the old log what is left of a record that was never acknowledged; after a crash in the
    /// midst of it, that would be there. So it is for errors only that leave the log alone.
    void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status error, bool* automatic) override {
        if (error.severity() >= rocksdb::Status::kHardError) *automatic = false;
    }

private:
    std::function<void(const std::string&)> on_halt_;
};

/// Lets RocksDB read and write as fast as it can, but asks whether others wait: in its own threads always, and in
/// commits of threads that have pauses.
class courteous_writing final : public rocksdb::RateLimiter {
public:
    explicit courteous_writing(std::function<bool()> others_wait)
        : RateLimiter(Mode::kAllIo), others_wait_(std::move(others_wait)) {}

    /// Writes are made in such parts.
    std::int64_t GetSingleBurstBytes() const override {
        return static_cast<std::int64_t>(database::written_at_a_stretch);
    }

    using RateLimiter::Request;
    void Request(const std::int64_t bytes, const rocksdb::Env::IOPriority priority, rocksdb::Statistics*) override {
        thread_local pauses pause(database::written_at_a_stretch);
        if (priority != rocksdb::Env::IO_USER) in_background = true;
        const asking whom(others_wait_);
        pause.after(static_cast<std::size_t>(bytes));
    }
    /// How the files ask that are in memory only.
    void Request(const std::int64_t bytes, const rocksdb::Env::IOPriority priority) override {
        Request(bytes, priority, nullptr);
    }

    void SetBytesPerSecond(std::int64_t) override {}
    std::int64_t GetTotalBytesThrough(rocksdb::Env::IOPriority) const override { return 0; }
    std::int64_t GetTotalRequests(rocksdb::Env::IOPriority) const override { return 0; }
    std::int64_t GetBytesPerSecond() const override { return std::numeric_limits<std::int64_t>::max(); }

private:
    std::function<bool()> others_wait_;
};

/// What RocksDB says, and the damaged log if it names no file.
[[nodiscard]] storage_error damaged(const std::string& path, const rocksdb::Status& status) {
    std::string text = path + " cannot be opened: " + status.ToString();
    if (status.IsCorruption() && status.ToString().find(path) == std::string::npos)
        for (const auto& [number, log] : logs_in(path))
            if (!is_whole(log)) text.append(" in ").append(log);
    return storage_error(text);
}

/// Are there files that may hold any?
[[nodiscard]] bool has_rows(const std::string& path) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(path, none))
        if (entry.path().extension() == ".sst" || (entry.path().extension() == ".log" && entry.file_size(none) > 0))
            return true;
    return false;
}

} // namespace

void require(const rocksdb::Status& s) {
    if (!s.ok()) throw storage_error(s.ToString());
}

rocksdb::DBOptions database::options_for(const settings& s) {
    rocksdb::DBOptions out;
    if (s.env != nullptr) out.env = s.env;
    out.create_missing_column_families = true;
    out.max_total_wal_size = log_bytes;
    out.db_write_buffer_size = buffer_bytes;
    out.max_open_files = 96;
    out.max_bgerror_resume_count = 0;
    out.info_log = std::make_shared<error_log>();
    out.rate_limiter = std::make_shared<courteous_writing>(s.others_wait);
    out.writable_file_max_buffer_size = written_at_a_stretch;
    out.listeners.push_back(std::make_shared<halt_listener>(s.on_halt));
    // After synchronous writes only a record that nobody was told of can be torn, the last one, and that has been cut
    // off: what is not whole now is damage. Of others the system may have written what came later and not what came
    // before, so the first that is torn is where they end; flushed, so that no torn log stays among those in use.
    out.wal_recovery_mode = s.when == storage::sync::commit ? rocksdb::WALRecoveryMode::kAbsoluteConsistency
                                                            : rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    out.avoid_flush_during_recovery = s.when == storage::sync::commit;
    return out;
}

std::vector<rocksdb::ColumnFamilyDescriptor> database::families_for(const settings& s, filter_list& filters) {
    rocksdb::BlockBasedTableOptions blocks;
    blocks.block_cache = rocksdb::NewLRUCache(cache_bytes);
    blocks.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    rocksdb::ColumnFamilyOptions common;
    common.compression = rocksdb::kLZ4Compression;
    common.level_compaction_dynamic_level_bytes = true;
    common.write_buffer_size = buffer_bytes / 4;
    // The place of the last insertion is where the search for the next one begins: commits come in the order of keys.
    common.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(1));
    common.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
    std::vector<rocksdb::ColumnFamilyDescriptor> out;
    for (std::size_t i = 0; i < table_count; ++i) {
        rocksdb::ColumnFamilyOptions family = common;
        family.merge_operator = std::make_shared<fold_operator>(s.rules[i], s.others_wait);
        if (!s.rules[i].temporary.empty()) {
            family.write_buffer_size = buffer_bytes / 2; // most of the temporary rows need no file then
            // The rows that they are put into are large: not to be folded before the operands are twice as large.
            family.compaction_style = rocksdb::kCompactionStyleUniversal;
            family.level0_file_num_compaction_trigger = 16;
            family.level0_slowdown_writes_trigger = 40;
            family.level0_stop_writes_trigger = 56;
        }
        if (s.rules[i].expired) {
            filters.push_back(std::make_unique<expiry_filter>(s.rules[i]));
            family.compaction_filter = filters.back().get();
            family.periodic_compaction_seconds = seconds_of_a_day; // not to stay for want of other work
        }
        out.emplace_back(names[i], family);
    }
    return out;
}

const char* database::name(table t) noexcept { return names[static_cast<std::size_t>(t)]; }

database::database(const settings& s) {
    rocksdb::DBOptions options = options_for(s);
    options.create_if_missing = true;
    require(options.env->CreateDirIfMissing(s.path));
    rocksdb::DB* opened = nullptr;
    const auto status = unhurried([&] { // as the threads are that this makes
        return rocksdb::DB::Open(options, s.path, families_for(s, filters_), &handles_, &opened);
    });
    if (!status.ok()) throw damaged(s.path, status);
    rows_.reset(opened);
}

database::~database() { close(); }

void database::close() noexcept {
    if (!rows_) return;
    for (rocksdb::ColumnFamilyHandle* h : handles_) rows_->DestroyColumnFamilyHandle(h); // before the database
    handles_.clear();
    rows_->Close().PermitUncheckedError();
    rows_.reset();
}

void database::check(const settings& s) {
    const bool empty = !has_rows(s.path); // perhaps of a first start that did not get far
    if (!std::filesystem::exists(s.path + "/CURRENT")) {
        if (empty) return;
        throw storage_error(s.path + "/CURRENT is missing, but there are rows; --repair may find them");
    }
    std::vector<std::string> found;
    const auto listed = rocksdb::DB::ListColumnFamilies({}, s.path, &found);
    if (!listed.ok()) throw damaged(s.path, listed);
    for (const std::string& name : found)
        if (std::find(names.begin(), names.end(), name) == names.end())
            throw storage_error(s.path + " has a table \"" + name + "\": a newer version has written it");
    if (found.size() < names.size() && !empty)
        throw storage_error(s.path + " has lost tables: the file that its CURRENT names is damaged");
    if (s.when != storage::sync::commit) return;
    const auto log = newest_log(s.path);
    if (!log) return;
    if (const auto torn = cut_torn_tail(*log); torn > 0)
        spdlog::warn("storage: {} ended in {} bytes of a torn record, which nobody was told was kept", *log, torn);
}

void database::settle_format() {
    std::string found;
    const auto status = rows_->Get({}, slice_of(format_key), &found);
    if (status.ok()) {
        found.resize(found.empty() ? 0 : found.size() - 1);
        if (found == known_format) return;
        if (found != earlier_format)
            throw storage_error(rows_->GetName() + " has the format " + found + ", this version knows the formats " +
                                std::string(earlier_format) + " and " + std::string(known_format) + " only");
    } else if (!status.IsNotFound()) {
        require(status);
    } else if (rows_->GetLatestSequenceNumber() > 0) {
        throw storage_error(rows_->GetName() + " has rows and no format: this server has not written it");
    }
    rocksdb::WriteOptions synced;
    synced.sync = true;
    require(rows_->Put(synced, slice_of(format_key), std::string(known_format) + stored_row::whole));
}

void database::verify() const {
    std::uint64_t bytes = 0;
    if (rows_->GetAggregatedIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize, &bytes) && bytes <= verified_bytes)
        require(rows_->VerifyChecksum());
}

std::map<std::uint64_t, std::string> logs_in(const std::string& path) {
    std::map<std::uint64_t, std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
        if (entry.path().extension() != ".log") continue;
        const std::string stem = entry.path().stem();
        std::uint64_t number = 0;
        if (std::from_chars(stem.data(), stem.data() + stem.size(), number).ec == std::errc{})
            out.emplace(number, entry.path());
    }
    return out;
}

std::optional<std::string> newest_log(const std::string& path) {
    const auto logs = logs_in(path);
    for (auto log = logs.rbegin(); log != logs.rend(); ++log) {
        std::error_code gone; // as those are that RocksDB has no more use for
        if (const auto size = std::filesystem::file_size(log->second, gone); !gone && size > 0) return log->second;
    }
    return {};
}

} // namespace qsketch_server
