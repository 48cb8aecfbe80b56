#pragma once

#include "domain/store.hpp"
#include "storage/ordered_key.hpp"
#include "storage/storage.hpp"
#include "storage/unreadable_row.hpp"

#include <qsketch/detail/image.hpp>
#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace qsketch_server {

/// What is counted in a slice: two exact counts and a HyperLogLog of the users. As a row, and as an operand that stands
/// for many visits: u64 clicks, u64 impressions, byte 1, image of the sketch. As an operand for a few: byte 0 in place
/// of 1, and their pseudonyms, u64 each. All little-endian.
class slice_counts {
public:
    /// 2^16 registers: every user counted up to some 12 000 of them, a standard error of 0.41 % beyond.
    static constexpr unsigned precision = 16;
    static constexpr double sigmas_of_95_percent = 1.96;

    /// The operand for these visits, all of one slice.
    [[nodiscard]] static std::string operand_for(std::span<const visit> visits) {
        slice_counts summed;
        for (const visit& v : visits) ++(v.click ? summed.clicks_ : summed.impressions_);
        if (visits.size() <= most_pseudonyms) {
            std::string out = summed.head(pseudonyms);
            out.reserve(out.size() + visits.size() * sizeof(std::uint64_t));
            for (const visit& v : visits) put(out, v.user);
            return out;
        }
        for (const visit& v : visits) summed.users_.add_hash(v.user);
        return summed.row();
    }

    /// Adds what a row or an operand says. Throws qsketch::format_error or incompatible_error; nothing changes then.
    void add(std::string_view bytes) {
        constexpr std::size_t head_size = 2 * sizeof(std::uint64_t) + 1;
        if (bytes.size() < head_size) throw qsketch::format_error("slice: is cut short");
        const std::string_view rest = bytes.substr(head_size);
        if (bytes[head_size - 1] == sketch) {
            users_.merge(qsketch::hyperloglog<>::deserialize(std::as_bytes(std::span(rest))));
        } else {
            if (bytes[head_size - 1] != pseudonyms || rest.size() % sizeof(std::uint64_t) != 0)
                throw qsketch::format_error("slice: is neither a sketch nor pseudonyms");
            for (std::size_t i = 0; i < rest.size(); i += sizeof(std::uint64_t)) users_.add_hash(number_at(rest, i));
        }
        clicks_ += number_at(bytes, 0);
        impressions_ += number_at(bytes, sizeof(std::uint64_t));
    }

    [[nodiscard]] std::string row() const {
        const auto image = users_.serialize();
        return head(sketch).append(reinterpret_cast<const char*>(image.data()), image.size());
    }

    [[nodiscard]] slice_figures figures(std::int64_t slice) const {
        slice_figures out;
        out.slice = slice;
        out.clicks = clicks_;
        out.impressions = impressions_;
        out.unique_users = users_.estimate();
        out.unique_users_lower = users_.lower_bound(sigmas_of_95_percent);
        out.unique_users_upper = users_.upper_bound(sigmas_of_95_percent);
        return out;
    }

private:
    static constexpr char pseudonyms = 0;
    static constexpr char sketch = 1;
    /// 8 KB; a sketch of more is not much larger, and never larger than 64 KB.
    static constexpr std::size_t most_pseudonyms = 1024;

    static void put(std::string& out, std::uint64_t number) {
        char bytes[sizeof number];
        qsketch::detail::store_little_endian(bytes, number);
        out.append(bytes, sizeof bytes);
    }
    [[nodiscard]] static std::uint64_t number_at(std::string_view bytes, std::size_t at) noexcept {
        return qsketch::detail::load_little_endian<std::uint64_t>(bytes.data() + at);
    }
    [[nodiscard]] std::string head(char kind) const {
        std::string out;
        put(out, clicks_);
        put(out, impressions_);
        return out += kind;
    }

    std::uint64_t clicks_ = 0;
    std::uint64_t impressions_ = 0;
    qsketch::hyperloglog<> users_{precision};
};

/// Counts by slice, kept in a table. Slices that visits come in for are held in memory as well, so that they are
/// counted without reading, and answered without folding.
///
/// A slice is loaded before the first commit that changes it and stays until that commit is applied: so a row that is
/// read never holds a visit that is still to be applied, and none is missed. Those in memory beyond max_slices that no
/// commit is at work on are dropped, the ones longest unused first.
class audience {
public:
    static constexpr std::size_t max_slices = 1024;

    audience(const storage& rows, qsketch::sip_hash key) : rows_(rows), key_(key) {}

    /// Rows go when `oldest_slice`, which may be called from any thread, has passed them.
    [[nodiscard]] static table_rules rules(std::function<std::int64_t()> oldest_slice) {
        table_rules out;
        out.fold = [](std::optional<std::string_view> existing, std::span<const std::string_view> operands) {
            slice_counts counts;
            if (existing) counts.add(*existing);
            for (const std::string_view operand : operands) counts.add(operand);
            return counts.row();
        };
        out.combine = [fold = out.fold](std::span<const std::string_view> operands) {
            return std::optional(fold({}, operands)); // a row is an operand too
        };
        out.expired = [oldest_slice = std::move(oldest_slice)](std::string_view key, std::string_view) {
            return slice_of(key) < oldest_slice();
        };
        return out;
    }

    /// What makes of a user the 64 bits that stand for it in this slice, and say nothing about who it is or about other
    /// slices.
    [[nodiscard]] qsketch::sip_hash pseudonyms(std::int64_t slice) const noexcept {
        // A key of its own for every slice: what is stored of one hour cannot be looked up in another.
        const auto id = static_cast<std::uint64_t>(slice);
        return {key_(2 * id), key_(2 * id + 1)};
    }
    [[nodiscard]] std::uint64_t pseudonym(std::int64_t slice, std::string_view user) const noexcept {
        return pseudonyms(slice)(user);
    }

    /// Counts the visits once `into` is committed; may reorder them. Throws storage_error.
    void stage(std::span<visit> visits, changes& into) {
        const auto by_slice = [](const visit& a, const visit& b) { return a.slice < b.slice; };
        if (!std::is_sorted(visits.begin(), visits.end(), by_slice)) std::sort(visits.begin(), visits.end(), by_slice);
        while (!visits.empty()) {
            const std::int64_t slice = visits.front().slice;
            const auto end =
                std::find_if(visits.begin(), visits.end(), [&](const visit& v) { return v.slice != slice; });
            const auto size = static_cast<std::size_t>(end - visits.begin());
            std::string operand = slice_counts::operand_for(visits.first(size));
            into.merge(table::audience, key_of(slice), operand);
            into.then([held = load(slice), operand = std::move(operand)] {
                const std::lock_guard lock(held->mutex);
                held->counts.add(operand);
            });
            visits = visits.subspan(size);
        }
    }

    /// All zero for a slice in which nothing happened. Throws storage_error.
    [[nodiscard]] slice_figures figures(std::int64_t slice) const {
        if (slice < oldest_) return slice_counts().figures(slice);
        if (const auto held = find(slice)) return held->figures(slice);
        return stored(slice).figures(slice);
    }

    /// Every slice in which something happened, oldest first. Throws storage_error.
    [[nodiscard]] std::vector<slice_figures> all() const {
        std::vector<slice_figures> out;
        rows_.scan(table::audience, key_of(oldest_), {}, [&](std::string_view key, std::string_view row) {
            const std::int64_t slice = slice_of(key);
            const auto held = find(slice);
            out.push_back(held ? held->figures(slice) : counts_of(key, row).figures(slice));
            return true;
        });
        return out;
    }

    /// Forgets the slices before this one.
    void expire_before(std::int64_t slice) {
        oldest_ = slice;
        const std::lock_guard lock(mutex_);
        std::erase_if(held_, [&](const auto& entry) { return entry.first < slice && entry.second.use_count() == 1; });
        drop_unused();
    }

private:
    struct state {
        std::mutex mutex;
        std::atomic<bool> loaded = false;
        slice_counts counts;
        std::uint64_t used = 0; // when, by a clock that counts the uses; under the mutex of the map

        [[nodiscard]] slice_figures figures(std::int64_t slice) {
            const std::lock_guard lock(mutex);
            return counts.figures(slice);
        }
    };

    /// Eight bytes that are in the order of the slices.
    [[nodiscard]] static std::string key_of(std::int64_t slice) {
        return ordered(static_cast<std::uint64_t>(slice) ^ sign);
    }
    [[nodiscard]] static std::int64_t slice_of(std::string_view key) {
        return static_cast<std::int64_t>(ordered_at<std::uint64_t>(key, 0) ^ sign);
    }
    static constexpr std::uint64_t sign = std::uint64_t{1} << 63;

    [[nodiscard]] static slice_counts counts_of(std::string_view key, std::string_view row) {
        slice_counts out;
        read_row(table::audience, key, [&] { out.add(row); });
        return out;
    }
    [[nodiscard]] slice_counts stored(std::int64_t slice) const {
        const std::string key = key_of(slice);
        const auto row = rows_.get(table::audience, key);
        return row ? counts_of(key, *row) : slice_counts();
    }

    /// Null if it is not in memory.
    [[nodiscard]] std::shared_ptr<state> find(std::int64_t slice) const {
        const std::lock_guard lock(mutex_);
        const auto at = held_.find(slice);
        return at == held_.end() || !at->second->loaded ? nullptr : at->second;
    }

    [[nodiscard]] std::shared_ptr<state> load(std::int64_t slice) {
        const auto held = find_or_make(slice);
        const std::lock_guard lock(held->mutex); // who else wants it waits for one to have read it
        if (held->loaded) return held;
        held->counts = stored(slice);
        held->loaded = true;
        return held;
    }

    [[nodiscard]] std::shared_ptr<state> find_or_make(std::int64_t slice) {
        const std::lock_guard lock(mutex_);
        auto& place = held_[slice];
        if (!place) place = std::make_shared<state>();
        place->used = ++uses_;
        const auto out = place;
        if (held_.size() > next_drop_) drop_unused();
        return out;
    }

    /// Not before there are twice as many as are left now: a batch may be at work on any number.
    void drop_unused() {
        if (held_.size() > max_slices) {
            std::vector<std::uint64_t> used;
            for (const auto& entry : held_) used.push_back(entry.second->used);
            const auto oldest_kept = used.end() - static_cast<std::ptrdiff_t>(max_slices);
            std::nth_element(used.begin(), oldest_kept, used.end());
            std::erase_if(held_, [&](const auto& entry) {
                return entry.second->used < *oldest_kept && entry.second.use_count() == 1;
            });
        }
        next_drop_ = 2 * (std::max)(held_.size(), max_slices);
    }

    const storage& rows_;
    qsketch::sip_hash key_;
    std::atomic<std::int64_t> oldest_ = (std::numeric_limits<std::int64_t>::min)();
    mutable std::mutex mutex_;
    std::map<std::int64_t, std::shared_ptr<state>> held_;
    std::uint64_t uses_ = 0;
    std::size_t next_drop_ = 2 * max_slices;
};

} // namespace qsketch_server
