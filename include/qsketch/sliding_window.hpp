#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/image.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/nested_image.hpp>
#include <qsketch/detail/window_time.hpp>
#include <qsketch/error.hpp>
#include <qsketch/window_answer.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0 {

/// The last `slots` slots of time, one sketch for each slot in which something happened.
///
/// Slots are aligned to the clock's epoch, so the windows of different machines agree on where a slot begins and can
/// be merged. Time is that of the events: "the last slots" counts back from the newest event seen, and the clock only
/// serves the calls that name no time and the check of `max_ahead`. An idle stretch costs neither time nor memory.
///
/// The answer to a query is exact about time (it says which interval it covers) and as accurate as the sketch is after
/// merging the slots of that interval.
///
/// The default clock is the system's, because events carry calendar time and serialized windows outlive a process;
/// it may be set back, which this class takes for late events.
///
/// Tests: sliding_window.test.cpp compares every answer with a replay of the events.
template <mergeable_sketch Sketch, class Clock = std::chrono::system_clock>
class sliding_window {
public:
    using duration = typename Clock::duration;
    using time_point = typename Clock::time_point;
    using answer = window_answer<Sketch, time_point>;

    static constexpr std::size_t max_slots = 0xffff'ffff;

    /// `slot` is the resolution: queries are answered in whole slots. `prototype` is the empty sketch that every slot
    /// starts from. With `max_ahead`, an event more than that after the clock's now is refused; without it times are
    /// trusted, and a single one far in the future moves the window there and empties it.
    /// Throws invalid_argument unless slot > 0, 1 <= slots <= max_slots, slot * slots fits duration, slot is less than
    /// 292 years, the prototype is empty and max_ahead is not negative.
    sliding_window(duration slot, std::size_t slots, Sketch prototype = Sketch(), Clock clock = Clock(),
                   std::optional<duration> max_ahead = std::nullopt)
        : slot_(slot), slots_(slots), prototype_(std::move(prototype)), clock_(std::move(clock)),
          max_ahead_(max_ahead) {
        if (const char* broken = broken_rule(slot, slots))
            throw std::invalid_argument(std::string("sliding_window: ") + broken + ", got slot = " +
                                        std::to_string(slot.count()) + " ticks, slots = " + std::to_string(slots));
        if (!prototype_.empty()) throw std::invalid_argument("sliding_window: prototype must be empty");
        clock_time::require_max_ahead(max_ahead, name);
    }

    /// Calls Sketch::add(args...) of the slot that holds `when`. Returns false, and counts the call in dropped_late(),
    /// if that slot is no longer kept; a call counts once, however many values it brings.
    /// Complexity: O(1) in the newest slot, O(log slots) in another; opening a slot moves the later ones, evicting is
    /// amortised O(1).
    /// Throws invalid_argument for an event beyond max_ahead, and whatever Sketch::add throws; then nothing changes.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add_at(time_point when, Args&&... args) {
        const std::int64_t index = index_of(when);
        if (!empty() && index == newest()) {
            entries_.back().sketch.add(std::forward<Args>(args)...);
            return true;
        }
        const bool advances = empty() || index > newest();
        if (advances) {
            clock_time::require_near(when, max_ahead_, clock_, name);
        } else if (!retained(index, newest())) {
            dropped_late_ = detail::saturating_sum(dropped_late_, 1);
            return false;
        }
        const auto at = entries_.begin() + (find(index) - entries_.cbegin());
        if (at != entries_.end() && at->index == index) {
            at->sketch.add(std::forward<Args>(args)...);
            return true;
        }
        entry opened{index, prototype_};
        opened.sketch.add(std::forward<Args>(args)...);
        if (opened.sketch.empty()) return true; // an empty batch, a weight of zero: no event
        entries_.insert(at, std::move(opened));
        if (advances) evict();
        return true;
    }

    /// add_at() the clock's now.
    template <class... Args>
    requires requires(Sketch& sketch, Args&&... args) { sketch.add(std::forward<Args>(args)...); }
    bool add(Args&&... args) { return add_at(clock_.now(), std::forward<Args>(args)...); }

    /// The last ceil(length / slot) slots, ending with the slot that contains `now`; later slots are left out.
    /// What the window has already let go is cut off the front of the interval, at the latest its whole length:
    /// then from == to and the sketch is empty. Slots without events are covered like any other, so the interval may
    /// be longer than span() when `now` lies after the newest event.
    /// Complexity: one merge per slot with events, in a single k-way merge where Sketch offers one.
    /// Throws invalid_argument unless length > 0.
    [[nodiscard]] answer query(duration length, time_point now) const {
        clock_time::require_length(length, name);
        const auto whole = static_cast<std::uint64_t>(length / slot_);
        const std::uint64_t wanted = whole + (length % slot_ != duration::zero() ? 1 : 0);
        const std::int64_t last = index_of(now);
        const std::int64_t oldest_kept = steps_before(empty() ? last : newest(), slots_ - 1);
        const std::int64_t first = (std::max)(steps_before(last, wanted - 1), oldest_kept);
        answer result{prototype_, end_of(last), end_of(last), dropped_late_};
        if (first > last) return result;
        result.from = start_of(first);
        const auto begin = find(first);
        const auto end = std::upper_bound(begin, entries_.cend(), last,
                                          [](std::int64_t index, const entry& e) { return index < e.index; });
        std::vector<const Sketch*> parts;
        parts.reserve(static_cast<std::size_t>(end - begin));
        for (auto e = begin; e != end; ++e) parts.push_back(&e->sketch);
        detail::merge_many(result.sketch, std::span<const Sketch* const>(parts));
        return result;
    }

    /// query() up to the clock's now.
    [[nodiscard]] answer query(duration length) const { return query(length, clock_.now()); }

    /// Merges slot by slot, keeps the slots up to the newer of both newest events, and adds up dropped_late().
    /// Complexity: one merge per slot of `other`.
    /// Throws incompatible_error unless compatible(other); this window is then unchanged.
    void merge(const sliding_window& other) {
        if (!compatible(other))
            throw incompatible_error("sliding_window: slot, number of slots or sketch parameters differ");
        if (other.empty()) return;
        const std::int64_t last = empty() ? other.newest() : (std::max)(newest(), other.newest());
        std::vector<entry> incoming;
        incoming.reserve(other.live().size());
        for (const entry& theirs : other.live()) {
            if (!retained(theirs.index, last)) continue;
            const auto mine = find(theirs.index);
            const bool both = mine != entries_.cend() && mine->index == theirs.index;
            incoming.push_back({theirs.index, both ? mine->sketch : prototype_});
            incoming.back().sketch.merge(theirs.sketch);
        }
        std::vector<entry> merged;
        merged.reserve(live().size() + incoming.size());
        // From here on nothing throws. Of a slot that both have, set_union takes the merged one.
        const auto earlier = [](const entry& a, const entry& b) noexcept { return a.index < b.index; };
        std::set_union(std::make_move_iterator(incoming.begin()), std::make_move_iterator(incoming.end()),
                       std::make_move_iterator(entries_.begin() + static_cast<std::ptrdiff_t>(expired_)),
                       std::make_move_iterator(entries_.end()), std::back_inserter(merged), earlier);
        entries_ = std::move(merged);
        expired_ = 0;
        dropped_late_ = detail::saturating_sum(dropped_late_, other.dropped_late_);
        evict();
    }

    /// Same slot length, same number of slots, compatible sketches. Clocks and max_ahead play no part.
    [[nodiscard]] bool compatible(const sliding_window& other) const noexcept {
        return slot_ == other.slot_ && slots_ == other.slots_ && prototype_.compatible(other.prototype_);
    }

    /// Forgets all events and dropped_late().
    void clear() noexcept {
        entries_.clear();
        expired_ = 0;
        dropped_late_ = 0;
    }

    [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }

    /// Parameters, events kept and dropped_late(); not the clock, not max_ahead.
    [[nodiscard]] friend bool operator==(const sliding_window& a, const sliding_window& b) {
        return a.slot_ == b.slot_ && a.slots_ == b.slots_ && a.dropped_late_ == b.dropped_late_ &&
               a.prototype_ == b.prototype_ &&
               std::equal(a.live().begin(), a.live().end(), b.live().begin(), b.live().end());
    }

    /// Complexity: O(slots with events). Grows with those, not with slots().
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this - sizeof prototype_ + prototype_.memory_bytes();
        bytes += entries_.capacity() * sizeof(entry);
        for (const entry& e : entries_) bytes += e.sketch.memory_bytes() - sizeof e.sketch;
        return bytes;
    }

    /// Calls of add and add_at refused as too old.
    [[nodiscard]] std::uint64_t dropped_late() const noexcept { return dropped_late_; }
    [[nodiscard]] duration slot() const noexcept { return slot_; }
    [[nodiscard]] std::size_t slots() const noexcept { return slots_; }
    /// slot() * slots().
    [[nodiscard]] duration span() const noexcept { return slot_ * static_cast<typename duration::rep>(slots_); }

    /// Body: slot length in nanoseconds, number of slots, dropped_late, size of the prototype's image, that image,
    /// number of entries; then for each, in ascending order: slot index (two's complement), size, image.
    /// All integers are of 64 bits.
    [[nodiscard]] std::vector<std::byte> serialize() const {
        detail::image_writer out(detail::image_kind::sliding_window, {}, 0);
        out.put(clock_time::to_nanoseconds(slot_));
        out.put(static_cast<std::uint64_t>(slots_));
        out.put(dropped_late_);
        detail::put_nested(out, prototype_);
        out.put(static_cast<std::uint64_t>(live().size()));
        for (const entry& e : live()) {
            out.put(static_cast<std::uint64_t>(e.index));
            detail::put_nested(out, e.sketch);
        }
        return std::move(out).finish();
    }

    /// A window read from an image has the clock and the max_ahead given here.
    /// Throws format_error unless `image` is a window of this kind of sketch whose slots this clock can express.
    [[nodiscard]] static sliding_window deserialize(std::span<const std::byte> image, Clock clock = Clock(),
                                                    std::optional<duration> max_ahead = std::nullopt) {
        detail::image_reader in(image, detail::image_kind::sliding_window, "sliding_window");
        in.require(in.options() == detail::image_options{}, "has option bytes that are not zero");
        const auto read_slot = clock_time::from_nanoseconds(in.take<std::uint64_t>());
        const auto slots = in.take<std::uint64_t>();
        const auto dropped_late = in.take<std::uint64_t>();
        in.require(read_slot.has_value(), "has a slot length that this clock cannot express");
        const duration slot = *read_slot;
        in.require(slots <= max_slots, "announces too many slots");
        if (const char* broken = broken_rule(slot, static_cast<std::size_t>(slots)))
            in.fail(std::string("breaks a rule: ") + broken);
        auto prototype = detail::take_nested<Sketch>(in);
        in.require(prototype.empty(), "has a prototype that is not empty");

        sliding_window window(slot, static_cast<std::size_t>(slots), std::move(prototype), std::move(clock), max_ahead);
        const auto count = in.take<std::uint64_t>();
        in.require(count <= slots, "announces more entries than slots");
        in.require(count > 0 || dropped_late == 0, "counts late events although it never saw any");
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto index = static_cast<std::int64_t>(in.take<std::uint64_t>());
            in.require(window.lowest() <= index && index <= window.highest(), "has a slot outside the clock's range");
            in.require(window.empty() || window.newest() < index, "has slots that do not ascend");
            window.entries_.push_back({index, detail::take_filled(in, window.prototype_)});
        }
        in.expect_end();
        in.require(window.empty() || window.retained(window.entries_.front().index, window.newest()),
                   "has slots older than it can hold");
        window.dropped_late_ = dropped_late;
        return window;
    }

private:
    using clock_time = detail::window_time<Clock>;
    using rep = typename clock_time::rep;
    // Without these, evicting or merging could fail half way.
    static_assert(std::is_nothrow_move_constructible_v<Sketch> && std::is_nothrow_move_assignable_v<Sketch>,
                  "sliding_window needs a sketch that moves without throwing");

    static constexpr const char* name = "sliding_window";

    struct entry {
        std::int64_t index; // floor(time since epoch / slot)
        Sketch sketch;      // never empty

        friend bool operator==(const entry&, const entry&) = default;
    };

    /// Null if a window of these can be built.
    [[nodiscard]] static const char* broken_rule(duration slot, std::size_t slots) noexcept {
        if (slot <= duration::zero()) return "slot must be positive";
        if (slots < 1 || slots > max_slots) return "slots must lie in [1, 2^32 - 1]";
        if (!clock_time::fits_nanoseconds(slot)) return "slot must be shorter than 2^63 nanoseconds";
        if (static_cast<std::uint64_t>(((duration::max)() / slot)) < slots) return "slot * slots must fit the duration";
        return nullptr;
    }

    [[nodiscard]] static std::int64_t floor_quotient(duration time, duration slot) noexcept {
        return static_cast<std::int64_t>(time / slot) - (time % slot < duration::zero() ? 1 : 0);
    }

    [[nodiscard]] std::int64_t index_of(time_point when) const noexcept {
        return floor_quotient(when.time_since_epoch(), slot_);
    }
    /// Index of the first and the last slot in which the clock has a time.
    [[nodiscard]] std::int64_t lowest() const noexcept { return floor_quotient((duration::min)(), slot_); }
    [[nodiscard]] std::int64_t highest() const noexcept { return floor_quotient((duration::max)(), slot_); }

    [[nodiscard]] time_point start_of(std::int64_t index) const noexcept {
        return index <= lowest() ? (time_point::min)() : time_point(slot_ * static_cast<rep>(index));
    }
    [[nodiscard]] time_point end_of(std::int64_t index) const noexcept {
        return index >= highest() ? (time_point::max)() : time_point(slot_ * static_cast<rep>(index + 1));
    }

    /// index - steps, but not below the first slot there is.
    [[nodiscard]] std::int64_t steps_before(std::int64_t index, std::uint64_t steps) const noexcept {
        return detail::distance(lowest(), index) < steps ? lowest() : index - static_cast<std::int64_t>(steps);
    }

    [[nodiscard]] bool retained(std::int64_t index, std::int64_t newest) const noexcept {
        return detail::distance(index, newest) < slots_;
    }

    /// Only of a window that is not empty. The slot of the newest event always has an entry.
    [[nodiscard]] std::int64_t newest() const noexcept { return entries_.back().index; }

    [[nodiscard]] std::span<const entry> live() const noexcept { return std::span(entries_).subspan(expired_); }

    /// The first kept entry at or after `index`.
    [[nodiscard]] auto find(std::int64_t index) const noexcept {
        return std::lower_bound(entries_.cbegin() + static_cast<std::ptrdiff_t>(expired_), entries_.cend(), index,
                                [](const entry& e, std::int64_t i) { return e.index < i; });
    }

    /// Expired entries stay in front, valid but unseen, until they are an eighth of all: so one pass over the entries
    /// pays for many evictions, and at most an eighth more memory is held.
    void evict() noexcept {
        while (!retained(entries_[expired_].index, newest())) ++expired_;
        if (expired_ < 1 + entries_.size() / 8) return;
        entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(expired_));
        expired_ = 0;
    }

    duration slot_;
    std::size_t slots_;
    Sketch prototype_;
    std::vector<entry> entries_; // ascending; [expired_, end) are the slots kept
    std::size_t expired_ = 0;
    std::uint64_t dropped_late_ = 0;
    [[no_unique_address]] Clock clock_;
    std::optional<duration> max_ahead_;
};

} // namespace qsketch::inline v0
