#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/bucket_list.hpp>
#include <qsketch/detail/bucket_sums.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/window_levels.hpp>
#include <qsketch/detail/window_time.hpp>
#include <qsketch/error.hpp>
#include <qsketch/window_answer.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// Windows of any length over one structure: sketches of buckets of time that are short where time is recent and
/// longer further back.
///
/// Buckets are cells of time of the given levels, aligned to the clock's epoch, and every instant is in exactly one.
/// While there are no more buckets than the levels need, each keeps the resolution of the first level, however old it
/// is, so that sparse series stay exact. Beyond that, old buckets are joined, those first that are shortest for their
/// age, and never sooner than their level says.
///
/// Time is that of the events, as in sliding_window: ages count back from the newest event seen, and the clock only
/// serves the calls that name no time and the check of `max_ahead`.
///
/// Tests: exp_window.test.cpp compares every answer with a replay of the events.
template <mergeable_sketch Sketch, class Clock = std::chrono::system_clock>
class exp_window {
public:
    using duration = typename Clock::duration;
    using time_point = typename Clock::time_point;
    using answer = window_answer<Sketch, time_point>;
    using parts = window_parts<Sketch, time_point>;
    /// An instant younger than `keep` is still in a bucket of at most `span`.
    using level = detail::window_level<duration>;

    /// Levels whose spans double from `granule` on, of k to k + 1 buckets each, that reach back to `retention`.
    /// Throws invalid_argument unless granule > 0, k > 0, and retention >= granule.
    [[nodiscard]] static std::vector<level> exponential(duration granule, std::size_t k, duration retention) {
        if (granule <= duration::zero() || k == 0 || retention < granule)
            throw std::invalid_argument("exp_window: granule and k must be positive, and retention at least granule");
        std::vector<level> levels;
        duration keep = duration::zero();
        for (duration span = granule;; span *= 2) {
            const duration left = retention - keep;
            const bool last = static_cast<std::uint64_t>(left / span) <= k || span > (duration::max)() / 2;
            keep = last ? retention : keep + span * static_cast<rep>(k);
            levels.push_back({span, keep});
            if (last) return levels;
        }
    }

    /// Seconds, minutes and hours, each kept for so long: windows that begin on the full minute are exact back to
    /// `minutes`, those that begin on the full hour always.
    [[nodiscard]] static std::vector<level>
    calendar(duration seconds, duration minutes,
             duration hours) requires std::convertible_to<std::chrono::seconds, duration> {
        return {{std::chrono::seconds(1), seconds}, {std::chrono::minutes(1), minutes}, {std::chrono::hours(1), hours}};
    }

    /// `prototype` is the empty sketch that every bucket starts from. With `max_ahead`, an event more than that after
    /// the clock's now is refused; without it times are trusted, and a single one far in the future moves the window
    /// there and empties it.
    /// Throws invalid_argument unless there are 1 to 64 levels, spans are positive and each is a multiple of the one
    /// before, each level is kept for longer than the one before and for its span at least, all for less than 292 years
    /// and in less than 2^32 buckets, the prototype is empty and max_ahead is not negative.
    explicit exp_window(std::vector<level> levels, Sketch prototype = Sketch(), Clock clock = Clock(),
                        std::optional<duration> max_ahead = std::nullopt)
        : exp_window(std::move(levels), std::vector<Sketch>(1, std::move(prototype)), std::move(clock), max_ahead) {}

    /// A prototype for each level, for sketches that merge across parameters; answers have the first one's.
    /// Throws invalid_argument as above, and unless there is one for each level, or one for all, and all are
    /// compatible.
    exp_window(std::vector<level> levels, std::vector<Sketch> prototypes, Clock clock = Clock(),
               std::optional<duration> max_ahead = std::nullopt)
        : buckets_(detail::window_levels<Clock>(std::move(levels)), std::move(prototypes)), clock_(std::move(clock)),
          max_ahead_(max_ahead) {
        clock_time::require_max_ahead(max_ahead, name);
    }

    /// Calls Sketch::add(args...) of the bucket that holds `when`. Returns false, and counts the call in
    /// dropped_late(), if `when` is beyond the retention; a call counts once, however many values it brings.
    /// Complexity: O(1) in the newest bucket, O(log buckets) in another. Opening a bucket takes O(buckets) and, where
    /// there are as many as the levels need, one merge of the buckets of one cell: two of the exponential levels, 60 of
    /// the calendar's. How much time has passed does not matter.
    /// Throws invalid_argument for an event beyond max_ahead, and whatever Sketch::add and Sketch::merge throw; then
    /// nothing changes.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add_at(time_point when, Args&&... args) {
        const std::int64_t t = when.time_since_epoch().count();
        if (!empty() && buckets_.back().holds(t)) {
            buckets_.newest_sketch().add(std::forward<Args>(args)...);
            remembered_.clear();
            return true;
        }
        if (empty() || t > buckets_.newest()) {
            clock_time::require_near(when, max_ahead_, clock_, name);
        } else if (t < cells().oldest_retained(buckets_.newest())) {
            dropped_late_ = detail::saturating_sum(dropped_late_, 1);
            return false;
        }
        buckets_.add(t, [&](Sketch& sketch) { sketch.add(std::forward<Args>(args)...); });
        sums_.forget(t);
        remembered_.clear();
        return true;
    }

    /// add_at() the clock's now.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add(Args&&... args) { return add_at(clock_.now(), std::forward<Args>(args)...); }

    /// The window of `length`, rounded up to whole spans of the first level, that ends with the one of these that holds
    /// `now`; later events are left out. An end that falls inside a bucket moves to the nearer end of that bucket, and
    /// if both are as near, to the one that takes the bucket in: by half the span of the bucket at most. In a window
    /// that ends with the newest event, that is half the span of the first level that is kept for `length` or longer,
    /// and nothing if that is the first.
    /// What the window has let go is cut off the front of the interval, at the latest its whole length: then from == to
    /// and the sketch is empty. So it is where an interval is short beside the one bucket that it lies in.
    /// Complexity: one merge per bucket, or after flush() of about thirty sketches at most if the window reaches to the
    /// newest events; a single k-way merge where Sketch offers one.
    /// Throws invalid_argument unless length > 0.
    [[nodiscard]] answer query(duration length, time_point now) const {
        clock_time::require_length(length, name);
        return answer_of(cover(length, now));
    }

    /// What query() merges, for those who make something else of it: of sketches that consist of several, one only.
    /// Valid until the next call of a member that is not const.
    /// Complexity: O(buckets). Throws invalid_argument unless length > 0.
    [[nodiscard]] parts query_parts(duration length, time_point now) const {
        clock_time::require_length(length, name);
        return parts_of(cover(length, now));
    }

    /// query() up to the clock's now.
    [[nodiscard]] answer query(duration length) const { return query(length, clock_.now()); }

    /// query() after flush(), with the answer's sketch flushed too, where it can be. The last few answers are
    /// remembered until something is added: asking again costs next to nothing. The reference is valid until the next
    /// call of a member that is not const.
    [[nodiscard]] const answer& cached_query(duration length, time_point now) {
        clock_time::require_length(length, name);
        const range covered = cover(length, now);
        auto found = std::find_if(remembered_.begin(), remembered_.end(),
                                  [&](const answer& a) { return a.from == covered.from && a.to == covered.to; });
        if (found == remembered_.end()) {
            flush();
            answer made = answer_of(covered);
            flush(made.sketch);
            if (remembered_.size() == most_remembered) remembered_.erase(remembered_.begin());
            remembered_.push_back(std::move(made));
            found = remembered_.end() - 1;
        }
        found->dropped_late = dropped_late_;
        return *found;
    }

    /// Flushes the newest bucket's sketch, where it can be, and prepares sums of old buckets for the queries. Changes
    /// no answer, but for what the order of merges changes. Complexity: one merge per bucket once in a dozen buckets,
    /// or where late events fell into old ones; else O(log buckets).
    void flush() {
        if (empty()) return;
        flush(buckets_.newest_sketch());
        sums_.prepare(buckets_);
    }

    /// Merges bucket by bucket, nested ones into the longer one, keeps what the newer of both newest events retains,
    /// joins buckets if they are too many, and adds up dropped_late().
    /// Which old buckets are joined depends on when there were too many: the same windows merged in another order may
    /// differ in that, and answer for other intervals. While there never are too many, merging associates as it does
    /// for Sketch.
    /// Complexity: O(b log b) and one merge per bucket.
    /// Throws incompatible_error unless compatible(other), and what Sketch::merge throws; this window is then
    /// unchanged.
    void merge(const exp_window& other) {
        if (!compatible(other)) throw incompatible_error("exp_window: levels or sketch parameters differ");
        const std::uint64_t dropped_late = detail::saturating_sum(dropped_late_, other.dropped_late_);
        buckets_.merge(other.buckets_);
        dropped_late_ = dropped_late;
        sums_.clear();
        remembered_.clear();
    }

    /// The same events under other levels, with the first prototype for all of them. Where these are coarser, buckets
    /// are joined as after a merge; where they are finer, buckets stay what they are, or count as of their end if they
    /// are too young for a bucket of that length. What is older than these levels keep is let go.
    /// Complexity: one merge per bucket. Throws invalid_argument as the constructor does.
    [[nodiscard]] exp_window under(std::vector<level> levels) const {
        exp_window moved(buckets_.under(detail::window_levels<Clock>(std::move(levels))), clock_, max_ahead_);
        moved.dropped_late_ = dropped_late_;
        return moved;
    }

    /// Same levels, compatible sketches. Clocks and max_ahead play no part.
    [[nodiscard]] bool compatible(const exp_window& other) const noexcept {
        return buckets_.compatible(other.buckets_);
    }

    /// Forgets all events and dropped_late().
    void clear() noexcept {
        buckets_.clear();
        sums_.clear();
        remembered_.clear();
        dropped_late_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return buckets_.empty(); }

    /// Parameters, buckets and dropped_late(); not the clock, not max_ahead.
    [[nodiscard]] friend bool operator==(const exp_window& a, const exp_window& b) {
        return a.dropped_late_ == b.dropped_late_ && a.buckets_ == b.buckets_;
    }

    /// What flush() prepared and cached_query() remembers included. Complexity: O(buckets).
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + buckets_.memory_bytes() + sums_.memory_bytes();
        bytes += remembered_.capacity() * sizeof(answer);
        for (const answer& a : remembered_) bytes += a.sketch.memory_bytes() - sizeof a.sketch;
        return bytes;
    }

    /// Calls of add and add_at refused as too old.
    [[nodiscard]] std::uint64_t dropped_late() const noexcept { return dropped_late_; }
    [[nodiscard]] std::span<const level> levels() const noexcept { return cells().all(); }
    /// How far back from the newest event the window reaches at least: `keep` of the last level.
    [[nodiscard]] duration retention() const noexcept { return levels().back().keep; }
    /// Buckets that hold events.
    [[nodiscard]] std::size_t buckets() const noexcept { return buckets_.size(); }
    /// As many as there are in a series without gaps, once it is as long as the retention.
    [[nodiscard]] std::size_t most_buckets() const noexcept { return static_cast<std::size_t>(cells().max_cells()); }

    /// Layout: docs/format.md.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        detail::image_writer out(detail::image_kind::exp_window, {}, 0);
        cells().put(out);
        out.put(dropped_late_);
        buckets_.put(out);
        return std::move(out).finish();
    }

    /// A window read from an image has the clock and the max_ahead given here.
    /// Throws format_error unless `image` is a window of this kind of sketch whose levels this clock can express.
    [[nodiscard]] static exp_window deserialize(std::span<const std::byte> image, Clock clock = Clock(),
                                                std::optional<duration> max_ahead = std::nullopt) {
        clock_time::require_max_ahead(max_ahead, name);
        detail::image_reader in(image, detail::image_kind::exp_window, name);
        in.require(in.options() == detail::image_options{}, "has option bytes that are not zero");
        auto levels = detail::window_levels<Clock>::take(in);
        const auto dropped_late = in.take<std::uint64_t>();
        exp_window window(bucket_list::take(in, std::move(levels)), std::move(clock), max_ahead);
        in.expect_end();
        in.require(!window.empty() || dropped_late == 0, "counts late events although it never saw any");
        window.dropped_late_ = dropped_late;
        return window;
    }

private:
    using clock_time = detail::window_time<Clock>;
    using rep = typename clock_time::rep;
    using bucket_list = detail::bucket_list<Sketch, Clock>;

    static constexpr const char* name = "exp_window";
    static constexpr std::size_t most_remembered = 4;

    /// Buckets [begin, end), and the interval that they are all of.
    struct range {
        std::size_t begin;
        std::size_t end;
        time_point from;
        time_point to;
    };

    exp_window(bucket_list buckets, Clock clock, std::optional<duration> max_ahead)
        : buckets_(std::move(buckets)), clock_(std::move(clock)), max_ahead_(max_ahead) {}

    [[nodiscard]] const detail::window_levels<Clock>& cells() const noexcept { return buckets_.levels(); }

    [[nodiscard]] static time_point start_of(std::int64_t first) noexcept {
        return time_point(duration(static_cast<rep>(first)));
    }
    [[nodiscard]] static time_point end_of(std::int64_t last) noexcept {
        return start_of(last == clock_time::highest ? last : last + 1);
    }

    [[nodiscard]] range cover(duration length, time_point now) const noexcept {
        const std::int64_t granule = cells().span(0);
        const std::int64_t last_granule = cells().first_of(now.time_since_epoch().count(), 0);
        const std::int64_t last = cells().last_of(last_granule, 0);
        const std::int64_t oldest = cells().oldest_retained(empty() ? last : buckets_.newest());
        if (oldest > last) return {0, 0, end_of(last), end_of(last)};
        const std::int64_t more = (std::int64_t{length.count()} - 1) / granule * granule;
        const std::int64_t first = (std::max)(oldest, cells().back(last_granule, static_cast<std::uint64_t>(more)));

        range covered{buckets_.first_after(first), buckets_.first_after(last), start_of(first), end_of(last)};
        if (covered.begin > 0 && buckets_[covered.begin - 1].holds(first)) {
            const auto& b = buckets_[covered.begin - 1];
            const bool taken = detail::distance(b.first, first) <= detail::distance(first, b.last) + 1;
            if (taken) --covered.begin;
            covered.from = taken ? start_of(b.first) : end_of(b.last);
        }
        if (covered.end > 0 && buckets_[covered.end - 1].holds(last)) {
            const auto& b = buckets_[covered.end - 1];
            const bool taken = detail::distance(last, b.last) <= detail::distance(b.first, last) + 1;
            if (!taken) --covered.end;
            covered.to = taken ? end_of(b.last) : start_of(b.first);
        }
        return covered;
    }

    [[nodiscard]] answer answer_of(const range& covered) const {
        answer result{buckets_.prototype(), covered.from, covered.to, dropped_late_};
        detail::merge_many(result.sketch, std::span<const Sketch* const>(parts_of(covered).sketches));
        return result;
    }
    [[nodiscard]] parts parts_of(const range& covered) const {
        return {sums_.parts(buckets_, covered.begin, covered.end), covered.from, covered.to};
    }

    static void flush(Sketch& sketch) {
        if constexpr (requires { sketch.flush(); }) sketch.flush();
    }

    bucket_list buckets_;
    detail::bucket_sums<Sketch, Clock> sums_;
    std::vector<answer> remembered_; // the oldest first
    std::uint64_t dropped_late_ = 0;
    [[no_unique_address]] Clock clock_;
    std::optional<duration> max_ahead_;
};

} // namespace qsketch::inline v0
