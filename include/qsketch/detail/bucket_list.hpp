#pragma once

#include <qsketch/detail/image.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/nested_image.hpp>
#include <qsketch/detail/window_levels.hpp>
#include <qsketch/detail/window_time.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// Gives back what memory a sketch can do without while it is seldom added to.
template <class Sketch>
void compact(Sketch& sketch) {
    if constexpr (requires { sketch.compact(); }) sketch.compact();
}

/// The buckets of an exp_window: sketches of disjoint cells of time in ascending order, no more of them than the levels
/// need, the last one of level 0.
template <class Sketch, class Clock>
class bucket_list {
    static_assert(std::is_nothrow_move_constructible_v<Sketch> && std::is_nothrow_move_assignable_v<Sketch>,
                  "exp_window needs a sketch that moves without throwing");

public:
    using levels_type = window_levels<Clock>;

    struct bucket {
        std::int64_t first; // ticks
        std::int64_t last;
        // Of the smallest cell that holds this bucket and the next: its last tick and its level, if there is one.
        std::int64_t common_last;
        std::uint8_t common_level;
        std::uint8_t level;
        bool grown;               // since it was last compacted, or never was
        std::size_t sealed_parts; // of the sketch when it was last compacted
        Sketch sketch;            // never empty

        [[nodiscard]] bool holds(std::int64_t t) const noexcept { return first <= t && t <= last; }
        friend bool operator==(const bucket& a, const bucket& b) {
            return a.first == b.first && a.level == b.level && a.sketch == b.sketch;
        }
    };

    /// Throws invalid_argument unless there is one prototype, or one for each level, and all are empty and compatible.
    bucket_list(levels_type levels, std::vector<Sketch> prototypes)
        : levels_(std::move(levels)), prototypes_(std::move(prototypes)),
          most_(static_cast<std::size_t>(levels_.max_cells())) {
        if (prototypes_.size() != 1 && prototypes_.size() != levels_.size())
            throw std::invalid_argument("exp_window: there must be one prototype, or one for each level");
        for (const Sketch& p : prototypes_) {
            if (!p.empty()) throw std::invalid_argument("exp_window: prototypes must be empty");
            if (!p.compatible(prototypes_.front()))
                throw std::invalid_argument("exp_window: prototypes must be compatible");
        }
    }

    [[nodiscard]] const levels_type& levels() const noexcept { return levels_; }
    [[nodiscard]] const Sketch& prototype(std::size_t l = 0) const noexcept {
        return prototypes_.size() == 1 ? prototypes_.front() : prototypes_[l];
    }

    [[nodiscard]] bool empty() const noexcept { return buckets_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return buckets_.size(); }
    [[nodiscard]] const bucket& operator[](std::size_t i) const noexcept { return buckets_[i]; }
    [[nodiscard]] const bucket& back() const noexcept { return buckets_.back(); }
    [[nodiscard]] Sketch& newest_sketch() noexcept { return buckets_.back().sketch; }
    [[nodiscard]] std::int64_t newest() const noexcept { return buckets_.back().last; }

    /// Index of the first bucket that begins after t.
    [[nodiscard]] std::size_t first_after(std::int64_t t) const noexcept {
        const auto after = std::upper_bound(buckets_.begin(), buckets_.end(), t,
                                            [](std::int64_t time, const bucket& b) { return time < b.first; });
        return static_cast<std::size_t>(after - buckets_.begin());
    }

    /// Calls fill(sketch) with that of the bucket that holds t, or a new one, which is kept unless it is still empty. A
    /// new bucket lets go what is too old and may join others, if there are too many. If anything throws, nothing
    /// changes.
    template <class Fill>
    void add(std::int64_t t, const Fill& fill) {
        const std::size_t at = first_after(t);
        if (at > 0 && buckets_[at - 1].holds(t)) {
            bucket& late = buckets_[at - 1];
            fill(late.sketch);
            late.grown = true;
            if (at < size()) seal_if_grown(late);
            return;
        }
        bucket opened = new_bucket(levels_.first_of(t, 0), 0);
        fill(opened.sketch);
        if (!opened.sketch.empty()) insert(std::move(opened), at);
    }

    /// Bucket by bucket, where they are nested into the longer one; then as after an add. If anything throws, nothing
    /// changes.
    void merge(const bucket_list& other) {
        if (other.empty()) return;
        bucket_list merged(levels_, prototypes_);
        merged.take_both(*this, other);
        merged.settle();
        buckets_ = std::move(merged.buckets_);
    }

    /// The same sketches in cells of other levels: each in the smallest that holds its bucket, or, where that would be
    /// too young, in the one of a lower level that holds the end of it.
    [[nodiscard]] bucket_list under(levels_type levels) const {
        bucket_list moved(std::move(levels), {prototype()});
        if (empty()) return moved;
        const levels_type& cells = moved.levels_;
        const std::int64_t last = cells.last_of(newest(), 0);
        for (const bucket& b : buckets_) {
            std::size_t l = 0;
            while (l + 1 < cells.size() && cells.first_of(b.last, l) > b.first) ++l;
            while (l > 0 && !cells.may_be_bucket(cells.last_of(b.last, l), l, last)) --l;
            moved.buckets_.push_back(moved.new_bucket(cells.first_of(b.last, l), l));
            moved.buckets_.back().sketch.merge(b.sketch);
        }
        std::stable_sort(moved.buckets_.begin(), moved.buckets_.end(), before);
        moved.settle();
        return moved;
    }

    [[nodiscard]] bool compatible(const bucket_list& other) const noexcept {
        return levels_ == other.levels_ &&
               std::equal(prototypes_.begin(), prototypes_.end(), other.prototypes_.begin(), other.prototypes_.end(),
                          [](const Sketch& a, const Sketch& b) { return a.compatible(b); });
    }
    [[nodiscard]] friend bool operator==(const bucket_list& a, const bucket_list& b) {
        return a.levels_ == b.levels_ && a.prototypes_ == b.prototypes_ && a.buckets_ == b.buckets_;
    }
    void clear() noexcept { buckets_.clear(); }

    /// What this object holds elsewhere.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = levels_.memory_bytes() + prototypes_.capacity() * sizeof(Sketch);
        bytes += buckets_.capacity() * sizeof(bucket);
        for (const Sketch& p : prototypes_) bytes += p.memory_bytes() - sizeof p;
        for (const bucket& b : buckets_) bytes += b.sketch.memory_bytes() - sizeof b.sketch;
        return bytes;
    }

    /// Number of prototypes and for each its size and image; number of buckets and for each, in ascending order, the
    /// number of its cell from the epoch (two's complement), its level, size and image. All integers are of 64 bits.
    void put(image_writer& out) const {
        out.put(static_cast<std::uint64_t>(prototypes_.size()));
        for (const Sketch& p : prototypes_) put_nested(out, p);
        out.put(static_cast<std::uint64_t>(size()));
        for (const bucket& b : buckets_) {
            out.put(static_cast<std::uint64_t>(levels_.index_of(b.first, b.level)));
            out.put(std::uint64_t{b.level});
            put_nested(out, b.sketch);
        }
    }
    [[nodiscard]] static bucket_list take(image_reader& in, levels_type levels) {
        const auto kinds = in.take<std::uint64_t>();
        in.require(kinds == 1 || kinds == levels.size(), "must have one prototype, or one for each level");
        std::vector<Sketch> prototypes;
        for (std::uint64_t i = 0; i < kinds; ++i) prototypes.push_back(take_nested<Sketch>(in));
        bucket_list list = [&] {
            try {
                return bucket_list(std::move(levels), std::move(prototypes));
            } catch (const std::invalid_argument& broken) {
                in.fail(std::string("breaks a rule: ") + broken.what());
            }
        }();
        const auto count = in.take<std::uint64_t>();
        in.require(count <= list.most_, "announces more buckets than its levels need");
        for (std::uint64_t i = 0; i < count; ++i) list.take_bucket(in);
        list.check(in);
        list.link(0, list.size());
        return list;
    }

private:
    /// Events that are late fall into as many of the newest buckets mostly. What they made large is compacted behind
    /// these.
    static constexpr std::size_t late_buckets = 16;

    [[nodiscard]] bucket new_bucket(std::int64_t first, std::size_t l) const {
        return {first, levels_.last_of(first, l), 0, 0, static_cast<std::uint8_t>(l), true, 0, prototype(l)};
    }

    /// [begin, end), which are of one cell of level l, as one bucket.
    [[nodiscard]] bucket joined(std::size_t begin, std::size_t end, std::size_t l) const {
        bucket whole = new_bucket(levels_.first_of(buckets_[begin].first, l), l);
        std::vector<const Sketch*> parts;
        for (std::size_t i = begin; i < end; ++i) parts.push_back(&buckets_[i].sketch);
        merge_many(whole.sketch, std::span<const Sketch* const>(parts));
        seal(whole);
        return whole;
    }

    static void seal(bucket& b) noexcept {
        try {
            compact(b.sketch);
        } catch (...) { // no memory to save memory with: the bucket stays as it is
        }
        b.sealed_parts = parts(b.sketch);
        b.grown = false;
    }
    /// Late events must not make old buckets large again, nor each cost much more than an add.
    static void seal_if_grown(bucket& b) noexcept {
        if (parts(b.sketch) > b.sealed_parts + (b.sealed_parts < 50 ? 32 : 64)) seal(b);
    }
    /// The size of a sketch that can be compacted. Not its memory, which differs between machines: when it is compacted
    /// shows in its bytes.
    [[nodiscard]] static std::size_t parts(const Sketch& sketch) noexcept {
        if constexpr (requires { sketch.parts(); })
            return sketch.parts();
        else
            return 0;
    }

    /// Finds the common cells of each of [begin, end) and its successor.
    void link(std::size_t begin, std::size_t end) noexcept {
        for (std::size_t i = begin; i < end; ++i) {
            bucket& b = buckets_[i];
            std::size_t l = levels_.size();
            if (i + 1 < size())
                l = levels_.common(b.first, buckets_[i + 1].first, (std::max)(b.level, buckets_[i + 1].level));
            b.common_level = static_cast<std::uint8_t>(l);
            b.common_last = l < levels_.size() ? levels_.last_of(b.first, l) : b.last;
        }
    }

    void insert(bucket opened, std::size_t at) {
        if (at < size())
            seal(opened);
        else if (at > 0)
            seal(buckets_.back());
        if (size() >= late_buckets && at > size() - late_buckets) { // then that one is behind so many
            bucket& quiet = buckets_[size() - late_buckets];
            if (quiet.grown) seal(quiet);
        }
        if (size() == buckets_.capacity()) buckets_.reserve((std::min)(2 * size() + 1, most_ + 1));
        buckets_.insert(buckets_.begin() + offset(at), std::move(opened));
        link(at > 0 ? at - 1 : 0, at + 1);
        const std::int64_t oldest = levels_.oldest_retained(newest());
        std::size_t expired = 0;
        while (buckets_[expired].first < oldest) ++expired;
        try {
            coarsen(expired);
        } catch (...) {
            buckets_.erase(buckets_.begin() + offset(at));
            if (at > 0) link(at - 1, at);
            throw;
        }
        buckets_.erase(buckets_.begin(), buckets_.begin() + offset(expired));
    }

    /// Where buckets may be joined: of `at` and the next.
    struct seam {
        double span_by_age; // of the cell that holds both
        std::size_t at;
    };
    [[nodiscard]] std::vector<seam> seams(std::size_t begin) const {
        std::vector<seam> found;
        found.reserve(size() - begin);
        for (std::size_t i = begin; i < size(); ++i) {
            const bucket& b = buckets_[i];
            if (b.common_level < levels_.size() && levels_.may_be_bucket(b.common_last, b.common_level, newest()))
                found.push_back({static_cast<double>(levels_.span(b.common_level)) /
                                     (static_cast<double>(distance(b.common_last, newest())) + 1),
                                 i});
        }
        return found;
    }

    /// Joins buckets, without regard of the first `expired`, until there are no more than the levels need: of those
    /// that are old enough, always all of the cell that is shortest for its age. If there is one too many, all or
    /// nothing.
    void coarsen(std::size_t expired) {
        while (size() - expired > most_) {
            std::vector<seam> chosen = seams(expired);
            const std::size_t excess = (std::min)(size() - expired - most_, chosen.size());
            std::nth_element(chosen.begin(), chosen.begin() + offset(excess - 1), chosen.end(),
                             [](const seam& a, const seam& b) {
                                 return a.span_by_age != b.span_by_age ? a.span_by_age < b.span_by_age : a.at < b.at;
                             });
            chosen.resize(excess, {0, 0});
            std::sort(chosen.begin(), chosen.end(), [](const seam& a, const seam& b) { return a.at < b.at; });
            std::size_t kept = chosen.front().at; // buckets [0, kept) are done, [next, size) still to come
            std::size_t next = kept;
            for (const seam& s : chosen) {
                if (s.at < next) continue; // joined a moment ago
                // So were others of the cell that this is about: the next round sees what they have become.
                const std::size_t previous = s.at > next ? s.at - 1 : kept - 1;
                const std::int64_t first = levels_.first_of(buckets_[s.at].first, buckets_[s.at].common_level);
                if (s.at > chosen.front().at && buckets_[previous].last >= first) continue;
                for (; next < s.at; ++next) buckets_[kept++] = std::move(buckets_[next]);
                const std::int64_t last = buckets_[s.at].common_last;
                while (next < size() && buckets_[next].first <= last) ++next;
                buckets_[kept++] = joined(s.at, next, buckets_[s.at].common_level);
            }
            for (; next < size(); ++next) buckets_[kept++] = std::move(buckets_[next]);
            buckets_.erase(buckets_.begin() + offset(kept), buckets_.end());
            link(chosen.front().at > 0 ? chosen.front().at - 1 : 0, excess == 1 ? chosen.front().at + 1 : size());
        }
    }

    /// In ascending order, nested ones behind what they are nested in.
    [[nodiscard]] static bool before(const bucket& a, const bucket& b) noexcept {
        return a.first != b.first ? a.first < b.first : a.level > b.level;
    }

    /// The buckets of both in ascending order, nested ones behind what they are nested in; of a cell that both have,
    /// these merged.
    void take_both(const bucket_list& a, const bucket_list& b) {
        buckets_.reserve(a.size() + b.size());
        auto mine = a.buckets_.begin();
        for (const bucket& theirs : b.buckets_) {
            for (; mine != a.buckets_.end() && before(*mine, theirs); ++mine) buckets_.push_back(*mine);
            if (mine != a.buckets_.end() && !before(theirs, *mine))
                buckets_.push_back(*mine++);
            else
                buckets_.push_back(new_bucket(theirs.first, theirs.level));
            buckets_.back().sketch.merge(theirs.sketch);
        }
        buckets_.insert(buckets_.end(), mine, a.buckets_.end());
    }

    /// After buckets were put in from elsewhere, nested ones behind what they are nested in.
    void settle() {
        const std::int64_t oldest = levels_.oldest_retained(newest());
        std::erase_if(buckets_, [&](const bucket& b) { return b.first < oldest; });
        absorb_nested();
        link(0, size());
        coarsen(0);
        for (std::size_t i = 0; i + 1 < size(); ++i) seal_if_grown(buckets_[i]);
        buckets_.shrink_to_fit();
    }

    void absorb_nested() {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < size();) {
            const std::size_t begin = i++;
            while (i < size() && buckets_[i].first <= buckets_[begin].last) ++i;
            if (i > begin + 1)
                buckets_[kept] = joined(begin, i, buckets_[begin].level);
            else if (kept != begin)
                buckets_[kept] = std::move(buckets_[begin]);
            ++kept;
        }
        buckets_.erase(buckets_.begin() + offset(kept), buckets_.end());
    }

    void take_bucket(image_reader& in) {
        const auto index = static_cast<std::int64_t>(in.take<std::uint64_t>());
        const auto l = in.take<std::uint64_t>();
        in.require(l < levels_.size(), "has a bucket of no level");
        const auto first = levels_.first_at(index, static_cast<std::size_t>(l));
        in.require(first.has_value(), "has a bucket outside the clock's range");
        in.require(empty() || newest() < *first, "has buckets that do not ascend");
        bucket read = new_bucket(*first, static_cast<std::size_t>(l));
        read.sketch = take_filled(in, prototype(static_cast<std::size_t>(l)));
        read.sealed_parts = parts(read.sketch);
        buckets_.push_back(std::move(read));
    }
    void check(const image_reader& in) const {
        if (empty()) return;
        in.require(back().level == 0, "ends with a bucket that is not of the first level");
        in.require(buckets_.front().first >= levels_.oldest_retained(newest()), "has buckets older than it retains");
        for (const bucket& b : buckets_)
            in.require(levels_.may_be_bucket(b.last, b.level, newest()), "has a bucket too young for its level");
    }

    [[nodiscard]] static std::ptrdiff_t offset(std::size_t i) noexcept { return static_cast<std::ptrdiff_t>(i); }

    levels_type levels_;
    std::vector<Sketch> prototypes_; // one for all levels, or one for each
    std::vector<bucket> buckets_;
    std::size_t most_;
};

} // namespace qsketch::inline v0::detail
