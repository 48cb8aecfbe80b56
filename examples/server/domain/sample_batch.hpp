#pragma once

#include "domain/instant.hpp"

#include <qsketch/hash.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace qsketch_server {

/// Seconds since 1970: what a sample's time is kept to.
[[nodiscard]] inline std::int64_t second_of(instant t) noexcept {
    return std::chrono::floor<std::chrono::seconds>(t).time_since_epoch().count();
}

/// Calls place(i, to) for all i < n, where `to` is the place of i in the order of time; where the second is the same,
/// the order stays.
template <class SecondOf, class Place>
void place_by_time(std::size_t n, SecondOf second_of, Place place) {
    if (n == 0) return;
    std::int64_t first = second_of(0);
    std::int64_t last = first;
    for (std::size_t i = 1; i < n; ++i) {
        first = (std::min)(first, second_of(i));
        last = (std::max)(last, second_of(i));
    }
    const auto length = static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(first);
    if (length > n) {
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return second_of(a) < second_of(b); });
        for (std::size_t to = 0; to < n; ++to) place(order[to], to);
        return;
    }
    const auto slot = [&](std::size_t i) { return static_cast<std::size_t>(second_of(i) - first); };
    std::vector<std::size_t> next(static_cast<std::size_t>(length) + 2);
    for (std::size_t i = 0; i < n; ++i) ++next[slot(i) + 1];
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (std::size_t i = 0; i < n; ++i) place(i, next[slot(i)]++);
}

/// Samples of many series as they come in, and then series by series. Every name is kept once, and nothing is
/// allocated for a sample alone.
class sample_batch {
public:
    /// The samples of one series by time; those of one second in the order in which they came.
    struct group {
        std::string_view name;
        std::span<const std::int64_t> seconds;
        std::span<const double> values;
        std::span<const std::uint32_t> lines; ///< Where in the body each of them was.
    };

    /// A hash with a secret seed keeps strangers from choosing names that collide.
    explicit sample_batch(qsketch::hash hash = {}) : hash_(hash) {}

    void add(std::uint64_t line, std::string_view name, instant at, double value) {
        records_.push_back({number_of(name), static_cast<std::uint32_t>(line), second_of(at), value});
    }

    /// To be called once, after the last add().
    void group_by_series() {
        sort_by_time();
        begins_.assign(names_.size() + 1, 0);
        for (const record& r : records_) ++begins_[r.series + 1];
        std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
        std::vector<std::uint32_t> next(begins_.begin(), begins_.end() - 1);
        seconds_.resize(records_.size());
        values_.resize(records_.size());
        lines_.resize(records_.size());
        for (const record& r : records_) {
            const std::uint32_t to = next[r.series]++;
            seconds_[to] = r.second;
            values_[to] = r.value;
            lines_[to] = r.line;
        }
        records_ = std::vector<record>(); // not {}, which would keep the capacity
    }

    /// How many series there are.
    [[nodiscard]] std::size_t size() const noexcept { return names_.size(); }
    /// What a sample takes after group_by_series(), about.
    static constexpr std::size_t sample_bytes = 20;
    /// What the names take, about.
    [[nodiscard]] std::size_t name_bytes() const noexcept {
        constexpr std::size_t beside = 64; // of a view, its hash and its places
        return name_bytes_ + names_.size() * beside;
    }
    /// After group_by_series(): of all series.
    [[nodiscard]] std::size_t samples() const noexcept { return values_.size(); }
    /// In the order in which they first came.
    [[nodiscard]] std::string_view name(std::size_t series) const noexcept { return names_[series]; }

    /// After group_by_series().
    [[nodiscard]] group operator[](std::size_t series) const noexcept {
        const std::size_t begin = begins_[series];
        const std::size_t n = begins_[series + 1] - begin;
        return {names_[series], std::span(seconds_).subspan(begin, n), std::span(values_).subspan(begin, n),
                std::span(lines_).subspan(begin, n)};
    }

    /// The number of the series of that name, if there is one.
    [[nodiscard]] std::optional<std::size_t> find(std::string_view name) const noexcept {
        if (slots_.empty()) return {};
        const slot found = slots_[slot_of(name, hash_(name))];
        if (found.series == 0) return {};
        return found.series - 1;
    }

private:
    struct record {
        std::uint32_t series;
        std::uint32_t line;
        std::int64_t second;
        double value;
    };

    void sort_by_time() {
        const auto second = [&](std::size_t i) { return records_[i].second; };
        if (std::is_sorted(records_.begin(), records_.end(),
                           [](const record& a, const record& b) { return a.second < b.second; }))
            return;
        std::vector<record> sorted(records_.size());
        place_by_time(records_.size(), second, [&](std::size_t i, std::size_t place) { sorted[place] = records_[i]; });
        records_ = std::move(sorted);
    }

    struct slot {
        std::uint32_t series = 0; // its number, from 1
        std::uint32_t tag = 0;    // of its hash, so that few names have to be looked at
    };
    [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) noexcept {
        return static_cast<std::uint32_t>(hash >> 32);
    }

    /// Where the number of that name is or, where it is 0, would be. There are free slots.
    [[nodiscard]] std::size_t slot_of(std::string_view name, std::uint64_t hash) const noexcept {
        std::size_t at = hash & (slots_.size() - 1);
        while (slots_[at].series != 0 && !(slots_[at].tag == tag_of(hash) && names_[slots_[at].series - 1] == name))
            at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    /// The series of that name, perhaps a new one.
    [[nodiscard]] std::uint32_t number_of(std::string_view name) {
        if (names_.size() * 2 >= slots_.size()) grow();
        const std::uint64_t hash = hash_(name);
        slot& found = slots_[slot_of(name, hash)];
        if (found.series == 0) {
            names_.push_back(kept(name));
            hashes_.push_back(hash);
            found = {static_cast<std::uint32_t>(names_.size()), tag_of(hash)};
        }
        return found.series - 1;
    }

    [[nodiscard]] std::string_view kept(std::string_view name) {
        auto* const bytes = static_cast<char*>(name_memory_->allocate(name.size(), 1));
        name_bytes_ += name.size();
        return {bytes, name.copy(bytes, name.size())};
    }

    void grow() {
        slots_.assign((std::max)(slots_.size() * 2, std::size_t{64}), {});
        for (std::size_t i = 0; i < hashes_.size(); ++i) {
            std::size_t at = hashes_[i] & (slots_.size() - 1);
            while (slots_[at].series != 0) at = (at + 1) & (slots_.size() - 1);
            slots_[at] = {static_cast<std::uint32_t>(i + 1), tag_of(hashes_[i])};
        }
    }

    qsketch::hash hash_;
    std::unique_ptr<std::pmr::monotonic_buffer_resource> name_memory_ =
        std::make_unique<std::pmr::monotonic_buffer_resource>();
    std::size_t name_bytes_ = 0;
    std::vector<std::string_view> names_;
    std::vector<std::uint64_t> hashes_;
    std::vector<slot> slots_; // open addressing
    std::vector<record> records_;
    std::vector<std::uint32_t> begins_;
    std::vector<std::int64_t> seconds_;
    std::vector<double> values_;
    std::vector<std::uint32_t> lines_;
};

} // namespace qsketch_server
