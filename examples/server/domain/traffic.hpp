#pragma once

#include "domain/instant.hpp"
#include "domain/page_sketch.hpp"
#include "domain/striped_locks.hpp"
#include "storage/ordered_key.hpp"
#include "storage/storage.hpp"
#include "storage/unreadable_row.hpp"

#include <qsketch/error.hpp>
#include <qsketch/sliding_window.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// One view of a page by a user. The id says which view it is: the last that is written with an id is the one that
/// counts.
struct page_view {
    std::uint64_t request_id = 0;
    std::uint32_t user = 0;
    instant at;
    std::string url;
    friend bool operator==(const page_view&, const page_view&) = default;
};

/// The pages of the slots of time with from <= time < to.
struct page_window {
    page_sketch pages;
    instant from;
    instant to;
};

/// Views by id and, for the counts of a user's pages, by user and time: two tables that are always written together.
///
/// Table traffic: request_id -> user, time, url. Table traffic_by_user: user, time, request_id -> url. Table pages:
/// minute -> page_sketch. All integers are big-endian, so keys sort as what they stand for.
class traffic_store {
public:
    /// Up to here a window is made of minutes, beyond of slots ten times as long.
    static constexpr std::chrono::hours by_minutes_up_to{2};

    /// The times before which rows are gone, though the storage may drop them later, and one table sooner than the
    /// other. That of the views only ever moves on, over restarts too: an entry of traffic_by_user whose row has been
    /// dropped must not come back.
    struct horizons {
        std::atomic<instant> views = instant::min();
        std::atomic<instant> pages = instant::min();
    };

    /// What the storage has to know of the tables, before it can be opened.
    static void add_rules(std::span<table_rules, table_count> rules, std::shared_ptr<const horizons> kept) {
        rules[index_of(table::traffic)].expired = [kept](std::string_view, std::string_view row) {
            return time_at(row, time_in_row) < kept->views.load();
        };
        rules[index_of(table::traffic_by_user)].expired = [kept](std::string_view key, std::string_view) {
            return time_at(key, time_in_key) < kept->views.load();
        };
        rules[index_of(table::pages)].expired = [kept](std::string_view key, std::string_view) {
            return time_at(key, 0) < kept->pages.load();
        };
        rules[index_of(table::pages)].fold = folded;
        rules[index_of(table::pages)].combine = [](std::span<const std::string_view> operands) {
            return std::optional<std::string>(folded({}, operands));
        };
    }

    /// Reads the pages of the last `longest` back from the rows. Throws storage_error.
    traffic_store(storage& rows, std::shared_ptr<horizons> kept, std::chrono::seconds longest, instant now)
        : rows_(rows), kept_(std::move(kept)), minutes_(minute, slots_of(by_minutes_up_to, minute)),
          tens_(ten_minutes, slots_of(longest, ten_minutes)) {
        if (const auto stored = rows_.get(table::meta, horizon_key)) kept_->views = time_at(*stored, 0);
        kept_->pages = now - longest - ten_minutes; // a window begins with a slot
        rows_.scan(table::pages, ordered_time(kept_->pages), {}, [&](std::string_view key, std::string_view row) {
            read_row(table::pages, key,
                     [&] { add_to_windows(time_at(key, 0), page_sketch::deserialize(bytes_of(row))); });
            return true;
        });
    }

    /// Adds to the changes what writes the views, of several with one id the last, and returns how many of the ids are
    /// known. From then on nobody else writes them until the changes are done or given up.
    [[nodiscard]] std::size_t put(std::span<const page_view> views, changes& what) { return stage(views, false, what); }

    /// The same for one view, if there is one that has its id.
    [[nodiscard]] bool replace(const page_view& view, changes& what) { return stage({&view, 1}, true, what) == 1; }

    /// How often the user viewed which page, from < time <= to. Exact.
    [[nodiscard]] std::map<std::string, std::uint64_t> pages_of_user(std::uint32_t user, instant from,
                                                                     instant to) const {
        std::map<std::string, std::uint64_t> out;
        const std::chrono::milliseconds next(1);
        rows_.scan(table::traffic_by_user, user_key(user, (std::max)(from + next, kept_->views.load()), 0),
                   user_key(user, to + next, 0), [&](std::string_view, std::string_view url) {
                       ++out[std::string(url)];
                       return true;
                   });
        return out;
    }

    /// All views with now - length < time <= now, and what else is in the first and the last slot of that interval.
    [[nodiscard]] page_window window(std::chrono::seconds length, instant now) const {
        const pages_window& slots = length <= by_minutes_up_to ? minutes_ : tens_;
        const auto step = slots.slot();
        const auto start_of = [&](instant t) { return t - (t.time_since_epoch() % step); };
        page_window out{{}, start_of(now - length), start_of(now) + step};
        // One slot at a time, so that who waits to write waits for a slot only.
        for (instant t = out.from; t < out.to; t += step) {
            page_sketch slot;
            {
                const std::lock_guard lock(windows_mutex_);
                slot = slots.query(step, t).sketch;
            }
            if (!slot.empty()) out.pages.merge(slot);
        }
        return out;
    }

    /// Forgets the views and the pages before these times, and keeps that in mind for good.
    void expire_before(instant views, instant pages) {
        // Whole minutes: not every call has to write.
        views = std::chrono::floor<std::chrono::minutes>(views);
        kept_->pages = pages - ten_minutes;
        if (views <= kept_->views.load()) return;
        changes what;
        what.put(table::meta, horizon_key, ordered_time(views));
        what.then([kept = kept_, views] { kept->views = views; });
        try {
            rows_.commit(std::move(what));
        } catch (const storage_error&) { // of which others will tell; the next call tries again
        }
    }

    /// Views before this are gone.
    [[nodiscard]] instant oldest() const noexcept { return kept_->views; }

private:
    using pages_window = qsketch::sliding_window<page_sketch, window_clock>;

    static constexpr std::chrono::milliseconds minute = std::chrono::minutes(1);
    static constexpr std::chrono::milliseconds ten_minutes = std::chrono::minutes(10);
    static constexpr std::string_view horizon_key = "traffic.oldest";
    static constexpr std::size_t time_in_row = 4;
    static constexpr std::size_t time_in_key = 4;

    [[nodiscard]] static constexpr std::size_t index_of(table t) noexcept { return static_cast<std::size_t>(t); }

    /// For a window of that length, the slots it cuts at both ends, and what comes up to now's second ahead.
    [[nodiscard]] static constexpr std::size_t slots_of(std::chrono::milliseconds length,
                                                        std::chrono::milliseconds slot) noexcept {
        return static_cast<std::size_t>(length / slot) + 3;
    }

    /// Times are not negative, except for bounds of searches, for which 0 will do.
    [[nodiscard]] static std::string ordered_time(instant t) {
        return ordered(static_cast<std::uint64_t>((std::max)(t.time_since_epoch().count(), std::int64_t{0})));
    }
    [[nodiscard]] static instant time_at(std::string_view bytes, std::size_t at) {
        return instant(std::chrono::milliseconds(static_cast<std::int64_t>(ordered_at<std::uint64_t>(bytes, at))));
    }
    [[nodiscard]] static std::string user_key(std::uint32_t user, instant at, std::uint64_t request_id) {
        return ordered(user) + ordered_time(at) + ordered(request_id);
    }
    [[nodiscard]] static std::string row_of(const page_view& view) {
        return ordered(view.user) + ordered_time(view.at) + view.url;
    }
    [[nodiscard]] static page_view view_of(std::uint64_t request_id, std::string_view row) {
        const instant at = time_at(row, time_in_row);
        return {request_id, ordered_at<std::uint32_t>(row, 0), at, std::string(row.substr(time_in_row + 8))};
    }

    [[nodiscard]] static std::span<const std::byte> bytes_of(std::string_view text) noexcept {
        return std::as_bytes(std::span(text.data(), text.size()));
    }
    [[nodiscard]] static std::string image_of(const page_sketch& sketch) {
        const auto image = sketch.serialize();
        return {reinterpret_cast<const char*>(image.data()), image.size()};
    }
    [[nodiscard]] static std::string folded(std::optional<std::string_view> existing,
                                            std::span<const std::string_view> operands) {
        page_sketch sum;
        if (existing) sum = page_sketch::deserialize(bytes_of(*existing));
        for (const std::string_view operand : operands) sum.merge(page_sketch::deserialize(bytes_of(operand)));
        return image_of(sum);
    }

    struct addition {
        instant minute;
        page_addition what;
    };

    /// What the view adds to the pages of its minute, and `old` has not added yet. Sketches forget nothing: what a view
    /// that moves elsewhere once added stays.
    [[nodiscard]] static std::optional<addition> addition_of(const page_view& view,
                                                             const std::optional<page_view>& old) {
        addition out{std::chrono::floor<std::chrono::minutes>(view.at), {}};
        const bool same_minute = old && std::chrono::floor<std::chrono::minutes>(old->at) == out.minute;
        if (!same_minute || old->url != view.url) out.what.page = view.url;
        if (!same_minute || old->user != view.user) out.what.visitor = view.user;
        if (!out.what.page && !out.what.visitor) return {};
        return out;
    }

    std::size_t stage(std::span<const page_view> views, bool only_known, changes& what) {
        // By id, and of one id only the last.
        std::vector<const page_view*> last(views.size());
        std::transform(views.begin(), views.end(), last.begin(), [](const page_view& v) { return &v; });
        std::stable_sort(last.begin(), last.end(),
                         [](const page_view* a, const page_view* b) { return a->request_id < b->request_id; });
        std::vector<std::uint64_t> ids;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < last.size(); ++i) {
            if (i + 1 < last.size() && last[i + 1]->request_id == last[i]->request_id) continue;
            last[kept++] = last[i];
            ids.push_back(last[i]->request_id);
        }
        last.resize(kept);

        what.hold(locks_.lock(std::move(ids)));
        std::size_t known = 0;
        auto added = std::make_shared<std::vector<addition>>();
        for (const page_view* view : last) {
            const std::string id = ordered(view->request_id);
            const std::string row = row_of(*view);
            const auto stored = rows_.get(table::traffic, id);
            std::optional<page_view> old;
            if (stored) old = read_row(table::traffic, id, [&] { return view_of(view->request_id, *stored); });
            const bool alive = old && old->at >= kept_->views.load();
            if (alive) ++known;
            if (only_known && !alive) continue;
            if (alive && *old == *view) continue; // sent again
            const std::string key = user_key(view->user, view->at, view->request_id);
            if (old)
                if (const std::string old_key = user_key(old->user, old->at, old->request_id); old_key != key)
                    what.remove(table::traffic_by_user, old_key);
            what.put(table::traffic, id, row);
            what.put(table::traffic_by_user, key, view->url);
            if (view->at < kept_->pages.load()) continue;
            if (auto a = addition_of(*view, alive ? old : std::nullopt)) added->push_back(*std::move(a));
        }
        std::map<instant, page_sketch> by_minute;
        for (const addition& a : *added) by_minute[a.minute].add(a.what);
        for (const auto& [at, pages] : by_minute) what.merge(table::pages, ordered_time(at), image_of(pages));
        what.then([this, added] {
            try {
                for (const addition& a : *added) add_to_windows(a.minute, a.what);
            } catch (const std::bad_alloc&) { // the rows have it, and the next start has it from them
            }
        });
        return known;
    }

    template <class PagesOrAddition>
    void add_to_windows(instant at, const PagesOrAddition& what) {
        const std::lock_guard lock(windows_mutex_);
        minutes_.add_at(at, what);
        tens_.add_at(at, what);
    }

    storage& rows_;
    std::shared_ptr<horizons> kept_;
    striped_locks locks_;
    mutable std::mutex windows_mutex_;
    pages_window minutes_;
    pages_window tens_;
};

} // namespace qsketch_server
