#pragma once

#include "domain/sample_batch.hpp"
#include "domain/series_rows.hpp"
#include "domain/turnstile.hpp"
#include "storage/storage.hpp"

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
#include <optional>
#include <span>
#include <string>
#include <string_view>
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
/// All members may be called from any thread. A thread that has staged changes commits them or gives them up before it
/// calls anything else here.
template <class Sketch>
class series_table {
public:
    using rows = series_rows<Sketch>;
    using window = typename rows::window;
    using level = typename rows::level;

    static constexpr std::uint32_t idle_calls = 30;

    struct settings {
        table where;
        std::vector<level> levels;
        std::size_t max_series;
        std::size_t memory; ///< Bytes that windows may take.
        qsketch::hash hash{};
    };

    /// How the store folds the rows of a series_table.
    [[nodiscard]] static table_rules rules(const std::vector<level>& levels) {
        const rows r(levels);
        return {[r](std::optional<std::string_view> existing, std::span<const std::string_view> operands) {
                    return r.fold(existing, operands);
                },
                [r](std::span<const std::string_view> operands) { return r.combine(operands); },
                {}};
    }

    /// Reads the names. Throws storage_error.
    series_table(const settings& s, const storage& store) : series_table(s, store, stored_names(s.where, store)) {}

    /// Adds the samples to the changes, but for those of new series beyond max_series: their groups are returned.
    [[nodiscard]] std::vector<std::size_t> stage(changes& to, std::shared_ptr<const sample_batch> batch) {
        std::vector<std::size_t> refused;
        auto staged = std::make_shared<commit_under_way>(*this);
        std::string operand;
        for (std::size_t i = 0; i < batch->size(); ++i) {
            const auto group = (*batch)[i];
            operand = rows::empty_operand();
            record_writer records(operand);
            each_second(group, [&](std::int64_t second, auto values) { records.values(second, values); });
            if (staged->begin(to, group.name, group.seconds.back(), i))
                to.merge(where_, state_key(group.name), operand);
            else
                refused.push_back(i);
        }
        staged->apply = [batch = std::move(batch)](std::size_t i, window& w) {
            const auto group = (*batch)[i];
            each_second(group, [&](std::int64_t second, auto values) { rows::add(w, second, values); });
            return group.values.size();
        };
        finish(to, std::move(staged));
        return refused;
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
            visit(key.substr(head), row);
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

    /// Calls f(const window&), under a lock of the series, or on a window of this call's own. False for an unknown
    /// name. Throws storage_error.
    template <std::invocable<const window&> Function>
    bool read(std::string_view name, Function&& f) {
        bool known = false;
        bool resident = false;
        map_.read(name, [&](const series& s) {
            known = s.known;
            resident = s.state != nullptr;
            if (!known || !resident) return;
            s.used = tick_.load();
            f(std::as_const(*s.state));
        });
        return resident ? known : known && read_from_store(name, f);
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
    [[nodiscard]] std::size_t memory_bytes() const { return map_.memory_bytes() + resident_bytes_; }

private:
    static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::min();
    /// A series that stays in the store is known to be that old to the hour.
    static constexpr std::int64_t name_precision = 3600;
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
              added(other.added), under_way(other.under_way), known(other.known), fresh(other.fresh),
              missed(other.missed), used(other.used.load()) {}

        std::unique_ptr<window> state;    // null: in the store only
        std::int64_t newest = never;      // second of the newest sample, or not long after it
        std::int64_t named_until = never; // the second that the row of the name says there is no sample after
        std::size_t bytes = 0;            // of state, when it was last measured
        std::size_t added = 0;            // bytes since it was measured, about
        std::uint32_t under_way = 0;      // commits
        bool known = false;               // the name is in the store
        bool fresh = true;                // made just now
        bool missed = false;              // was asked for and could not be loaded
        bool beside = false;              // has rows beside the window
        mutable std::atomic<std::uint32_t> used = 0;
    };

    /// What one call of stage() has to do when it is committed, or else to undo.
    struct commit_under_way {
        explicit commit_under_way(series_table& t) : owner(t), inside(t.turnstile_) {}
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

        /// False if there is no room for the series. The name must live as long as this does.
        [[nodiscard]] bool begin(changes& to, std::string_view name, std::int64_t newest, std::size_t number) {
            std::optional<std::int64_t> name_until;
            parts.reserve(parts.size() + 1);
            if (!owner.begin(name, newest, name_until)) return false;
            parts.push_back({name, newest, name_until.value_or(never), number});
            if (name_until) to.put(owner.where_, name_key(name), name_row(*name_until));
            return true;
        }
        [[nodiscard]] bool begin_owned(changes& to, const std::string& name, std::int64_t newest) {
            owned_name = name;
            return begin(to, owned_name, newest, 0);
        }

        series_table& owner;
        turnstile::visit inside;
        std::string owned_name;
        std::vector<part> parts;
        std::function<std::size_t(std::size_t number, window& w)> apply; // returns how many values it has added
        bool applied = false;
    };

    using name_list = std::vector<std::pair<std::string, std::int64_t>>;

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

    series_table(const settings& s, const storage& store, const name_list& names)
        : where_(s.where), rows_(s.levels), memory_(s.memory), store_(store),
          map_((std::max)({s.max_series, names.size(), std::size_t{1}}), [](const std::string&) { return series(); },
               no_clock(), s.hash) {
        for (const auto& [name, until] : names)
            map_.update(name, [until = until](series& one) {
                one.newest = one.named_until = until;
                one.known = true;
                one.fresh = false;
            });
        store.scan(where_, flag_key({}), name_key({}), [&](std::string_view key, std::string_view) {
            update_known(key.substr(1), [](series& one) { one.beside = true; });
            return true;
        });
    }

    // Small rows come before large ones, so that reading them at the start passes over none of these: the flag of a
    // series that has rows beside its window, names, those rows, windows.
    [[nodiscard]] static std::string flag_key(std::string_view name) { return std::string("f").append(name); }
    [[nodiscard]] static std::string name_key(std::string_view name) { return std::string("n").append(name); }
    [[nodiscard]] static std::string beside_key(std::string_view name, std::string_view which) {
        return std::string("p").append(name).append(1, '\0').append(which);
    }
    [[nodiscard]] static std::string state_key(std::string_view name) { return std::string("s").append(name); }
    [[nodiscard]] static std::string name_row(std::int64_t until) {
        std::string row(sizeof until, '\0');
        qsketch::detail::store_little_endian(row.data(), static_cast<std::uint64_t>(until));
        return row;
    }

    /// Calls visit(second, values) for each second of the group.
    template <class Visitor>
    static void each_second(const sample_batch::group& group, Visitor visit) {
        for (std::size_t begin = 0; begin < group.seconds.size();) {
            std::size_t end = begin + 1;
            while (end < group.seconds.size() && group.seconds[end] == group.seconds[begin]) ++end;
            visit(group.seconds[begin], group.values.subspan(begin, end - begin));
            begin = end;
        }
    }

    /// A commit of the series gets under way. If the row of its name is to be written, `name_until` says with what.
    /// False if the series is new and there is no room for it.
    [[nodiscard]] bool begin(std::string_view name, std::int64_t newest, std::optional<std::int64_t>& name_until) {
        return map_.update(name, [&](series& s) {
            if (s.fresh) { // there is nothing of it in the store
                s.state = std::make_unique<window>(rows_.empty_window());
                s.used = tick_.load();
                measure(s);
                s.fresh = false;
            }
            if (!s.known || newest > s.named_until) name_until = (newest / name_precision + 1) * name_precision;
            ++s.under_way;
        });
    }

    void finish(changes& to, std::shared_ptr<commit_under_way> staged) {
        to.then([this, staged] { apply(*staged); });
        to.hold(std::move(staged));
    }

    void apply(commit_under_way& staged) noexcept {
        for (const auto& p : staged.parts)
            map_.update(p.name, [&](series& s) {
                s.known = true;
                s.fresh = false;
                s.newest = (std::max)(s.newest, p.newest);
                if (p.named_until != never) s.named_until = p.named_until;
                if (s.under_way > 0) --s.under_way;
                if (!s.state) return;
                s.used = tick_.load();
                try {
                    s.added += staged.apply(p.number, *s.state) * sizeof(double) + bucket_bytes;
                    if (s.added > s.bytes / 4) measure(s);
                } catch (...) {
                    drop(s); // the store has it
                }
            });
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
        for (const std::string& name : names) {
            to.remove(where_, name_key(name));
            to.remove(where_, state_key(name));
            to.remove(where_, flag_key(name));
            visit_beside(name, {}, after_all,
                         [&](std::string_view which, std::string_view) { to.remove(where_, beside_key(name, which)); });
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
    bool read_from_store(std::string_view name, Function&& f) {
        bool called = false;
        bool busy = false;
        bool busy_again = false;
        const auto attempt = [&](series& s) {
            s.used = tick_.load();
            busy = !s.state && s.under_way > 0;
            if (busy) {
                busy_again = std::exchange(s.missed, true);
            } else {
                load_and_call(s, name, f);
                called = true;
            }
        };
        update_known(name, attempt);
        if (busy && !busy_again) { // the row may have of the commits under way what it likes
            f(std::as_const(*stored(name)));
            return true;
        }
        if (busy) { // perhaps always; so it would never be loaded
            const turnstile::closure alone(turnstile_);
            update_known(name, attempt);
        }
        return called;
    }

    [[nodiscard]] std::unique_ptr<window> stored(std::string_view name) const {
        const auto row = store_.get(where_, state_key(name));
        return std::make_unique<window>(row ? rows_.read(*row) : rows_.empty_window());
    }

    /// Loads the window, if it is not there, and it stays if there is room.
    template <class Function>
    void load_and_call(series& s, std::string_view name, Function&& f) {
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
    const storage& store_;
    turnstile turnstile_;
    std::atomic<std::size_t> resident_bytes_ = 0;
    std::atomic<bool> lacking_ = false; // memory for a window that was asked for
    std::atomic<std::uint32_t> tick_ = idle_calls;
    qsketch::keyed<std::string, series, qsketch::hash, no_clock> map_;
};

} // namespace qsketch_server
