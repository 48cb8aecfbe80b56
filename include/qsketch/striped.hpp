#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/merge_many.hpp>
#include <qsketch/detail/spin_lock.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// Where this thread last found a free stripe, of whatever object: a guess, which costs time if wrong and nothing else.
[[nodiscard]] inline std::size_t& stripe_hint() noexcept {
    static thread_local std::size_t hint = 0;
    return hint;
}

} // namespace qsketch::inline v0::detail

namespace qsketch::inline v0 {

/// One sketch that many threads add to: several sketches, each behind a lock of its own, merged when asked for.
///
/// A thread stays with the stripe where it last met nobody and takes the next one where it does; it waits only if all
/// are taken. So threads spread over the stripes as far as they are in each other's way, and one thread alone fills one
/// stripe, to the state of a bare sketch.
///
/// All members may run concurrently. A snapshot holds every value whose add() had returned before it was asked for, and
/// of those being added meanwhile any; a value counts once. Nothing waits in a buffer here: see writer for that.
/// Test: striped.test.cpp.
template <mergeable_sketch Sketch>
class striped {
public:
    using sketch_type = Sketch;

    static constexpr std::size_t max_stripes = 4096;

    /// One for each thread that the machine runs at once.
    [[nodiscard]] static std::size_t default_stripes() noexcept {
        return std::clamp(std::size_t{std::thread::hardware_concurrency()}, std::size_t{1}, max_stripes);
    }

    /// `prototype` is the empty sketch that every stripe starts from. `stripes`, 1 .. 4096: more than there are threads
    /// at once serve nothing.
    /// Throws std::invalid_argument for another number of stripes and for a prototype that is not empty.
    explicit striped(Sketch prototype = Sketch(), std::size_t stripes = default_stripes())
        : prototype_(std::move(prototype)), stripes_(checked(stripes), stripe(prototype_)) {
        if (!prototype_.empty()) throw std::invalid_argument("striped: prototype must be empty");
    }

    /// Threads hold on to it, so it stays where it is.
    striped(const striped&) = delete;
    striped& operator=(const striped&) = delete;

    /// Calls Sketch::add(args...) of one stripe, returns what that returns and throws what that throws.
    template <class... Args>
    requires requires(Sketch& sketch, const Args&... args) { sketch.add(args...); }
    decltype(auto) add(const Args&... args) {
        return update([&](Sketch& sketch) -> decltype(auto) { return sketch.add(args...); });
    }

    /// Adds all that `other` holds to one stripe. Throws what Sketch::merge throws, and nothing changes then.
    void merge(const Sketch& other) {
        update([&](Sketch& sketch) { sketch.merge(other); });
    }

    /// Calls change(sketch) with one stripe's sketch and returns what that returns: for members other than add() and
    /// merge(), such as add_hash(). No other thread sees that sketch meanwhile; so `change` should be short, keep no
    /// reference to it, and not come back here.
    template <std::invocable<Sketch&> Change>
    decltype(auto) update(Change&& change) {
        std::size_t& hint = detail::stripe_hint();
        const std::size_t count = stripes_.size();
        const std::size_t first = hint < count ? hint : hint % count;
        std::unique_lock held(stripes_[first].lock, std::try_to_lock);
        std::size_t at = first;
        while (!held) {
            at = at + 1 < count ? at + 1 : 0;
            held = at != first ? std::unique_lock(stripes_[at].lock, std::try_to_lock)
                               : std::unique_lock(stripes_[at].lock);
        }
        hint = at;
        return std::forward<Change>(change)(stripes_[at].sketch);
    }

    /// All stripes merged. Stripes are copied one after the other, which holds up nobody who finds another one free,
    /// and merged without any lock. Complexity: a copy and a merge for each stripe that was used; for a t-digest all in
    /// one merge. Throws incompatible_error where the stripes together exceed a limit of the sketch on its count.
    [[nodiscard]] Sketch snapshot() const {
        std::vector<Sketch> parts;
        parts.reserve(stripes_.size());
        for (const stripe& s : stripes_) {
            const std::lock_guard held(s.lock);
            if (!s.sketch.empty()) parts.push_back(s.sketch);
        }
        return merged(parts);
    }

    /// Takes everything out and returns it: of two calls, and whatever is added meanwhile, each value is in one result.
    /// A snapshot at the same time may see a part of what is being taken.
    /// Complexity: as snapshot(), but stripes are swapped for empty sketches instead of copied.
    /// Throws as snapshot(); everything is put back then.
    [[nodiscard]] Sketch drain() {
        std::vector<Sketch> parts(stripes_.size(), prototype_);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const std::lock_guard held(stripes_[i].lock);
            std::swap(stripes_[i].sketch, parts[i]);
        }
        try {
            return merged(parts);
        } catch (...) {
            for (std::size_t i = 0; i < parts.size(); ++i) {
                const std::lock_guard held(stripes_[i].lock);
                if (stripes_[i].sketch.empty())
                    std::swap(stripes_[i].sketch, parts[i]);
                else
                    stripes_[i].sketch.merge(parts[i]);
            }
            throw;
        }
    }

    /// Drops everything; what is added meanwhile may be dropped or stay.
    void clear() noexcept {
        for (stripe& s : stripes_) {
            const std::lock_guard held(s.lock);
            s.sketch.clear();
        }
    }

    [[nodiscard]] bool empty() const noexcept {
        return std::all_of(stripes_.begin(), stripes_.end(), [](const stripe& s) {
            const std::lock_guard held(s.lock);
            return s.sketch.empty();
        });
    }

    [[nodiscard]] std::size_t stripes() const noexcept { return stripes_.size(); }

    /// The object, all stripes and what their sketches allocated.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        std::size_t bytes = sizeof *this - sizeof prototype_ + prototype_.memory_bytes();
        for (const stripe& s : stripes_) {
            const std::lock_guard held(s.lock);
            bytes += sizeof s - sizeof s.sketch + s.sketch.memory_bytes();
        }
        return bytes;
    }

private:
    /// Two lines of 64 bytes, for processors fetch such pairs; what stripes share would travel between their threads.
    struct alignas(128) stripe {
        explicit stripe(const Sketch& prototype) : sketch(prototype) {}
        stripe(const stripe& other) : sketch(other.sketch) {}

        mutable detail::spin_lock lock;
        Sketch sketch;
    };

    [[nodiscard]] static std::size_t checked(std::size_t stripes) {
        if (stripes < 1 || stripes > max_stripes)
            throw std::invalid_argument("striped: stripes must be 1 .. 4096, got " + std::to_string(stripes));
        return stripes;
    }

    [[nodiscard]] Sketch merged(const std::vector<Sketch>& parts) const {
        std::vector<const Sketch*> used;
        for (const Sketch& part : parts)
            if (!part.empty()) used.push_back(&part);
        if (used.empty()) return prototype_;
        Sketch sum = *used.front();
        detail::merge_many(sum, std::span<const Sketch* const>(used).subspan(1));
        return sum;
    }

    Sketch prototype_;
    std::vector<stripe> stripes_;
};

} // namespace qsketch::inline v0
