#include "storage/change_list.hpp"
#include "storage/fold_operator.hpp"

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <system_error>

namespace qsketch_server {
namespace {

/// RocksDB insists on a table of the name "default".
constexpr std::array<const char*, table_count> names = {"default", "audience",        "samples", "metrics",
                                                        "traffic", "traffic_by_user", "pages",   "requests"};
constexpr std::string_view format_key = "format";
constexpr std::string_view format = "1";

constexpr std::size_t cache_bytes = std::size_t{128} << 20;
constexpr std::size_t buffer_bytes = std::size_t{64} << 20; // of all tables; the log is bounded to the same
constexpr std::size_t group_bytes = std::size_t{4} << 20;

[[nodiscard]] std::string system_message() { return std::error_code(errno, std::generic_category()).message(); }

void require(const rocksdb::Status& s) {
    if (!s.ok()) throw storage_error(s.ToString());
}

/// The directory, with the lock that keeps a second server out of it.
class locked_directory {
public:
    explicit locked_directory(const std::string& path) {
        std::error_code error;
        std::filesystem::create_directories(path, error);
        if (error) throw storage_error(path + " cannot be made: " + error.message());
        const std::string file = path + "/lock";
        fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
        if (fd_ < 0) throw storage_error(file + " cannot be opened: " + system_message());
        if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
        const std::string why = errno == EWOULDBLOCK ? "another server works on it" : system_message();
        ::close(fd_);
        throw storage_error(path + " cannot be locked: " + why);
    }
    ~locked_directory() { ::close(fd_); }
    locked_directory(const locked_directory&) = delete;
    locked_directory& operator=(const locked_directory&) = delete;

private:
    int fd_;
};

} // namespace

struct storage::engine {
    /// One who waits in commit().
    struct waiter {
        changes::state& what;
        bool leads = false;
        bool done = false;
        std::string error;
        std::condition_variable wake;
    };

    engine(const settings& s, std::span<const table_rules, table_count> table_rules) : when(s.when) {
        for (std::size_t i = 0; i < table_count; ++i) {
            rules[i] = table_rules[i];
            if (rules[i].expired) filters[i] = std::make_unique<expiry_filter>(rules[i]);
        }
        std::string path = "/rows";
        if (when == sync::none) {
            memory.reset(rocksdb::NewMemEnv(rocksdb::Env::Default()));
        } else {
            directory = std::make_unique<locked_directory>(s.path);
            path = s.path + path;
        }
        open(path);
    }

    ~engine() { close(); }

    void open(const std::string& path) {
        rocksdb::DBOptions options;
        if (memory) options.env = memory.get();
        options.create_if_missing = true;
        options.create_missing_column_families = true;
        options.max_total_wal_size = buffer_bytes;
        options.db_write_buffer_size = buffer_bytes;
        options.max_open_files = 96;
        options.keep_log_file_num = 2;
        options.max_log_file_size = 1 << 20;
        options.info_log_level = rocksdb::WARN_LEVEL;
        rocksdb::BlockBasedTableOptions blocks;
        blocks.block_cache = rocksdb::NewLRUCache(cache_bytes);
        blocks.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
        std::vector<rocksdb::ColumnFamilyDescriptor> families;
        for (std::size_t i = 0; i < table_count; ++i) {
            rocksdb::ColumnFamilyOptions family;
            family.compression = rocksdb::kLZ4Compression;
            family.level_compaction_dynamic_level_bytes = true;
            family.write_buffer_size = buffer_bytes / 4;
            family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(blocks));
            family.merge_operator = std::make_shared<fold_operator>(rules[i]);
            family.compaction_filter = filters[i].get();
            families.emplace_back(names[i], family);
        }
        rocksdb::DB* opened = nullptr;
        require(rocksdb::DB::Open(options, path, families, &tables, &opened));
        db.reset(opened);
    }

    void close() {
        if (!db) return;
        for (rocksdb::ColumnFamilyHandle* t : tables) db->DestroyColumnFamilyHandle(t); // before the database
        tables.clear();
        db->Close();
        db.reset();
    }

    [[nodiscard]] rocksdb::ColumnFamilyHandle* handle(table t) const { return tables[static_cast<std::size_t>(t)]; }

    void commit(changes::state& what) {
        waiter self{what, false, false, {}, {}};
        std::unique_lock lock(mutex);
        waiting.push_back(&self);
        if (leading)
            self.wake.wait(lock, [&] { return self.leads || self.done; });
        else
            leading = true;
        if (!self.done) lead(lock);
        ++commits;
        if (!self.error.empty()) throw storage_error(self.error);
    }

    /// Writes for all who wait, and hands on to the first of those who come meanwhile.
    void lead(std::unique_lock<std::mutex>& lock) {
        std::vector<waiter*> group;
        std::size_t size = 0;
        while (!waiting.empty() && (group.empty() || size + waiting.front()->what.rows.size() <= group_bytes)) {
            size += waiting.front()->what.rows.size();
            group.push_back(waiting.front());
            waiting.pop_front();
        }
        lock.unlock();
        std::string error;
        try {
            write(group, size);
            for (waiter* w : group)
                for (const auto& apply : w->what.applies) apply();
        } catch (const std::exception& e) {
            error = e.what();
        }
        lock.lock();
        leading = !waiting.empty();
        if (leading) {
            waiting.front()->leads = true;
            waiting.front()->wake.notify_one();
        }
        for (waiter* w : group) {
            w->error = error;
            w->done = true;
            w->wake.notify_one();
        }
    }

    void write(const std::vector<waiter*>& group, std::size_t size) {
        rocksdb::WriteBatch batch(size + size / 2);
        static constexpr char tag = stored_row::whole;
        for (const waiter* w : group)
            w->what.each([&](changes::state::kind kind, table where, std::string_view key, std::string_view row) {
                if (kind == changes::state::kind::merge) {
                    require(batch.Merge(handle(where), slice_of(key), slice_of(row)));
                } else if (kind == changes::state::kind::remove) {
                    require(batch.Delete(handle(where), slice_of(key)));
                } else {
                    const rocksdb::Slice k = slice_of(key);
                    const std::array<rocksdb::Slice, 2> parts = {slice_of(row), rocksdb::Slice(&tag, 1)};
                    require(batch.Put(handle(where), rocksdb::SliceParts(&k, 1), rocksdb::SliceParts(parts.data(), 2)));
                }
            });
        rocksdb::WriteOptions options;
        options.sync = when == sync::commit;
        options.disableWAL = when == sync::none;
        if (batch.Count() > 0) require(db->Write(options, &batch));
        if (options.sync) ++syncs;
    }

    /// The row, folded again if that failed before.
    [[nodiscard]] std::string row_of(table where, std::string_view key, const rocksdb::Slice& value) const {
        const stored_row stored(&value);
        if (stored.is_folded()) return std::string(*stored.row());
        try {
            return stored.fold(rules[static_cast<std::size_t>(where)]);
        } catch (const std::exception& e) {
            throw storage_error(std::string("a row of the table ") + names[static_cast<std::size_t>(where)] +
                                " cannot be read: " + e.what() + ", key " +
                                rocksdb::Slice(slice_of(key)).ToString(true));
        }
    }

    sync when;
    std::array<table_rules, table_count> rules;
    std::array<std::unique_ptr<expiry_filter>, table_count> filters;
    std::unique_ptr<locked_directory> directory;
    std::unique_ptr<rocksdb::Env> memory;
    std::unique_ptr<rocksdb::DB> db;
    std::vector<rocksdb::ColumnFamilyHandle*> tables;

    std::mutex mutex;
    std::deque<waiter*> waiting;
    bool leading = false;
    std::atomic<std::uint64_t> commits = 0;
    std::atomic<std::uint64_t> syncs = 0;
};

storage::storage(const settings& s, std::span<const table_rules, table_count> rules)
    : engine_(std::make_unique<engine>(s, rules)) {}
storage::~storage() = default;

void storage::commit(changes&& what) {
    const changes taken = std::move(what); // what it holds is let go here, by the thread that took hold of it
    engine_->commit(*taken.state_);
}

std::optional<std::string> storage::get(table where, std::string_view key) const {
    rocksdb::PinnableSlice value;
    const auto status = engine_->db->Get({}, engine_->handle(where), slice_of(key), &value);
    if (status.IsNotFound()) return {};
    require(status);
    return engine_->row_of(where, key, value);
}

void storage::scan(table where, std::string_view from, std::string_view until,
                   const std::function<bool(std::string_view key, std::string_view row)>& visit) const {
    rocksdb::ReadOptions options;
    const rocksdb::Slice bound = slice_of(until);
    if (!until.empty()) options.iterate_upper_bound = &bound;
    const std::unique_ptr<rocksdb::Iterator> at(engine_->db->NewIterator(options, engine_->handle(where)));
    for (at->Seek(slice_of(from)); at->Valid(); at->Next())
        if (!visit(view_of(at->key()), engine_->row_of(where, view_of(at->key()), at->value()))) return;
    require(at->status());
}

storage::figures storage::now() const {
    figures out;
    out.commits = engine_->commits;
    out.syncs = engine_->syncs;
    return out;
}

} // namespace qsketch_server
