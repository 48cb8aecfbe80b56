#pragma once

#include <qsketch/concepts.hpp>
#include <qsketch/detail/finite.hpp>
#include <qsketch/striped.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace qsketch::inline v0::detail {

/// What a sketch is shown: doubles or keys, and nothing that comes with a time.
template <class Sketch>
struct shown {};
template <quantile_sketch Sketch>
struct shown<Sketch> {
    using type = double;
};
template <class Sketch>
requires requires { typename Sketch::key_type; }
struct shown<Sketch> {
    using type = typename Sketch::key_type;
};

} // namespace qsketch::inline v0::detail

namespace qsketch::inline v0 {

/// The fast way into a striped sketch, for one thread at a time: an add writes to a buffer of the writer's own, without
/// locks or atomics, and a full buffer goes to a stripe at once.
///
/// The first 4 * capacity() values are passed on one by one, so that what is small is seen at once. After that a
/// snapshot of the striped sketch misses what pending() says, at most capacity() values and less than a fifth of what
/// this writer was told; flush() leaves nothing pending.
///
/// The striped sketch must outlive its writers, which may be destroyed in any order and by any thread. clear() and
/// drain() of the striped sketch leave alone what is pending.
/// Test: writer.test.cpp.
template <mergeable_sketch Sketch>
requires requires(Sketch& sketch, std::span<const typename detail::shown<Sketch>::type> values) { sketch.add(values); }
class writer {
    static constexpr bool strings = std::same_as<typename detail::shown<Sketch>::type, std::string_view>;

public:
    using value_type = typename detail::shown<Sketch>::type;

    static constexpr std::size_t max_capacity = 65536;

    /// `capacity`, 1 .. 65536: the values that may wait. They take a double or an integer each; strings are copied.
    /// Throws std::invalid_argument for another capacity.
    explicit writer(striped<Sketch>& to, std::size_t capacity = 512)
        : to_(&to), buffer_(checked(capacity)), next_(buffer_.data()), end_(next_), early_(4 * capacity) {}

    /// Takes over what is pending; the other writer may then only be destroyed.
    writer(writer&& other) noexcept
        : to_(other.to_), buffer_(std::move(other.buffer_)), next_(std::exchange(other.next_, nullptr)),
          end_(other.end_), early_(other.early_) {}
    writer& operator=(writer&&) = delete;

    /// Flushes. What the sketch cannot take, for want of memory or beyond its limit on the count, is lost without a
    /// word: who has to know calls flush() before.
    ~writer() {
        try {
            flush();
        } catch (...) {
        }
    }

    /// Throws what Sketch::add throws for that value; and what flush() throws, where the buffer is full. Either way
    /// `value` is not added then, and what is pending stays pending.
    void add(const value_type& value) {
        if (next_ == end_ || !waits(value)) [[unlikely]]
            return add_now(value);
        *next_++ = value;
    }

    /// All or nothing, where Sketch::add is. What does not fit into the buffer goes to a stripe at once.
    /// Throws as add() of a single value.
    void add(std::span<const value_type> values) {
        if (values.size() > static_cast<std::size_t>(end_ - next_) ||
            !std::all_of(values.begin(), values.end(), waits)) {
            flush();
            to_->add(values);
            count_early(values.size());
        } else {
            next_ = std::copy(values.begin(), values.end(), next_);
        }
    }

    /// Passes on what is pending: snapshots taken after this hold all that this writer was told.
    /// Throws std::bad_alloc, or std::invalid_argument where the sketch's limit on the count would be exceeded; all
    /// stays pending then.
    void flush() {
        if (pending() == 0) return;
        if constexpr (strings) {
            const std::vector<std::string_view> views(buffer_.data(), next_);
            to_->add(std::span<const std::string_view>(views));
        } else {
            to_->add(std::span<const value_type>(buffer_.data(), next_));
        }
        next_ = buffer_.data();
    }

    /// The values that were added here and are not in the striped sketch yet; at most capacity().
    [[nodiscard]] std::size_t pending() const noexcept { return static_cast<std::size_t>(next_ - buffer_.data()); }
    [[nodiscard]] std::size_t capacity() const noexcept { return buffer_.size(); }

private:
    [[nodiscard]] static std::size_t checked(std::size_t capacity) {
        if (capacity < 1 || capacity > max_capacity)
            throw std::invalid_argument("writer: capacity must be 1 .. 65536, got " + std::to_string(capacity));
        return capacity;
    }

    /// Not those that a sketch may refuse, which has to be told to the caller, nor what would make the buffer large.
    [[nodiscard]] static bool waits(const value_type& value) noexcept {
        if constexpr (std::same_as<value_type, double>)
            return detail::finite(value);
        else if constexpr (strings)
            return value.size() <= 256;
        else
            return true;
    }

    void add_now(const value_type& value) {
        flush();
        if (next_ != end_ && waits(value)) {
            *next_++ = value;
        } else {
            to_->add(value);
            count_early(1);
        }
    }

    void count_early(std::size_t added) noexcept {
        early_ -= (std::min)(early_, added);
        if (early_ == 0) end_ = buffer_.data() + buffer_.size();
    }

    using element = std::conditional_t<strings, std::string, value_type>; // strings keep their memory for later ones

    striped<Sketch>* to_;
    std::vector<element> buffer_;
    element* next_;     // free place; by pointers, which no stored integer can alias
    element* end_;      // how far the buffer may fill: not at all while early
    std::size_t early_; // values still to be passed on one by one
};

} // namespace qsketch::inline v0
