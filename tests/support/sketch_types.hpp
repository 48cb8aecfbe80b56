#pragma once

// All sketches, and for each what a test that knows nothing of it needs to know. A new sketch gets a sketch_case and a
// place in sketch_types; sketch_laws, hostile_bytes, golden and the fuzzers then cover it.

#include <qsketch/qsketch.hpp>

#include "support/generators.hpp"

#include <array>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace support {

/// Thrown by what is shared with the fuzzers, which know no test framework.
class broken_invariant : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* what) {
    if (!holds) throw broken_invariant(what);
}

/// name(), make()    an empty sketch, small enough to be filled by a test
/// strangers()       empty sketches that make() is not compatible with
/// event(key)        what to add for a key
/// merge_associates  any tree of merges leads to one state; merge_adds_up: to that of a sketch that was told everything
/// batch_is_singles  a batch leads to the state that its members one by one lead to; true if not said
/// require_close     what else a and b, sketches of the same events, owe each other
/// require_sane      what every answer of any sketch must be
template <class Sketch>
struct sketch_case;

/// What any sketch of quantiles keeps: answers are finite and rise from min to max, and ranks with them.
template <qsketch::quantile_sketch Sketch>
void require_rising_quantiles(const Sketch& s) {
    if (s.empty()) {
        require(std::isnan(s.quantile(0.5)), "std::isnan(s.quantile(0.5))");
        require(std::isnan(s.cdf(0.5)), "std::isnan(s.cdf(0.5))");
        return;
    }
    double value_before = s.min();
    double rank_before = 0;
    for (const double q : std::array{0.0, 1e-9, 0.01, 0.25, 0.5, 0.75, 0.99, 1 - 1e-9, 1.0}) {
        const double value = s.quantile(q);
        const double rank = s.cdf(value);
        require(std::isfinite(value), "std::isfinite(value)");
        require(value_before <= value, "value_before <= value");
        require(value <= s.max(), "value <= s.max()");
        require(rank_before <= rank, "rank_before <= rank");
        require(rank <= 1, "rank <= 1");
        value_before = value;
        rank_before = rank;
    }
    require(s.quantile(0) == s.min(), "s.quantile(0) == s.min()");
    require(s.quantile(1) == s.max(), "s.quantile(1) == s.max()");
}

template <class Scale>
struct sketch_case<qsketch::tdigest<Scale>> {
    using sketch = qsketch::tdigest<Scale>;
    static constexpr bool merge_associates = false;
    static constexpr bool merge_adds_up = false;

    static std::string name() { return Scale::id == 0 ? "tdigest" : "tdigest_k1"; }
    static sketch make() { return sketch(50); }
    static std::vector<sketch> strangers() { return {}; }
    static double event(std::uint64_t key) { return static_cast<double>(key % 100'003) * 0.375 - 1000; }

    static void require_close(const sketch& a, const sketch& b) {
        require(a.count() == b.count(), "a.count() == b.count()");
        if (a.empty()) return;
        require(a.min() == b.min(), "a.min() == b.min()");
        require(a.max() == b.max(), "a.max() == b.max()");
        // About half the widest cell of serialize() apart, which takes 4 / 62 of the ranks.
        for (double q = 0.01; q < 1; q += 0.01) {
            const double x = a.quantile(q);
            require(b.cdf(std::nextafter(x, -1e300)) <= q + 0.035, "cdf below quantile");
            require(b.cdf(x) >= q - 0.035, "cdf at quantile");
        }
    }

    static void require_sane(const sketch& s) { require_rising_quantiles(s); }
};

template <class Registers, class Key>
struct sketch_case<qsketch::loglog<Registers, Key, qsketch::hash>> {
    using sketch = qsketch::loglog<Registers, Key, qsketch::hash>;
    static constexpr bool strings = std::same_as<Key, std::string_view>;
    static constexpr bool merge_associates = true;
    static constexpr bool merge_adds_up = true;

    static std::string name() { return std::string(Registers::name) + (strings ? "_strings" : ""); }
    static sketch make() { return sketch(9); }
    static std::vector<sketch> strangers() { return {sketch(8), sketch(10), sketch(9, qsketch::hash(1))}; }
    static auto event(std::uint64_t key) {
        if constexpr (strings)
            return std::to_string(key);
        else
            return key;
    }

    static void require_close(const sketch& a, const sketch& b) {
        require(a.estimate() == b.estimate(), "a.estimate() == b.estimate()");
    }

    static void require_sane(const sketch& s) {
        require(std::isfinite(s.estimate()), "std::isfinite(s.estimate())");
        require((s.estimate() == 0) == s.empty(), "(s.estimate() == 0) == s.empty()");
        require(0 <= s.lower_bound(2), "0 <= s.lower_bound(2)");
        require(s.lower_bound(2) <= s.estimate(), "s.lower_bound(2) <= s.estimate()");
        require(s.estimate() <= s.upper_bound(2), "s.estimate() <= s.upper_bound(2)");
    }
};

template <class Policy>
struct sketch_case<qsketch::count_min<std::uint64_t, Policy>> {
    using sketch = qsketch::count_min<std::uint64_t, Policy>;
    static constexpr bool is_plain = std::same_as<Policy, qsketch::plain>;
    static constexpr bool merge_associates = true;
    static constexpr bool merge_adds_up = is_plain;

    static std::string name() { return is_plain ? "count_min" : "count_min_conservative"; }
    static sketch make() { return sketch({.width = 61, .depth = 4}); }
    static std::vector<sketch> strangers() {
        return {sketch({.width = 62, .depth = 4}), sketch({.width = 61, .depth = 3}),
                sketch({.width = 61, .depth = 4}, qsketch::hash(1))};
    }
    static std::uint64_t event(std::uint64_t key) { return key; }

    static void require_close(const sketch& a, const sketch& b) {
        require(a.total() == b.total(), "a.total() == b.total()");
    }

    static void require_sane(const sketch& s) {
        for (std::uint64_t key = 0; key < 20; ++key)
            require(s.estimate(key) <= s.total(), "s.estimate(key) <= s.total()");
        require(s.empty() == (s.total() == 0), "s.empty() == (s.total() == 0)");
    }
};

template <>
struct sketch_case<qsketch::top_k<std::uint64_t>> {
    using sketch = qsketch::top_k<std::uint64_t>;
    static constexpr bool merge_associates = false;
    static constexpr bool merge_adds_up = false;

    static std::string name() { return "top_k"; }
    static sketch make() { return sketch(5); }
    static std::vector<sketch> strangers() { return {sketch(4), sketch(6)}; }
    static std::uint64_t event(std::uint64_t key) { return key; }

    static void require_close(const sketch& a, const sketch& b) {
        require(a.total() == b.total(), "a.total() == b.total()");
        for (const auto& item : a.items()) {
            require(a.lower(item.key) <= b.upper(item.key), "a.lower(item.key) <= b.upper(item.key)");
            require(b.lower(item.key) <= a.upper(item.key), "b.lower(item.key) <= a.upper(item.key)");
        }
    }

    static void require_sane(const sketch& s) {
        const auto items = s.items();
        require(items.size() <= s.n(), "items.size() <= s.n()");
        for (std::size_t i = 0; i < items.size(); ++i) {
            require(items[i].lower <= items[i].upper, "items[i].lower <= items[i].upper");
            require(items[i].upper - items[i].lower <= s.error(), "items[i].upper - items[i].lower <= s.error()");
            require(items[i].lower <= s.total(), "items[i].lower <= s.total()");
            if (i > 0) require(items[i].upper <= items[i - 1].upper, "items[i].upper <= items[i - 1].upper");
        }
        require(s.empty() == (s.total() == 0), "s.empty() == (s.total() == 0)");
    }
};

template <class Counter>
struct sketch_case<qsketch::log_histogram<Counter>> {
    using sketch = qsketch::log_histogram<Counter>;
    static constexpr bool merge_associates = true;
    static constexpr bool merge_adds_up = true;

    static std::string name() { return "log_histogram"; }
    /// So few buckets that events make it join some.
    static sketch make() { return sketch(0.05, 64); }
    static std::vector<sketch> strangers() { return {sketch(0.01, 64), sketch(0.05, 65), sketch(0.05)}; }
    static double event(std::uint64_t key) { return static_cast<double>(key % 100'003) * 0.375 - 1000.5; }

    static void require_close(const sketch& a, const sketch& b) {
        require(a == b, "a == b");
        for (double q = 0.01; q < 1; q += 0.01)
            require(a.empty() || a.quantile(q) == b.quantile(q), "a.quantile(q) == b.quantile(q)");
    }

    static void require_sane(const sketch& s) {
        require(s.relative_error() > 0, "s.relative_error() > 0");
        require(std::isfinite(s.sum_estimate()), "std::isfinite(s.sum_estimate())");
        require_rising_quantiles(s);
        std::uint64_t sum = 0;
        for (const auto& bucket : s.buckets()) {
            require(bucket.count > 0, "bucket.count > 0");
            sum += bucket.count;
        }
        require(sum == s.count(), "the counts of the buckets add up to s.count()");
    }
};

/// What both kinds of window share; events fall into one of five slots around the epoch, and none is ever too old.
template <class Window, class Inner>
struct window_case {
    using inner_case = sketch_case<Inner>;
    using duration = typename Window::duration;
    using time_point = typename Window::time_point;
    static constexpr bool merge_associates = inner_case::merge_associates;
    static constexpr bool merge_adds_up = inner_case::merge_adds_up;
    static constexpr duration slot = std::chrono::seconds(10);

    static auto event(std::uint64_t key) { return inner_case::event(key); }
    static time_point when(std::uint64_t key) { return time_point(slot * (static_cast<std::int64_t>(key % 5) - 2)); }

    static void require_close(const Window& a, const Window& b) {
        for (const auto now : {when(0), when(2), when(4)})
            for (std::int64_t length = 1; length < 9; length += 3) {
                const auto one = a.query(slot * length, now);
                const auto other = b.query(slot * length, now);
                require(one.from == other.from, "one.from == other.from");
                require(one.to == other.to, "one.to == other.to");
                inner_case::require_close(one.sketch, other.sketch);
            }
    }

    static void require_sane(const Window& w) {
        for (const auto now : {(time_point::min)(), when(0), when(4), (time_point::max)()})
            for (const auto length : {duration(1), slot * 3, (duration::max)()}) {
                const auto answer = w.query(length, now);
                require(answer.from <= answer.to, "answer.from <= answer.to");
                inner_case::require_sane(answer.sketch);
            }
        if (w.empty()) require(w.dropped_late() == 0, "w.dropped_late() == 0");
    }
};

template <class Inner, class Clock>
struct sketch_case<qsketch::sliding_window<Inner, Clock>> : window_case<qsketch::sliding_window<Inner, Clock>, Inner> {
    using sketch = qsketch::sliding_window<Inner, Clock>;
    using base = window_case<sketch, Inner>;
    using base::slot;

    static std::string name() { return "window_of_" + base::inner_case::name(); }
    static sketch make() { return sketch(slot, 8, base::inner_case::make()); }
    static std::vector<sketch> strangers() {
        std::vector<sketch> result{sketch(slot * 2, 8, base::inner_case::make()),
                                   sketch(slot, 9, base::inner_case::make())};
        for (const auto& inner : base::inner_case::strangers()) result.push_back(sketch(slot, 8, inner));
        return result;
    }
    static void require_sane(const sketch& s) {
        base::require_sane(s);
        for (const auto now : {base::when(0), base::when(4), (base::time_point::max)()})
            require(now <= s.query(slot, now).to, "now <= s.query(slot, now).to");
    }
};

template <class Inner, class Clock>
struct sketch_case<qsketch::exp_window<Inner, Clock>> : window_case<qsketch::exp_window<Inner, Clock>, Inner> {
    using sketch = qsketch::exp_window<Inner, Clock>;
    using base = window_case<sketch, Inner>;
    using base::slot;

    /// Old buckets are compacted, where sketches can be, as late events make them grow.
    static constexpr bool batch_is_singles = base::merge_associates;

    static std::string name() { return "exp_window_of_" + base::inner_case::name(); }
    static sketch make() { return sketch(sketch::exponential(slot, 5, slot * 35), base::inner_case::make()); }
    static std::vector<sketch> strangers() {
        std::vector<sketch> result{sketch(sketch::exponential(slot, 4, slot * 35), base::inner_case::make()),
                                   sketch(sketch::exponential(slot * 2, 5, slot * 35), base::inner_case::make()),
                                   sketch(sketch::exponential(slot, 5, slot * 34), base::inner_case::make())};
        for (const auto& inner : base::inner_case::strangers())
            result.push_back(sketch(sketch::exponential(slot, 5, slot * 35), inner));
        return result;
    }
};

template <class Sketch>
void add(Sketch& s, std::span<const std::uint64_t> events);

template <class Inner>
struct sketch_case<qsketch::replica_set<Inner>> {
    using sketch = qsketch::replica_set<Inner>;
    using inner_case = sketch_case<Inner>;
    static constexpr bool merge_associates = true;
    static constexpr bool merge_adds_up = false;

    static std::string name() { return "replicas_of_" + inner_case::name(); }
    static sketch make() { return sketch(inner_case::make()); }
    static std::vector<sketch> strangers() {
        std::vector<sketch> result;
        for (const auto& inner : inner_case::strangers()) {
            try {
                result.push_back(sketch(inner));
            } catch (const std::invalid_argument&) { // a hash of its own
            }
        }
        return result;
    }

    /// Each of ten replicas counts a tenth of the keys, and sends one new state for all of them.
    static void add(sketch& s, std::span<const std::uint64_t> events) {
        for (std::uint64_t place = 0; place < 10; ++place) {
            std::vector<std::uint64_t> own;
            for (const auto key : events)
                if (key % 10 == place) own.push_back(key);
            if (own.empty()) continue;
            const std::string node = "node " + std::to_string(place / 2);
            sketch blank = s;
            blank.clear();
            Inner state = blank.fold();
            std::uint64_t sequence = 0;
            for (const auto& r : s.replicas())
                if (r.node == node && r.incarnation == place % 2) {
                    state = r.state();
                    sequence = r.sequence;
                }
            support::add(state, own);
            s.put(node, place % 2, sequence + own.size(), state);
        }
    }

    static void require_close(const sketch& a, const sketch& b) {
        require(a.replicas().size() == b.replicas().size(), "a.replicas().size() == b.replicas().size()");
        require(a.nodes() == b.nodes(), "a.nodes() == b.nodes()");
    }

    static void require_sane(const sketch& s) {
        inner_case::require_sane(s.fold());
        require(s.empty() == s.nodes().empty(), "s.empty() == s.nodes().empty()");
    }
};

using sketch_types =
    std::tuple<qsketch::tdigest<>, qsketch::tdigest<qsketch::k1_scale>, qsketch::hyperloglog<std::uint64_t>,
               qsketch::hyperloglog<std::string_view>, qsketch::ultraloglog<std::uint64_t>,
               qsketch::count_min<std::uint64_t>, qsketch::count_min<std::uint64_t, qsketch::conservative>,
               qsketch::top_k<std::uint64_t>, qsketch::sliding_window<qsketch::tdigest<>>,
               qsketch::sliding_window<qsketch::hyperloglog<std::uint64_t>>, qsketch::log_histogram<>,
               qsketch::exp_window<qsketch::tdigest<>>, qsketch::exp_window<qsketch::hyperloglog<std::uint64_t>>,
               qsketch::replica_set<qsketch::tdigest<>>, qsketch::replica_set<qsketch::hyperloglog<std::uint64_t>>>;

/// The index of a sketch in a list of types.
template <class Sketch, class First, class... Others>
constexpr std::size_t place_of(std::tuple<First, Others...>*) {
    if constexpr (std::same_as<Sketch, First>)
        return 0;
    else
        return 1 + place_of<Sketch>(static_cast<std::tuple<Others...>*>(nullptr));
}

template <class Sketch>
constexpr bool is_window = false;
template <class Inner, class Clock>
constexpr bool is_window<qsketch::sliding_window<Inner, Clock>> = true;
template <class Inner, class Clock>
constexpr bool is_window<qsketch::exp_window<Inner, Clock>> = true;

/// Sketches whose answers are merges, which may find too much to count.
template <class Sketch>
constexpr bool merges_to_answer = is_window<Sketch>;
template <class Inner>
constexpr bool merges_to_answer<qsketch::replica_set<Inner>> = true;

using keys = std::span<const std::uint64_t>;

/// Whose case says how it is told of events; others have an add() of their own.
template <class Sketch>
concept told_by_case = requires(Sketch& s, keys events) {
    sketch_case<Sketch>::add(s, events);
};

template <class... Sketches>
auto without_told_by_case(std::tuple<Sketches...>*) -> decltype(std::tuple_cat(
    std::declval<std::conditional_t<told_by_case<Sketches>, std::tuple<>, std::tuple<Sketches>>>()...));
/// All sketches that are told of events by an add() or add_at() of their own.
using added_to_types = decltype(without_told_by_case(static_cast<sketch_types*>(nullptr)));

/// One by one.
template <class Sketch>
void add(Sketch& s, keys events) {
    using traits = sketch_case<Sketch>;
    if constexpr (told_by_case<Sketch>)
        traits::add(s, events);
    else
        for (const auto key : events)
            if constexpr (is_window<Sketch>)
                s.add_at(traits::when(key), traits::event(key));
            else
                s.add(traits::event(key));
}

/// All at once; in a window all of one slot at once.
template <class Sketch>
void add_batch(Sketch& s, keys events) {
    using traits = sketch_case<Sketch>;
    if constexpr (told_by_case<Sketch>) {
        traits::add(s, events);
    } else {
        using event = decltype(traits::event(0));
        using element = std::conditional_t<std::same_as<event, std::string>, std::string_view, event>;
        const std::uint64_t groups = is_window<Sketch> ? 5 : 1;
        for (std::uint64_t group = 0; group < groups; ++group) {
            std::vector<event> owned;
            for (const auto key : events)
                if (key % groups == group) owned.push_back(traits::event(key));
            const std::vector<element> batch(owned.begin(), owned.end());
            if constexpr (is_window<Sketch>)
                s.add_at(traits::when(group), std::span<const element>(batch));
            else
                s.add(std::span<const element>(batch));
        }
    }
}

/// A sketch of make() that was told `count` skewed keys out of `distinct`.
template <class Sketch>
Sketch filled(std::size_t count, std::uint64_t distinct, std::uint64_t seed) {
    Sketch s = sketch_case<Sketch>::make();
    add(s, skewed_keys(count, distinct, seed));
    return s;
}

} // namespace support
