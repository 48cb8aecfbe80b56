#pragma once

#include "domain/batch_log.hpp"
#include "domain/group_records.hpp"
#include "domain/sample_batch.hpp"
#include "domain/series_rows.hpp"
#include "domain/turnstile.hpp"
#include "storage/ordered_key.hpp"
#include "storage/storage.hpp"
#include "storage/unreadable_row.hpp"
#include "unhurried.hpp"

#include <qsketch/detail/endian.hpp>
#include <qsketch/keyed.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace qsketch_server {

/// Series of samples by name, durable: a window each.
///
/// The store has all of it. A change adds an operand to the row of each series. Names stay in memory; so do the windows
/// that are in use, as far as the memory allowed suffices. A window in memory is what all applied commits made of its
/// series: a new series begins with an empty one, the others come from the store when they are asked for, which is
/// possible only while no commit of the series is under way, and commits add to it if it is there.
///
/// A large batch is logged: it becomes one row as it came, and is kept beside the windows, where queries find it. When
/// there are several of them they are settled: their samples go into the rows and the windows of their series together,
/// which is when looking for the places of these pays.
///
/// All members may be called from any thread. A thread that has staged changes commits them or gives them up before it
/// calls anything else here.
template <class Sketch>
class series_table {
public:
    using rows = series_rows<Sketch>;
    using window = typename rows::window;
    using level = typename rows::level;

    static constexpr std::uint32_t idle_calls = 30;
    /// A log of that weight, in samples, is settled before more come, by the thread that brings them; while it does, or
    /// if it cannot, others may bring up to most_logged.
    static constexpr std::size_t settled_at_once = std::size_t{1} << 19;
    static constexpr std::size_t most_logged = 2 * settled_at_once;

    struct settings {
        table where;
        std::vector<level> levels;
        std::size_t max_series;
        std::size_t memory; ///< Bytes that windows may take.
        qsketch::hash hash{};
        std::size_t least_logged = 1000; ///< Batches of so many samples are logged.
        /// If it is given, names that are lost are written again where other rows of their series are there, which may
        /// have samples until then.
        std::optional<instant> restored_until{};
    };

    /// How the store folds the rows of a series_table.
    [[nodiscard]] static table_rules rules(const std::vector<level>& levels) {
        const rows r(levels);
        return {[r](std::optional<std::string_view> existing, std::span<const std::string_view> operands) {
                    return r.fold(existing, operands);
                },
                [r](std::span<const std::string_view> operands) { return r.combine(operands); },
                {},
                "b"}; // the log, see log_key()
    }

    /// A series as it is: the window, and what is in the log of it.
    class view {
    public:
        /// As window::query(); what is in the log is exact to the second.
        [[nodiscard]] typename window::answer query(std::chrono::seconds length, event_clock::time_point now) const {
            auto found = window_.query(length, now);
            if (const auto values = logged(found.from, found.to); !values.empty())
                rows::add(found.sketch, std::span<const double>(values));
            return found;
        }

        /// Calls use(parts, values): what query() makes a sketch of. The parts are as of window::query_parts().
        template <class Use>
        void query_parts(std::chrono::seconds length, event_clock::time_point now, Use use) const {
            const auto found = window_.query_parts(length, now);
            use(found, std::span<const double>(logged(found.from, found.to)));
        }

    private:
        friend series_table;
        view(const window& w, const batch_log::list& log, std::string_view name, std::uint64_t settled)
            : window_(w), log_(log), name_(name), settled_(settled) {}

        [[nodiscard]] std::vector<double> logged(event_clock::time_point from, event_clock::time_point to) const {
            std::vector<double> values;
            visit_logged(log_, name_, settled_, [&](const sample_batch::group& group) {
                const auto begin = group.seconds.begin();
                const auto place = [&](event_clock::time_point t) {
                    return std::lower_bound(begin, group.seconds.end(), t.time_since_epoch().count()) - begin;
                };
                values.insert(values.end(), group.values.begin() + place(from), group.values.begin() + place(to));
            });
            return values;
        }

        const window& window_;
        const batch_log::list& log_;
        std::string_view name_;
        std::uint64_t settled_;
    };

    /// Reads the names and the log. Throws storage_error.
    series_table(const settings& s, storage& store)
        : series_table(s, store, (restore_names(s, store), stored_names(s.where, store))) {}

    /// Adds the samples to the changes, but for those of new series beyond max_series: their groups are returned.
    /// May settle the log before that.
    [[nodiscard]] std::vector<std::size_t> stage(changes& to, std::shared_ptr<const sample_batch> batch) {
        const bool large = batch->samples() >= least_logged_;
        if (large && log_.weight() >= settled_at_once) try_settle();
        const bool logs = large && log_.weight() < most_logged;
        std::vector<std::size_t> refused;
        auto staged = std::make_shared<commit_under_way>(*this);
        std::string operand;
        batch_row row;
        logged_batch logged{{}, batch};
        pauses pause(settled_at_a_stretch);
        for (std::size_t i = 0; i < batch->size(); ++i) {
            const auto group = (*batch)[i];
            pause.after(group.values.size() + settled_as_a_name);
            const beginning how = staged->begin(to, group.name, group.seconds.back(), i, logs);
            if (how == beginning::logged) {
                row.add(group.name, [&](record_writer records) { put_group(records, group); });
                continue;
            }
            logged.elsewhere.push_back(i);
            if (how == beginning::refused) {
                refused.push_back(i);
                continue;
            }
            operand = rows::empty_operand();
            put_group(record_writer(operand), group);
            to.merge(where_, state_key(group.name), operand);
        }
        if (logged.elsewhere.size() < batch->size()) {
            logged.key = log_key(next_row_++);
            to.put(where_, logged.key, row.bytes);
            staged->logged = std::move(logged);
        }
        staged->apply = [batch = std::move(batch)](std::size_t i, window& w) {
            const auto group = (*batch)[i];
            each_second(group, [&](std::int64_t second, auto values) { rows::add(w, second, values); });
            return group.values.size();
        };
        finish(to, std::move(staged));
        return refused;
    }

    /// Puts what is in the log into the rows of the series, and their windows; waits if somebody else does so.
    /// Throws storage_error; then it stays in the log.
    void settle() {
        const std::lock_guard alone(settling_);
        if (log_.weight() > 0) settle_alone();
    }

    /// Adds what a sketch holds, at one time. False, with nothing added, for a new series beyond max_series.
    [[nodiscard]] bool stage(changes& to, const std::string& name, instant at, Sketch sketch) {
        auto staged = std::make_shared<commit_under_way>(*this);
        std::string operand = rows::empty_operand();
        record_writer(operand).image(second_of(at), sketch.serialize());
        if (!staged->begin_owned(to, name, second_of(at))) return false;
        to.merge(where_, state_key(name), operand);
        staged->apply = [second = second_of(at), sketch = std::move(sketch)](std::size_t, window& w) {
            rows::add(w, second, sketch);
            return sketch.memory_bytes() / sizeof(double);
        };
        finish(to, std::move(staged));
        return true;
    }

    /// Adds an operand to a row of the series' own beside its window, which is forgotten with it. The name must have no
    /// zero byte. False, with nothing added, for a new series beyond max_series.
    [[nodiscard]] bool stage_beside(changes& to, const std::string& name, instant at, std::string_view which,
                                    std::string_view operand) {
        auto staged = std::make_shared<commit_under_way>(*this);
        if (!staged->begin_owned(to, name, second_of(at))) return false;
        update_known(name, [](series& s) { s.beside = true; });
        to.put(where_, flag_key(name), {});
        to.merge(where_, beside_key(name, which), operand);
        staged->apply = [](std::size_t, window&) { return std::size_t{0}; };
        finish(to, std::move(staged));
        return true;
    }

    /// Calls visit(which, row) for the rows beside the window with from <= which < until. Throws storage_error.
    template <class Visitor>
    void visit_beside(std::string_view name, std::string_view from, std::string_view until, Visitor visit) const {
        bool any = false;
        map_.read(name, [&](const series& s) { any = s.known && s.beside; });
        if (!any) return;
        const std::size_t head = beside_key(name, {}).size();
        store_.scan(where_, beside_key(name, from), beside_key(name, until), [&](std::string_view key, auto row) {
            read_row(where_, key, [&] { visit(key.substr(head), row); });
            return true;
        });
    }

    /// Forgets the series. False if there is none of that name.
    [[nodiscard]] bool stage_erase(changes& to, const std::string& name) {
        auto alone = std::make_shared<turnstile::closure>(turnstile_);
        bool known = false;
        map_.read(name, [&](const series& s) { known = s.known; });
        if (known) stage_removal(to, {name}, std::move(alone));
        return known;
    }

    /// Forgets the series without samples since then: of those, what one commit may take.
    void stage_expiry(changes& to, instant oldest) {
        const std::int64_t second = second_of(oldest);
        std::vector<std::string> idle;
        const auto look = [&](const std::string& name, const series& s) {
            if (s.known && s.newest < second && idle.size() < most_expired_at_once) idle.push_back(name);
        };
        map_.for_each(look);
        if (idle.empty()) return;
        auto alone = std::make_shared<turnstile::closure>(turnstile_);
        std::vector<std::string> still_idle;
        for (std::string& name : idle)
            map_.read(name, [&](const series& s) {
                if (s.newest < second) still_idle.push_back(std::move(name));
            });
        stage_removal(to, std::move(still_idle), std::move(alone));
    }

    /// Calls f(const view&), under a lock of the series, or on a window of this call's own. False for an unknown
    /// name. Throws storage_error.
    template <class Function>
    bool read(std::string_view name, Function&& f) {
        const batch_log::list log = log_.all(); // what is settled from now on is known by its number
        bool known = false;
        bool resident = false;
        map_.read(name, [&](const series& s) {
            known = s.known;
            resident = s.state != nullptr;
            if (!known || !resident) return;
            s.used = tick_.load();
            f(view(*s.state, log, name, s.settled));
        });
        return resident ? known : known && read_from_store(name, log, f);
    }

    /// At most `limit` names that begin with `prefix` and come after `after`, in byte order. One whose first commit is
    /// under way may be among them.
    [[nodiscard]] std::vector<std::string> names(std::string_view prefix, std::string_view after,
                                                 std::size_t limit) const {
        return map_.page(after, limit, [&](const std::string& name) { return name.starts_with(prefix); });
    }

    /// Lets windows go that nobody has used since this was called idle_calls times.
    void drop_idle() { drop_from_memory(tick_.fetch_add(1) - idle_calls, memory_); }

    /// Should windows have got to take more than the memory allowed, or had to stay outside, makes room: those used
    /// least lately go. Cheap if there is nothing to do.
    void trim() {
        if (resident_bytes_ > memory_ || lacking_.exchange(false))
            drop_from_memory(tick_ - idle_calls, memory_ / 8 * 7);
    }

    /// How many names there are.
    [[nodiscard]] std::size_t size() const noexcept { return map_.size(); }
    /// Of the windows in memory, about.
    [[nodiscard]] std::size_t resident_bytes() const noexcept { return resident_bytes_; }
    /// Of everything in memory, about. Looks at every series.
    [[nodiscard]] std::size_t memory_bytes() const {
        return map_.memory_bytes() + resident_bytes_ + log_.memory_bytes();
    }

private:
    static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();
    /// A series that stays in the store is known to be that old to the hour.
    static constexpr std::int64_t name_precision = 3600;
    static constexpr std::size_t settled_at_a_stretch = 1024;
    static constexpr std::size_t settled_as_a_name = 2; // to find its series takes as long as so many samples
    static constexpr std::size_t most_expired_at_once = 10'000;
    static constexpr std::string_view after_all = "\xff\xff\xff\xff\xff\xff\xff\xff\xff"; // rows beside a window
    /// What a bucket of a window takes beside its values, about.
    static constexpr std::size_t bucket_bytes = 128;

    /// Times are none of keyed's business: what is expired goes from the store first.
    struct no_clock {
        using duration = std::chrono::nanoseconds;
        using time_point = std::chrono::time_point<no_clock, duration>;
        static time_point now() noexcept { return {}; }
    };

    struct series {
        series() = default;
        series(series&& other) noexcept
            : state(std::move(other.state)), newest(other.newest), named_until(other.named_until), bytes(other.bytes),
              added(other.added), settled(other.settled), under_way(other.under_way), known(other.known),
              fresh(other.fresh), missed(other.missed), beside(other.beside), used(other.used.load()) {}

        std::unique_ptr<window> state;    // null: in the store only
        std::int64_t newest = never;      // second of the newest sample, or not long after it
        std::int64_t named_until = never; // the second that the row of the name says there is no sample after
        std::size_t bytes = 0;            // of state, when it was last measured
        std::size_t added = 0;            // bytes since it was measured, about
        std::uint64_t settled = 0;        // what the log had up to this number is in the window and in the row
        std::uint32_t under_way = 0;      // commits
        bool known = false;               // the name is in the store
        bool fresh = true;                // made just now
        bool missed = false;              // was asked for and could not be loaded
        bool beside = false;              // has rows beside the window
        mutable std::atomic<std::uint32_t> used = 0;
    };

    enum class beginning {
        refused, ///< There is no room for a new series.
        logged,  ///< Nothing is to be done but to log the samples.
        begun
    };

    /// What one call of stage() has to do when it is committed, or else to undo.
    struct commit_under_way {
        explicit commit_under_way(series_table& t) : owner(t) { inside.emplace(t.turnstile_); }
        /// For a thread that has closed the turnstile.
        commit_under_way(series_table& t, const turnstile::closure&) : owner(t) {}
        commit_under_way(const commit_under_way&) = delete;
        commit_under_way& operator=(const commit_under_way&) = delete;
        ~commit_under_way() {
            if (applied) return;
            for (const part& p : parts) owner.give_up(p.name);
        }

        struct part {
            std::string_view name;
            std::int64_t newest;
            std::int64_t named_until;
            std::size_t number;
        };

        /// The name must live as long as this does.
        [[nodiscard]] beginning begin(changes& to, std::string_view name, std::int64_t newest, std::size_t number,
                                      bool may_log = false) {
            std::optional<std::int64_t> name_until;
            if (parts.size() == parts.capacity()) parts.reserve(2 * parts.size() + 1); // not after it has begun
            const beginning how = owner.begin(name, newest, may_log, name_until);
            if (how != beginning::begun) return how;
            parts.push_back({name, newest, name_until.value_or(never), number});
            if (name_until) to.put(owner.where_, name_key(name), name_row(*name_until));
            return how;
        }
        [[nodiscard]] bool begin_owned(changes& to, const std::string& name, std::int64_t newest) {
            owned_name = name;
            return begin(to, owned_name, newest, 0) == beginning::begun;
        }

        series_table& owner;
        std::optional<turnstile::visit> inside;
        std::string owned_name;
        std::vector<part> parts;
        std::function<std::size_t(std::size_t number, window& w)> apply; // returns how many values it has added
        std::optional<logged_batch> logged;
        std::uint64_t settles = 0; // up to this number of the log
        bool applied = false;
    };

    using name_list = std::vector<std::pair<std::string, std::int64_t>>;

    /// The rows of a series have its name in their keys.
    static void restore_names(const settings& s, storage& store) {
        if (!s.restored_until) return;
        std::set<std::string> there; // and what has been written since
        changes c;
        const auto write = [&](const std::string& key, std::string_view row) {
            if (there.insert(key).second) c.put(s.where, key, row);
        };
        const std::string row = name_row(named_until(second_of(*s.restored_until)));
        store.scan_keys(s.where, flag_key({}), "t", [&](std::string_view key) {
            const std::string_view rest = key.substr(1);
            if (key.front() == 'p') {
                const std::string_view name = rest.substr(0, rest.find('\0'));
                write(flag_key(name), {});
                write(name_key(name), row);
            } else if (key.front() == 's') {
                write(name_key(rest), row);
            } else {
                there.emplace(key);
            }
            return true;
        });
        if (!c.empty()) store.commit(std::move(c));
    }

    [[nodiscard]] static name_list stored_names(table where, const storage& store) {
        name_list out;
        store.scan(where, "n", "o", [&](std::string_view key, std::string_view row) {
            if (row.size() == sizeof(std::uint64_t))
                out.emplace_back(key.substr(1), static_cast<std::int64_t>(
                                                    qsketch::detail::load_little_endian<std::uint64_t>(row.data())));
            return true;
        });
        return out;
    }

    series_table(const settings& s, storage& store, const name_list& names)
        : where_(s.where), rows_(s.levels), memory_(s.memory), least_logged_(s.least_logged), store_(store),
          map_((std::max)({s.max_series, names.size(), std::size_t{1}}), [](const std::string&) { return series(); },
               no_clock(), s.hash) {
        for (const auto& [name, until] : names)
            map_.update(name, [until = until](series& one) {
                one.newest = one.named_until = until;
                one.known = true;
                one.fresh = false;
            });
        store.scan(where_, log_key(0), flag_key({}), [&](std::string_view key, std::string_view row) {
            logged_batch logged{std::string(key), read_logged(key, row, s.hash)};
            next_row_ = row_number(key) + 1;
            log_.add(std::move(logged));
            return true;
        });
        store.scan(where_, flag_key({}), name_key({}), [&](std::string_view key, std::string_view) {
            update_known(key.substr(1), [](series& one) { one.beside = true; });
            return true;
        });
    }

    // What is read at the start comes before what is not: batches, the flag of a series that has rows beside its
    // window, names, those rows, windows.
    [[nodiscard]] static std::string log_key(std::uint64_t number) { return "b" + ordered(number); }
    [[nodiscard]] static std::uint64_t row_number(std::string_view log_key) {
        return ordered_at<std::uint64_t>(log_key, 1);
    }
    [[nodiscard]] static std::string flag_key(std::string_view name) { return std::string("f").append(name); }
    [[nodiscard]] static std::string name_key(std::string_view name) { return std::string("n").append(name); }
    [[nodiscard]] static std::string beside_key(std::string_view name, std::string_view which) {
        return std::string("p").append(name).append(1, '\0').append(which);
    }
    [[nodiscard]] static std::string state_key(std::string_view name) { return std::string("s").append(name); }
    [[nodiscard]] static std::int64_t named_until(std::int64_t newest) {
        return (newest / name_precision + 1) * name_precision;
    }
    [[nodiscard]] static std::string name_row(std::int64_t until) {
        std::string row(sizeof until, '\0');
        qsketch::detail::store_little_endian(row.data(), static_cast<std::uint64_t>(until));
        return row;
    }

    /// Calls visit(group) for what the log has of a series beyond what is settled.
    template <class Visitor>
    static void visit_logged(const batch_log::list& log, std::string_view name, std::uint64_t settled, Visitor visit) {
        for (const auto& logged : log)
            if (logged->number > settled)
                if (const auto group = logged->find(name); !group.values.empty()) visit(group);
    }
    [[nodiscard]] static bool is_logged(const batch_log::list& log, std::string_view name, std::uint64_t settled) {
        bool any = false;
        visit_logged(log, name, settled, [&](const sample_batch::group&) { any = true; });
        return any;
    }

    [[nodiscard]] static std::shared_ptr<const sample_batch> read_logged(std::string_view key, std::string_view row,
                                                                         const qsketch::hash& hash) {
        auto batch = std::make_shared<sample_batch>(hash);
        try {
            batch_row::read(row, *batch);
        } catch (const qsketch::format_error& e) {
            throw storage_error("batch " + std::to_string(row_number(key)) + ": " + e.what());
        }
        batch->group_by_series();
        return batch;
    }

    void try_settle() noexcept {
        try {
            if (const std::unique_lock alone(settling_, std::try_to_lock); alone) settle_alone();
        } catch (const std::exception&) { // who brings more finds out what is wrong
        }
    }

    /// Under settling_.
    void settle_alone() {
        changes c;
        stage_settling(c, std::make_shared<commit_under_way>(*this));
        if (!c.empty()) store_.commit(std::move(c));
    }

    void stage_settling(changes& to, std::shared_ptr<commit_under_way> staged) {
        struct series_groups {
            std::string_view name;
            std::int64_t newest;
            std::vector<sample_batch::group> groups;
            std::string operand{}; // from which the window has them too, as they are in one place there
        };
        const batch_log::list log = log_.all();
        if (log.empty()) return;
        staged->settles = log.back()->number;
        auto all = std::make_shared<std::vector<series_groups>>();
        std::unordered_map<std::string_view, std::size_t> places;
        pauses pause(settled_at_a_stretch);
        for (const auto& logged : log) {
            to.remove(where_, logged->key);
            logged->each([&](const sample_batch::group& group) {
                const auto [place, made] = places.try_emplace(group.name, all->size());
                if (made) all->push_back({group.name, group.seconds.back(), {}});
                series_groups& s = (*all)[place->second];
                s.newest = (std::max)(s.newest, group.seconds.back());
                s.groups.push_back(group);
                pause.after(settled_as_a_name);
            });
        }
        for (std::size_t i = 0; i < all->size(); ++i) {
            series_groups& s = (*all)[i];
            for (const auto& group : s.groups) pause.after(group.values.size());
            if (staged->begin(to, s.name, s.newest, i) != beginning::begun) continue;
            s.operand = rows::empty_operand();
            put_groups(s.operand, s.groups);
            to.merge(where_, state_key(s.name), s.operand);
        }
        staged->apply = [all = std::move(all), log](std::size_t i, window& w) {
            rows::add_records(w, (*all)[i].operand);
            return (*all)[i].operand.size() / sizeof(double);
        };
        finish(to, std::move(staged));
    }

    /// A commit of the series gets under way. If the row of its name is to be written, `name_until` says with what.
    [[nodiscard]] beginning begin(std::string_view name, std::int64_t newest, bool may_log,
                                  std::optional<std::int64_t>& name_until) {
        beginning how = beginning::refused;
        map_.update(name, [&](series& s) {
            if (may_log && s.known && newest <= s.named_until) {
                s.newest = (std::max)(s.newest, newest);
                how = beginning::logged;
                return;
            }
            if (s.fresh) { // there is nothing of it in the store
                s.state = std::make_unique<window>(rows_.empty_window());
                s.used = tick_.load();
                measure(s);
                s.settled = log_.latest(); // nor in the log
                s.fresh = false;
            }
            if (!s.known || newest > s.named_until) name_until = named_until(newest);
            ++s.under_way;
            how = beginning::begun;
        });
        return how;
    }

    void finish(changes& to, std::shared_ptr<commit_under_way> staged) {
        to.then([this, staged] { apply(*staged); });
        to.hold(std::move(staged));
    }

    void apply(commit_under_way& staged) noexcept {
        pauses pause(settled_at_a_stretch);
        for (const auto& p : staged.parts) {
            std::size_t values = 0;
            map_.update(p.name, [&](series& s) {
                s.known = true;
                s.fresh = false;
                s.newest = (std::max)(s.newest, p.newest);
                if (p.named_until != never) s.named_until = p.named_until;
                if (s.under_way > 0) --s.under_way;
                if (staged.settles > 0) s.settled = staged.settles;
                if (!s.state) return;
                s.used = tick_.load();
                try {
                    values = staged.apply(p.number, *s.state);
                    s.added += values * sizeof(double) + bucket_bytes;
                    if (s.added > s.bytes / 4) measure(s);
                } catch (...) {
                    drop(s); // the store has it
                }
            });
            pause.after(values);
        }
        if (staged.logged) log_.add(std::move(*staged.logged));
        if (staged.settles > 0) log_.drop_up_to(staged.settles);
        staged.applied = true;
    }

    void give_up(std::string_view name) noexcept {
        bool forget = false;
        update_known(name, [&](series& s) {
            if (s.under_way > 0) --s.under_way;
            forget = !s.known && s.under_way == 0;
            if (forget) drop(s);
        });
        if (forget) map_.erase(name);
    }

    void stage_removal(changes& to, std::vector<std::string> names, std::shared_ptr<turnstile::closure> alone) {
        stage_settling(to, std::make_shared<commit_under_way>(*this, *alone)); // the log may have samples of them
        for (const std::string& name : names) {
            to.remove(where_, name_key(name));
            to.remove(where_, state_key(name));
            to.remove(where_, flag_key(name));
            bool beside = false;
            map_.read(name, [&](const series& s) { beside = s.beside; });
            if (!beside) continue;
            store_.scan_keys(where_, beside_key(name, {}), beside_key(name, after_all), [&](std::string_view key) {
                to.remove(where_, key);
                return true;
            });
        }
        to.then([this, names = std::move(names)] {
            for (const std::string& name : names) {
                update_known(name, [&](series& s) { drop(s); });
                map_.erase(name);
            }
        });
        to.hold(std::move(alone));
    }

    /// Calls f(series&) unless the name is unknown.
    template <class Function>
    void update_known(std::string_view name, Function f) {
        struct unknown_name {};
        try {
            map_.update(name, [&](series& s) {
                if (s.fresh) throw unknown_name{}; // not to be made by this
                f(s);
            });
        } catch (const unknown_name&) {
        }
    }

    /// As read(), of a window that was not in memory a moment ago.
    template <class Function>
    bool read_from_store(std::string_view name, const batch_log::list& log, Function&& f) {
        bool called = false;
        bool busy = false;
        bool busy_again = false;
        std::uint64_t settled = 0;
        const auto attempt = [&](series& s) {
            s.used = tick_.load();
            settled = s.settled;
            busy = !s.state && s.under_way > 0;
            if (busy) {
                busy_again = std::exchange(s.missed, true);
            } else {
                load(s, name, [&](const window& w) { f(view(w, log, name, settled)); });
                called = true;
            }
        };
        update_known(name, attempt);
        if (busy && !busy_again && !is_logged(log, name, settled)) {
            // The row may have of the commits under way what it likes.
            const auto loaded = stored(name);
            f(view(*loaded, log, name, settled));
            return true;
        }
        if (busy) { // perhaps always; so it would never be loaded
            const turnstile::closure alone(turnstile_);
            update_known(name, attempt);
        }
        return called;
    }

    [[nodiscard]] std::unique_ptr<window> stored(std::string_view name) const {
        const std::string key = state_key(name);
        const auto row = store_.get(where_, key);
        return read_row(where_, key,
                        [&] { return std::make_unique<window>(row ? rows_.read(*row) : rows_.empty_window()); });
    }

    /// Calls f(const window&), loads the window for that, if it is not there, and it stays if there is room.
    template <class Function>
    void load(series& s, std::string_view name, Function&& f) {
        if (s.state) return f(std::as_const(*s.state));
        auto loaded = stored(name);
        f(std::as_const(*loaded));
        if (resident_bytes_ + loaded->memory_bytes() > memory_) {
            lacking_ = true;
            return;
        }
        s.state = std::move(loaded);
        s.missed = false;
        measure(s);
    }

    /// Those not used after `tick`, and while all take more than `bytes` further ones.
    void drop_from_memory(std::uint32_t tick, std::size_t bytes) {
        std::vector<std::pair<std::uint32_t, std::string>> resident;
        map_.for_each([&](const std::string& name, const series& s) {
            if (s.state) resident.emplace_back(s.used, name);
        });
        std::sort(resident.begin(), resident.end());
        for (const auto& [used, name] : resident) {
            if (used > tick && resident_bytes_ <= bytes) return;
            update_known(name, [&](series& s) { drop(s); });
        }
    }

    void drop(series& s) noexcept {
        s.state.reset();
        resident_bytes_ -= std::exchange(s.bytes, 0);
        s.added = 0;
    }

    void measure(series& s) noexcept {
        const std::size_t bytes = s.state->memory_bytes();
        resident_bytes_ += bytes - s.bytes;
        s.bytes = bytes;
        s.added = 0;
    }

    table where_;
    rows rows_;
    std::size_t memory_;
    std::size_t least_logged_;
    storage& store_;
    turnstile turnstile_;
    batch_log log_;
    std::mutex settling_;
    std::atomic<std::uint64_t> next_row_ = 1;
    std::atomic<std::size_t> resident_bytes_ = 0;
    std::atomic<bool> lacking_ = false; // memory for a window that was asked for
    std::atomic<std::uint32_t> tick_ = idle_calls;
    qsketch::keyed<std::string, series, qsketch::hash, no_clock> map_;
};

} // namespace qsketch_server
