#include "storage/change_list.hpp"
#include "storage/database.hpp"
#include "storage/directory_lock.hpp"
#include "storage/log_tail.hpp"
#include "storage/stored_row.hpp"
#include "storage/unreadable_row.hpp"
#include "unhurried.hpp"

#include <rocksdb/write_batch.h>

#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

namespace qsketch_server {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t group_bytes = std::size_t{4} << 20;
constexpr auto sync_interval = 100ms;
constexpr auto mend_interval = 500ms;
/// What there has to be room for before the database is opened again: several times what that writes.
constexpr std::size_t spare_bytes = std::size_t{1} << 20;

/// Can that much be written there?
[[nodiscard]] bool has_room(const std::string& path) {
    const std::string file = path + "/room";
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    const std::vector<char> chunk(std::size_t{256} << 10);
    bool enough = true;
    for (std::size_t size = 0; enough && size < spare_bytes; size += chunk.size())
        enough = ::write(fd, chunk.data(), chunk.size()) == static_cast<ssize_t>(chunk.size());
    enough = enough && ::fdatasync(fd) == 0;
    ::close(fd);
    ::unlink(file.c_str());
    return enough;
}

} // namespace

// Commits of many threads become one write: the first to come writes for all who wait by then, and hands on to the
// first of those who came meanwhile. One thread keeps house: it syncs now and then if commits do not wait for that, and
// after a failed write it opens the database anew as soon as the disk takes something again. Another one commits for
// those who do not wait: all that has come since it did so last, at once.
struct storage::engine {
    /// One who waits in commit().
    struct waiter {
        explicit waiter(changes::state& w) : what(w) {}

        /// That it is done, or that it is its turn to lead.
        void tell() {
            {
                const std::lock_guard guard(mutex);
                told = true;
            }
            wake.notify_one();
        }
        void wait() {
            std::unique_lock guard(mutex);
            wake.wait(guard, [&] { return told; });
        }

        changes::state& what;
        bool done = false;
        std::string error;

    private:
        std::mutex mutex;
        std::condition_variable wake; // a semaphore spins before it sleeps, half as much again of the processor
        bool told = false;
    };

    /// What somebody wants to be told of.
    struct postponed {
        changes what;
        std::function<void(const std::string& error)> done;
    };

    engine(const settings& s, std::span<const table_rules, table_count> rules) {
        how.when = s.when;
        how.others_wait = s.others_wait;
        std::copy(rules.begin(), rules.end(), how.rules.begin());
        how.on_halt = [this](const std::string& why) { halt(why); };
        how.path = s.path + "/rows";
        if (s.when == sync::none) {
            memory.reset(rocksdb::NewMemEnv(rocksdb::Env::Default()));
            how.env = memory.get();
            how.path = "/rows";
        } else {
            lock = std::make_unique<directory_lock>(s.path);
            if (s.repair) database::repair(how);
            database::check(how);
        }
        opened = std::make_shared<database>(how);
        if (s.when != sync::none) {
            opened->verify();
            opened->settle_format();
        }
        writer = std::thread([this] { commit_postponed(); });
        if (s.when == sync::none) return;
        keeper = std::thread([this] { keep_house(); });
    }

    ~engine() {
        {
            const std::lock_guard guard(later_mutex);
            no_more = true;
        }
        later_wake.notify_one();
        if (writer.joinable()) writer.join();
        if (!keeper.joinable()) return;
        {
            const std::lock_guard guard(mutex);
            ending = true;
        }
        wake.notify_all();
        keeper.join();
        try {
            if (how.when == sync::async && writable) sync_log();
        } catch (const storage_error& e) {
            spdlog::error("storage: the last commits may not be on disk: {}", e.what());
        }
    }

    /// The open database. Waits while it is opened anew.
    [[nodiscard]] std::shared_ptr<database> current() const {
        std::unique_lock guard(mutex);
        wake.wait(guard, [&] { return !reopening; });
        if (!opened) throw storage_error("the store is closed: " + reason);
        return opened;
    }

    void commit(changes::state& what) {
        const auto self = std::make_shared<waiter>(what);
        bool leads = false;
        {
            const std::lock_guard guard(queue_mutex);
            waiting.push_back(self);
            leads = !std::exchange(led, true);
        }
        if (!leads) self->wait();
        if (!self->done) lead();
        if (!self->error.empty()) throw storage_error(self->error);
        ++commits;
    }

    void commit_later(postponed&& p) {
        bool first = false;
        {
            const std::lock_guard guard(later_mutex);
            first = later.empty();
            later.push_back(std::move(p));
        }
        if (first) later_wake.notify_one();
    }

    void commit_postponed() {
        for (std::vector<postponed> batch;; batch.clear()) {
            {
                std::unique_lock guard(later_mutex);
                later_wake.wait(guard, [&] { return no_more || !later.empty(); });
                if (later.empty()) return;
                batch.swap(later);
            }
            std::string error;
            try {
                changes::state all;
                for (const postponed& p : batch) all.append(*p.what.state_);
                commit(all);
            } catch (const std::exception& e) {
                error = *e.what() == '\0' ? "unknown" : e.what();
            }
            for (postponed& p : batch) {
                p.what = {};
                p.done(error);
            }
        }
    }

    void lead() noexcept {
        std::vector<std::shared_ptr<waiter>> group;
        {
            const std::lock_guard guard(queue_mutex);
            std::size_t size = 0;
            while (!waiting.empty() && (group.empty() || size + waiting.front()->what.rows.size() <= group_bytes)) {
                size += waiting.front()->what.rows.size();
                group.push_back(std::move(waiting.front()));
                waiting.pop_front();
            }
        }
        const std::string error = write(group);
        if (error.empty())
            for (const auto& w : group) w->what.apply();
        std::shared_ptr<waiter> next;
        {
            const std::lock_guard guard(queue_mutex);
            led = !waiting.empty();
            if (led) next = waiting.front();
        }
        if (next) next->tell(); // before the others, as it has a disk to wait for
        for (const auto& w : group) {
            w->error = error;
            w->done = true;
            w->tell();
        }
    }

    /// What went wrong; empty if all is well.
    [[nodiscard]] std::string write(const std::vector<std::shared_ptr<waiter>>& group) {
        try {
            const auto db = current();
            if (!writable) throw storage_error("the store takes nothing at the moment: " + why_halted());
            rocksdb::WriteBatch batch;
            stage(group, *db, batch);
            if (batch.Count() == 0) return {};
            rocksdb::WriteOptions options;
            options.sync = how.when == sync::commit;
            options.disableWAL = how.when == sync::none;
            if (!options.disableWAL) options.rate_limiter_priority = rocksdb::Env::IO_USER; // for its pauses
            const std::uint64_t last = db->rows().GetLatestSequenceNumber();
            if (const auto status = db->rows().Write(options, &batch); !status.ok()) {
                halt(status.ToString());
                give_up_after(last);
                throw storage_error(status.ToString());
            }
            unsynced = how.when == sync::async;
            if (options.sync) ++syncs;
            return {};
        } catch (const std::exception& e) {
            return *e.what() == '\0' ? "unknown" : e.what();
        }
    }

    /// In the order of the keys, in which RocksDB finds the place of a row from that of the one before.
    static void stage(const std::vector<std::shared_ptr<waiter>>& group, const database& db,
                      rocksdb::WriteBatch& batch) {
        struct change {
            changes::state::kind kind;
            table where;
            std::string_view key;
            std::string_view row;
        };
        std::vector<change> all;
        std::size_t bytes = 0;
        for (const auto& w : group) {
            bytes += w->what.rows.size();
            w->what.each([&](changes::state::kind kind, table where, std::string_view key, std::string_view row) {
                all.push_back({kind, where, key, row});
            });
        }
        std::stable_sort(all.begin(), all.end(), [](const change& a, const change& b) {
            return a.where != b.where ? a.where < b.where : a.key < b.key;
        });
        batch = rocksdb::WriteBatch(bytes + 64);
        static constexpr char whole = stored_row::whole;
        pauses pause(database::written_at_a_stretch);
        for (const auto& [kind, where, key, row] : all) {
            pause.after(row.size());
            rocksdb::ColumnFamilyHandle* const to = db.handle(where);
            if (kind == changes::state::kind::merge) {
                require(batch.Merge(to, slice_of(key), slice_of(row)));
            } else if (kind == changes::state::kind::remove) {
                require(batch.Delete(to, slice_of(key)));
            } else {
                const rocksdb::Slice k = slice_of(key);
                const std::array<rocksdb::Slice, 2> parts = {slice_of(row), rocksdb::Slice(&whole, 1)};
                require(batch.Put(to, rocksdb::SliceParts(&k, 1), rocksdb::SliceParts(parts.data(), 2)));
            }
        }
    }

    /// Nothing is written any more until the database has been opened anew.
    void halt(const std::string& why) {
        const std::lock_guard guard(mutex);
        if (!writable.exchange(false)) return;
        reason = why;
        spdlog::error("storage: nothing can be written: {}", why);
    }

    [[nodiscard]] std::string why_halted() const {
        const std::lock_guard guard(mutex);
        return reason;
    }

    /// Takes out of the log what was written and not acknowledged: after a crash it would be there.
    void give_up_after(std::uint64_t last) {
        if (how.env != nullptr) return;
        {
            const std::lock_guard guard(mutex);
            given_up_after = last;
        }
        try {
            if (const auto log = newest_log(how.path)) cut_after(*log, last);
        } catch (const std::exception& e) {
            spdlog::error("storage: {}", e.what());
        }
    }

    void sync_log() {
        unsynced = false;
        const auto db = current();
        if (const auto status = db->rows().SyncWAL(); !status.ok()) {
            halt(status.ToString());
            throw storage_error(status.ToString());
        }
        ++syncs;
    }

    void keep_house() {
        auto next_mend = std::chrono::steady_clock::now();
        for (std::unique_lock guard(mutex); !wake.wait_for(guard, sync_interval, [&] { return ending; });) {
            guard.unlock();
            try {
                if (writable) {
                    if (unsynced) sync_log();
                } else if (std::chrono::steady_clock::now() >= next_mend) {
                    mend();
                    next_mend = std::chrono::steady_clock::now() + mend_interval;
                }
            } catch (const std::exception& e) {
                spdlog::debug("storage: {}", e.what());
            }
            guard.lock();
        }
    }

    void mend() {
        if (!has_room(how.path)) return;
        std::optional<std::uint64_t> last;
        {
            const std::lock_guard guard(mutex);
            if (opened.use_count() > 1) return; // somebody reads; soon nobody does
            reopening = true;
            last = given_up_after;
        }
        std::shared_ptr<database> fresh;
        std::string error;
        try {
            opened.reset();
            if (last)
                if (const auto log = newest_log(how.path)) cut_after(*log, *last);
            fresh = std::make_shared<database>(how);
        } catch (const std::exception& e) {
            error = e.what();
        }
        const std::lock_guard guard(mutex);
        opened = std::move(fresh);
        reopening = false;
        if (opened) {
            given_up_after.reset();
            writable = true;
            spdlog::info("storage: writable again");
        } else if (reason != error) {
            reason = error;
            spdlog::error("storage: cannot be opened again: {}", error);
        }
        wake.notify_all();
    }

    /// The row, in `value` or, if it had still to be folded, in `folded`.
    [[nodiscard]] std::string_view row_of(table where, std::string_view key, const rocksdb::Slice& value,
                                          std::string& folded) const {
        return read_row(where, key, [&]() -> std::string_view {
            const stored_row stored(view_of(value));
            if (const auto row = stored.folded()) return *row;
            return folded = stored.fold(how.rules[static_cast<std::size_t>(where)]);
        });
    }

    /// Until visit() returns false.
    template <class Visitor>
    void each_stored(table where, std::string_view from, std::string_view until, Visitor visit) const {
        const auto db = current();
        rocksdb::ReadOptions options;
        const rocksdb::Slice bound = slice_of(until);
        if (!until.empty()) options.iterate_upper_bound = &bound;
        const std::unique_ptr<rocksdb::Iterator> at(db->rows().NewIterator(options, db->handle(where)));
        for (at->Seek(slice_of(from)); at->Valid(); at->Next())
            if (!visit(*at)) return;
        require(at->status());
    }

    database::settings how;
    std::unique_ptr<directory_lock> lock;
    std::unique_ptr<rocksdb::Env> memory; // of sync::none, and outlives what is in it

    mutable std::mutex mutex; // of these six
    mutable std::condition_variable wake;
    std::shared_ptr<database> opened;
    std::string reason;
    bool reopening = false;
    bool ending = false;
    std::atomic<bool> writable = true;
    std::optional<std::uint64_t> given_up_after;

    std::mutex queue_mutex; // of these two
    std::deque<std::shared_ptr<waiter>> waiting;
    bool led = false;

    std::mutex later_mutex; // of these three
    std::condition_variable later_wake;
    std::vector<postponed> later;
    bool no_more = false;

    std::atomic<bool> unsynced = false;
    std::atomic<std::uint64_t> commits = 0;
    std::atomic<std::uint64_t> syncs = 0;
    std::thread keeper;
    std::thread writer;
};

storage::storage(const settings& s, std::span<const table_rules, table_count> rules)
    : engine_(std::make_unique<engine>(s, rules)) {}
storage::~storage() = default;

void storage::commit(changes&& what) {
    const changes taken = std::move(what); // what it holds is let go here, by the thread that took hold of it
    if (!taken.empty()) engine_->commit(*taken.state_);
}

void storage::commit_later(changes&& what, std::function<void(const std::string& error)> done) {
    engine_->commit_later({std::move(what), std::move(done)});
}

std::optional<std::string> storage::get(table where, std::string_view key) const {
    const auto db = engine_->current();
    rocksdb::PinnableSlice value;
    const auto status = db->rows().Get({}, db->handle(where), slice_of(key), &value);
    if (status.IsNotFound()) return {};
    require(status);
    std::string folded;
    return std::string(engine_->row_of(where, key, value, folded));
}

void storage::scan(table where, std::string_view from, std::string_view until,
                   const std::function<bool(std::string_view key, std::string_view row)>& visit) const {
    std::string folded;
    engine_->each_stored(where, from, until, [&](const rocksdb::Iterator& at) {
        return visit(view_of(at.key()), engine_->row_of(where, view_of(at.key()), at.value(), folded));
    });
}

void storage::scan_keys(table where, std::string_view from, std::string_view until,
                        const std::function<bool(std::string_view key)>& visit) const {
    engine_->each_stored(where, from, until, [&](const rocksdb::Iterator& at) { return visit(view_of(at.key())); });
}

storage::figures storage::now() const {
    figures out;
    out.commits = engine_->commits;
    out.syncs = engine_->syncs;
    out.writable = engine_->writable;
    if (engine_->how.when == sync::none) return out;
    std::error_code gone; // as files may be while we look
    for (std::filesystem::directory_iterator file(engine_->how.path, gone), end; !gone && file != end;
         file.increment(gone)) {
        std::error_code unknown;
        if (const auto size = file->file_size(unknown); !unknown) out.bytes += size;
    }
    if (const auto room = std::filesystem::space(engine_->how.path, gone); !gone) out.free = room.available;
    return out;
}

} // namespace qsketch_server
