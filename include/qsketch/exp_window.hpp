#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/nested_image.hpp>
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
#include <string>
#include <type_traits>
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
    /// An instant younger than `keep` is still in a bucket of at most `span`.
    using level = detail::window_level<duration>;

    static constexpr std::size_t max_buckets = 0xffff'ffff;

    /// Levels whose spans double from `granule` on, of about k buckets each, for the instants of the last `retention`.
    /// Throws invalid_argument unless granule > 0, k > 0, and granule <= retention.
    [[nodiscard]] static std::vector<level> exponential(duration granule, std::size_t k, duration retention) {
        if (granule <= duration::zero() || k == 0 || retention < granule)
            throw std::invalid_argument("exp_window: granule and k must be positive and retention at least granule");
        std::vector<level> levels;
        duration span = granule;
        duration keep = duration::zero();
        for (;;) {
            // A level that would be kept for longer than the retention is the last one.
            const bool last = static_cast<std::uint64_t>((retention - keep) / span) < k ||
                              keep + span * static_cast<rep>(k) >= retention || span > (duration::max)() / 2;
            keep = last ? retention : keep + span * static_cast<rep>(k);
            levels.push_back({span, keep});
            if (last) return levels;
            span *= 2;
        }
    }

    /// Seconds, minutes and hours, each kept for so long: windows that begin on the full minute or hour are exact.
    [[nodiscard]] static std::vector<level>
    calendar(duration seconds, duration minutes,
             duration hours) requires std::convertible_to<std::chrono::seconds, duration> {
        return {{std::chrono::seconds(1), seconds}, {std::chrono::minutes(1), minutes}, {std::chrono::hours(1), hours}};
    }

    /// `prototype` is the empty sketch that every bucket starts from. With `max_ahead`, an event more than that after
    /// the clock's now is refused; without it times are trusted, and a single one far in the future moves the window
    /// there and empties it.
    /// Throws invalid_argument unless there are 1 to 64 levels, spans are positive and each a multiple of the one
    /// before, each level is kept for longer than the one before and for its span at least, all that is less than 292
    /// years and max_buckets, the prototype is empty and max_ahead is not negative.
    explicit exp_window(std::vector<level> levels, Sketch prototype = Sketch(), Clock clock = Clock(),
                        std::optional<duration> max_ahead = std::nullopt)
        : exp_window(std::move(levels), std::vector<Sketch>(1, std::move(prototype)), std::move(clock), max_ahead) {}

    /// A prototype for each level, for sketches that merge across parameters; of these, the first one's are the
    /// answers'. Throws invalid_argument as above and unless there are as many as levels, or one for all, and all are
    /// compatible.
    exp_window(std::vector<level> levels, std::vector<Sketch> prototypes, Clock clock = Clock(),
               std::optional<duration> max_ahead = std::nullopt)
        : levels_(std::move(levels)), prototypes_(std::move(prototypes)), clock_(std::move(clock)),
          max_ahead_(max_ahead) {
        if (const char* broken = broken_rule()) throw std::invalid_argument(std::string(name) + ": " + broken);
        clock_time::require_max_ahead(max_ahead, name);
        most_buckets_ = static_cast<std::size_t>(cells().max_cells());
    }

    /// Calls Sketch::add(args...) of the bucket that holds `when`. Returns false, and counts the call in
    /// dropped_late(), if `when` is beyond the retention; a call counts once, however many values it brings.
    /// Complexity: O(1) in the newest bucket, O(log buckets) in another; opening a bucket takes O(buckets), and may
    /// join buckets of one cell, which is one merge of as many as spans of a level are in one of the next.
    /// Throws invalid_argument for an event beyond max_ahead, and whatever Sketch::add and merge throw; then nothing
    /// changes.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add_at(time_point when, Args&&... args) {
        const std::int64_t t = when.time_since_epoch().count();
        const bool advances = empty() || t > newest();
        if (advances) {
            clock_time::require_near(when, max_ahead_, clock_, name);
        } else if (!cells().retains(t, newest())) {
            dropped_late_ = detail::saturating_sum(dropped_late_, 1);
            return false;
        }
        const auto at = buckets_.begin() + static_cast<std::ptrdiff_t>(first_after(t));
        if (at != buckets_.begin() && t <= last_of(at[-1])) {
            at[-1].sketch.add(std::forward<Args>(args)...);
            return true;
        }
        bucket opened{cells().first_of(t, 0), 0, prototypes_.front()};
        opened.sketch.add(std::forward<Args>(args)...);
        if (opened.sketch.empty()) return true; // an empty batch, a weight of zero: no event
        auto grown = buckets_;
        grown.insert(grown.begin() + (at - buckets_.begin()), std::move(opened));
        evict(grown);
        coarsen(grown);
        buckets_ = std::move(grown);
        return true;
    }

    /// add_at() the clock's now.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add(Args&&... args) { return add_at(clock_.now(), std::forward<Args>(args)...); }

    /// The window of `length`, rounded up to whole spans of the first level, that ends with the one of these that
    /// holds `now`; later events are left out. An end that falls inside a bucket moves to the nearer end of that
    /// bucket, or, if both are as near, to the one that takes it in: by half the span of the bucket at most, and in a
    /// window that ends with the newest event not at all while length is at most the first level's `keep`.
    /// What the window has already let go is cut off the front of the interval, at the latest its whole length: then
    /// from == to and the sketch is empty. So it is where a window is short beside the bucket that holds it.
    /// Complexity: one merge per bucket, in a single k-way merge where Sketch offers one.
    /// Throws invalid_argument unless length > 0.
    [[nodiscard]] answer query(duration length, time_point now) const {
        clock_time::require_length(length, name);
        const range covered = cover(length, now);
        answer result{prototypes_.front(), covered.from, covered.to, dropped_late_};
        merge_into(result.sketch, std::span(buckets_).subspan(covered.begin, covered.end - covered.begin));
        return result;
    }

    /// query() up to the clock's now.
    [[nodiscard]] answer query(duration length) const { return query(length, clock_.now()); }

    /// Prepares what the queries need, so that they need not. Changes no answer.
    void flush() {}

    /// Merges bucket by bucket, where they are nested into the longer one, keeps what the newer of both newest events
    /// retains, joins buckets if they are too many, and adds up dropped_late().
    /// Throws incompatible_error unless compatible(other); this window is then unchanged.
    void merge(const exp_window& other) {
        if (!compatible(other)) throw incompatible_error("exp_window: levels or sketch parameters differ");
        if (other.empty()) return;
        std::vector<bucket> merged = same_cells_merged(other);
        evict(merged);
        absorb_nested(merged);
        coarsen(merged);
        buckets_ = std::move(merged);
        dropped_late_ = detail::saturating_sum(dropped_late_, other.dropped_late_);
    }

    /// Same levels, compatible sketches. Clocks and max_ahead play no part.
    [[nodiscard]] bool compatible(const exp_window& other) const noexcept {
        return levels_ == other.levels_ &&
               std::ranges::equal(prototypes_, other.prototypes_,
                                  [](const Sketch& a, const Sketch& b) { return a.compatible(b); });
    }

    /// Forgets all events and dropped_late().
    void clear() noexcept {
        buckets_.clear();
        dropped_late_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return buckets_.empty(); }

    /// Parameters, buckets and dropped_late(); not the clock, not max_ahead.
    [[nodiscard]] friend bool operator==(const exp_window& a, const exp_window& b) {
        return a.levels_ == b.levels_ && a.dropped_late_ == b.dropped_late_ && a.prototypes_ == b.prototypes_ &&
               a.buckets_ == b.buckets_;
    }

    /// Complexity: O(buckets).
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this + levels_.capacity() * sizeof(level);
        for (const Sketch& prototype : prototypes_) bytes += prototype.memory_bytes();
        bytes += (prototypes_.capacity() - prototypes_.size()) * sizeof(Sketch);
        bytes += buckets_.capacity() * sizeof(bucket);
        for (const bucket& b : buckets_) bytes += b.sketch.memory_bytes() - sizeof b.sketch;
        return bytes;
    }

    /// Calls of add and add_at refused as too old.
    [[nodiscard]] std::uint64_t dropped_late() const noexcept { return dropped_late_; }
    [[nodiscard]] std::span<const level> levels() const noexcept { return levels_; }
    /// `keep` of the last level.
    [[nodiscard]] duration retention() const noexcept { return levels_.back().keep; }
    /// Buckets that hold events, at most what the levels need.
    [[nodiscard]] std::size_t buckets() const noexcept { return buckets_.size(); }

    /// Body: number of levels, for each its span and its keep in nanoseconds, dropped_late, number of prototypes, for
    /// each size and image; number of buckets; then for each, in ascending order: its first tick in nanoseconds
    /// divided by the first span (two's complement), its level, size and image. All integers are of 64 bits.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        detail::image_writer out(detail::image_kind::exp_window, {}, 0);
        out.put(static_cast<std::uint64_t>(levels_.size()));
        for (const level& l : levels_) {
            out.put(clock_time::to_nanoseconds(l.span));
            out.put(clock_time::to_nanoseconds(l.keep));
        }
        out.put(dropped_late_);
        out.put(static_cast<std::uint64_t>(prototypes_.size()));
        for (const Sketch& prototype : prototypes_) detail::put_nested(out, prototype);
        out.put(static_cast<std::uint64_t>(buckets_.size()));
        for (const bucket& b : buckets_) {
            out.put(static_cast<std::uint64_t>(cells().index_of(b.first, b.level)));
            out.put(static_cast<std::uint64_t>(b.level));
            detail::put_nested(out, b.sketch);
        }
        return std::move(out).finish();
    }

    /// A window read from an image has the clock and the max_ahead given here.
    /// Throws format_error unless `image` is a window of this kind of sketch whose levels this clock can express.
    [[nodiscard]] static exp_window deserialize(std::span<const std::byte> image, Clock clock = Clock(),
                                                std::optional<duration> max_ahead = std::nullopt) {
        detail::image_reader in(image, detail::image_kind::exp_window, name);
        in.require(in.options() == detail::image_options{}, "has option bytes that are not zero");
        std::vector<level> levels = take_levels(in);
        const auto dropped_late = in.take<std::uint64_t>();
        std::vector<Sketch> prototypes = take_prototypes(in, levels.size());
        exp_window window = [&] {
            try {
                return exp_window(std::move(levels), std::move(prototypes), std::move(clock), max_ahead);
            } catch (const std::invalid_argument& broken) {
                in.fail(std::string("breaks a rule: ") + broken.what());
            }
        }();
        window.take_buckets(in);
        in.expect_end();
        in.require(!window.empty() || dropped_late == 0, "counts late events although it never saw any");
        window.dropped_late_ = dropped_late;
        return window;
    }

private:
    using clock_time = detail::window_time<Clock>;
    using rep = typename clock_time::rep;
    using cell_levels = detail::window_levels<Clock>;
    static_assert(std::is_nothrow_move_constructible_v<Sketch> && std::is_nothrow_move_assignable_v<Sketch>,
                  "exp_window needs a sketch that moves without throwing");

    static constexpr const char* name = "exp_window";

    struct bucket {
        std::int64_t first; // tick
        std::size_t level;
        Sketch sketch; // never empty

        friend bool operator==(const bucket&, const bucket&) = default;
    };

    struct range {
        std::size_t begin;
        std::size_t end;
        time_point from;
        time_point to;
    };

    [[nodiscard]] cell_levels cells() const noexcept { return cell_levels(levels_); }
    [[nodiscard]] const Sketch& prototype(std::size_t l) const noexcept {
        return prototypes_.size() == 1 ? prototypes_.front() : prototypes_[l];
    }

    [[nodiscard]] const char* broken_rule() const noexcept {
        if (const char* broken = cells().broken_rule(max_buckets)) return broken;
        if (prototypes_.size() != 1 && prototypes_.size() != levels_.size())
            return "there must be one prototype, or one for each level";
        for (const Sketch& p : prototypes_) {
            if (!p.empty()) return "prototypes must be empty";
            if (!p.compatible(prototypes_.front())) return "prototypes must be compatible";
        }
        return nullptr;
    }

    [[nodiscard]] std::int64_t last_of(const bucket& b) const noexcept { return cells().last_of(b.first, b.level); }
    /// The last tick of the bucket of the newest event, which is always of the first level.
    [[nodiscard]] std::int64_t newest() const noexcept { return last_of(buckets_.back()); }

    /// Index of the first bucket that begins after t.
    [[nodiscard]] std::size_t first_after(std::int64_t t) const noexcept {
        return static_cast<std::size_t>(std::ranges::upper_bound(buckets_, t, {}, &bucket::first) - buckets_.begin());
    }

    [[nodiscard]] static time_point time_of(std::int64_t t) noexcept {
        return time_point(duration(static_cast<rep>(t)));
    }
    /// The time after the tick `last`.
    [[nodiscard]] static time_point end_of(std::int64_t last) noexcept {
        return time_of(last == clock_time::highest ? last : last + 1);
    }

    /// What a query covers.
    [[nodiscard]] range cover(duration length, time_point now) const noexcept {
        const std::int64_t now_first = cells().first_of(now.time_since_epoch().count(), 0);
        const std::int64_t last = cells().last_of(now_first, 0);
        const std::int64_t oldest = cells().oldest_retained(empty() ? last : newest());
        if (oldest > last) return {0, 0, end_of(last), end_of(last)};
        const std::int64_t granule = cells().span(0);
        const std::int64_t more = length.count() <= granule ? 0 : (length.count() - 1) / granule * granule;
        std::int64_t first = detail::distance(clock_time::lowest, now_first) < static_cast<std::uint64_t>(more)
                                 ? clock_time::lowest
                                 : now_first - more;
        first = (std::max)(first, oldest);

        range result{first_after(first), first_after(last), time_of(first), end_of(last)};
        if (result.begin > 0 && last_of(buckets_[result.begin - 1]) >= first) { // in a bucket, if only at its start
            const bucket& b = buckets_[result.begin - 1];
            const std::uint64_t before = detail::distance(b.first, first);
            const std::uint64_t within = detail::distance(first, last_of(b)) + 1;
            if (before <= within) --result.begin;
            result.from = before <= within ? time_of(b.first) : end_of(last_of(b));
        }
        if (result.end > 0 && last_of(buckets_[result.end - 1]) > last) {
            const bucket& b = buckets_[result.end - 1];
            const std::uint64_t within = detail::distance(b.first, last) + 1;
            const std::uint64_t after = detail::distance(last, last_of(b));
            if (after > within) --result.end;
            result.to = after > within ? time_of(b.first) : end_of(last_of(b));
        }
        return result;
    }

    static void merge_into(Sketch& sum, std::span<const bucket> parts) {
        std::vector<const Sketch*> sketches;
        sketches.reserve(parts.size());
        for (const bucket& part : parts) sketches.push_back(&part.sketch);
        detail::merge_many(sum, std::span<const Sketch* const>(sketches));
    }

    /// Makes [begin, end), which are of one cell of level l, one bucket.
    void join(std::vector<bucket>& buckets, std::size_t begin, std::size_t end, std::size_t l) const {
        bucket joined{cells().first_of(buckets[begin].first, l), l, prototype(l)};
        merge_into(joined.sketch, std::span(buckets).subspan(begin, end - begin));
        buckets[begin] = std::move(joined);
        buckets.erase(buckets.begin() + static_cast<std::ptrdiff_t>(begin) + 1,
                      buckets.begin() + static_cast<std::ptrdiff_t>(end));
    }

    void evict(std::vector<bucket>& buckets) const noexcept {
        const std::int64_t oldest = cells().oldest_retained(last_of(buckets.back()));
        std::erase_if(buckets, [&](const bucket& b) { return b.first < oldest; });
    }

    /// Joins buckets until there are no more than the levels need: of those whose level allows it, always those of the
    /// cell that is shortest for its age.
    void coarsen(std::vector<bucket>& buckets) const {
        while (buckets.size() > most_buckets_) {
            const std::int64_t last = last_of(buckets.back());
            double least = 0;
            std::size_t best = 0;
            std::size_t best_level = 0;
            for (std::size_t i = 0; i + 1 < buckets.size(); ++i) {
                const std::size_t l = cells().common(buckets[i].first, buckets[i + 1].first,
                                                     (std::max)(buckets[i].level, buckets[i + 1].level));
                if (l == levels_.size()) continue;
                const std::int64_t end = cells().last_of(buckets[i].first, l);
                if (!cells().may_join(end, l, last)) continue;
                const double ratio =
                    static_cast<double>(cells().span(l)) / (static_cast<double>(detail::distance(end, last)) + 1);
                if (best_level == 0 || ratio < least) {
                    least = ratio;
                    best = i;
                    best_level = l;
                }
            }
            const std::int64_t end = cells().last_of(buckets[best].first, best_level);
            std::size_t behind = best + 1;
            while (behind < buckets.size() && buckets[behind].first <= end) ++behind;
            join(buckets, best, behind, best_level);
        }
    }

    /// The buckets of both windows in ascending order, of one cell in descending order of levels; where both have the
    /// very same bucket, these merged.
    [[nodiscard]] std::vector<bucket> same_cells_merged(const exp_window& other) const {
        const auto earlier = [](const bucket& a, const bucket& b) {
            return a.first != b.first ? a.first < b.first : a.level > b.level;
        };
        std::vector<bucket> merged;
        merged.reserve(buckets_.size() + other.buckets_.size());
        auto mine = buckets_.begin();
        for (const bucket& theirs : other.buckets_) {
            for (; mine != buckets_.end() && earlier(*mine, theirs); ++mine) merged.push_back(*mine);
            if (mine != buckets_.end() && !earlier(theirs, *mine)) {
                merged.push_back(*mine++);
            } else {
                merged.push_back({theirs.first, theirs.level, prototype(theirs.level)});
            }
            merged.back().sketch.merge(theirs.sketch);
        }
        merged.insert(merged.end(), mine, buckets_.end());
        return merged;
    }

    /// Makes one of buckets of which the first contains the others.
    void absorb_nested(std::vector<bucket>& buckets) const {
        for (std::size_t i = 0; i < buckets.size(); ++i) {
            std::size_t behind = i + 1;
            while (behind < buckets.size() && buckets[behind].first <= last_of(buckets[i])) ++behind;
            if (behind > i + 1) join(buckets, i, behind, buckets[i].level);
        }
    }

    [[nodiscard]] static std::vector<level> take_levels(detail::image_reader& in) {
        const auto count = in.take<std::uint64_t>();
        in.require(count <= 64, "announces too many levels");
        std::vector<level> levels;
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto span = clock_time::from_nanoseconds(in.take<std::uint64_t>());
            const auto keep = clock_time::from_nanoseconds(in.take<std::uint64_t>());
            in.require(span.has_value() && keep.has_value(), "has a level that this clock cannot express");
            levels.push_back({*span, *keep});
        }
        return levels;
    }

    [[nodiscard]] static std::vector<Sketch> take_prototypes(detail::image_reader& in, std::size_t levels) {
        const auto count = in.take<std::uint64_t>();
        in.require(count == 1 || count == levels, "must have one prototype, or one for each level");
        std::vector<Sketch> prototypes;
        for (std::uint64_t i = 0; i < count; ++i) prototypes.push_back(detail::take_nested<Sketch>(in));
        return prototypes;
    }

    /// Into a new window.
    void take_buckets(detail::image_reader& in) {
        const auto count = in.take<std::uint64_t>();
        in.require(count <= most_buckets_, "announces more buckets than its levels need");
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto index = static_cast<std::int64_t>(in.take<std::uint64_t>());
            const auto l = in.take<std::uint64_t>();
            in.require(l < levels_.size(), "has a bucket of no level");
            const auto first = cells().first_at(index, static_cast<std::size_t>(l));
            in.require(first.has_value(), "has a bucket outside the clock's range");
            in.require(empty() || newest() < *first, "has buckets that do not ascend");
            buckets_.push_back(
                {*first, static_cast<std::size_t>(l), detail::take_filled(in, prototype(static_cast<std::size_t>(l)))});
        }
        if (empty()) return;
        in.require(buckets_.back().level == 0, "ends with a bucket that is not of the first level");
        in.require(cells().retains(buckets_.front().first, newest()), "has buckets older than it retains");
        for (const bucket& b : buckets_)
            in.require(cells().may_join(last_of(b), b.level, newest()), "has a bucket too young for its level");
    }

    std::vector<level> levels_;
    std::vector<Sketch> prototypes_; // one for all levels, or one for each
    std::vector<bucket> buckets_;    // ascending, the last one of level 0
    std::size_t most_buckets_ = 0;
    std::uint64_t dropped_late_ = 0;
    [[no_unique_address]] Clock clock_;
    std::optional<duration> max_ahead_;
};

} // namespace qsketch::inline v0
