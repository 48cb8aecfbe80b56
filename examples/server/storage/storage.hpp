#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

// What the server asks of whatever keeps its rows: ordered tables of bytes, changes that become durable together, and
// rows that are folded from small operands by a function of the table. No HTTP and no sketches here.
namespace qsketch_server {

/// The disk says no: full, torn, read-only. The message is for operators.
class storage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

enum class table : std::uint8_t { meta, audience, samples, metrics, traffic, traffic_by_user, pages, requests };
inline constexpr std::size_t table_count = 8;

/// How the rows of one table are folded and when they may go.
struct table_rules {
    /// The row after the operands, oldest first, have been applied to `existing` (none: a new row). Empty for a table
    /// whose rows are only replaced. May throw: then the row cannot be read, and stays as it is.
    std::function<std::string(std::optional<std::string_view> existing, std::span<const std::string_view> operands)>
        fold;
    /// One operand in place of several, without the row; empty or no result: they stay as they are.
    std::function<std::optional<std::string>(std::span<const std::string_view> operands)> combine;
    /// True if the row may be forgotten, at any time from now on. Empty: never.
    std::function<bool(std::string_view key, std::string_view row)> expired;
    /// Rows whose keys begin so are put into others in the end, and would count twice if they came back: a repair
    /// leaves out those that a file which is lost may have removed. Empty: there are none.
    std::string temporary{};
};

/// Changes that become durable together, and then visible together.
class changes {
public:
    changes();
    changes(changes&&) noexcept;
    changes& operator=(changes&&) noexcept;
    ~changes();

    void put(table where, std::string_view key, std::string_view row);
    void merge(table where, std::string_view key, std::string_view operand);
    void remove(table where, std::string_view key);

    /// `apply` is called when the changes are durable: those of one commit in the order of these calls, those of
    /// different commits in the order in which these became durable, one at a time, and before commit() returns. So it
    /// should be short. It may run on a thread that is in another commit(), so it must not ask for locks that are held
    /// over one. It must not throw.
    void then(std::function<void()> apply);
    /// Kept until the changes are applied or given up, and let go by the thread that called commit(): locks, pins. For
    /// commit_later() only what another thread may let go.
    void hold(std::shared_ptr<void> until_done);

    [[nodiscard]] bool empty() const noexcept;

private:
    friend class storage;
    struct state;
    std::unique_ptr<state> state_;
};

/// All members may be called from any thread.
class storage {
public:
    enum class sync : std::uint8_t { commit, async, none };

    struct settings {
        std::string path;
        sync when = sync::commit;
        bool repair = false; ///< Save what can be saved of a damaged store before it is opened.
        /// Is there anything that should not have to wait for what is done in the background? Called from any thread.
        std::function<bool()> others_wait{};
    };

    /// Opens or makes the store, and locks it. With sync::none nothing is kept and the path is not looked at.
    /// Throws storage_error, naming the file or directory and what is wrong with it.
    storage(const settings& s, std::span<const table_rules, table_count> rules);
    storage(const storage&) = delete;
    storage& operator=(const storage&) = delete;
    ~storage();

    /// Makes the changes durable, together with those of other threads that wait, and then applies them.
    /// Throws storage_error; then none of them has been applied.
    void commit(changes&& what);

    /// As commit(), without waiting: `done` is called by another thread, with what went wrong or, if all is well, an
    /// empty text. That thread lets go what the changes hold, before it calls. `done` must not throw, and not wait.
    void commit_later(changes&& what, std::function<void(const std::string& error)> done);

    /// What every commit that has returned, and perhaps ones under way, made of the row.
    [[nodiscard]] std::optional<std::string> get(table where, std::string_view key) const;

    /// Calls visit(key, row) for the rows with from <= key < until in order, until it returns false. An empty `until`
    /// is the end of the table. The view is that of one moment.
    void scan(table where, std::string_view from, std::string_view until,
              const std::function<bool(std::string_view key, std::string_view row)>& visit) const;

    /// As scan(), of keys whose rows need not be readable.
    void scan_keys(table where, std::string_view from, std::string_view until,
                   const std::function<bool(std::string_view key)>& visit) const;

    struct figures {
        std::uint64_t bytes = 0;   ///< On disk.
        std::uint64_t free = 0;    ///< Bytes left on that disk.
        std::uint64_t commits = 0; ///< Calls of commit() that have returned.
        std::uint64_t syncs = 0;   ///< Times the disk was waited for.
        bool writable = true;      ///< False after a failed write, until one succeeds again.
    };
    [[nodiscard]] figures now() const;

private:
    struct engine;
    std::unique_ptr<engine> engine_;
};

} // namespace qsketch_server
