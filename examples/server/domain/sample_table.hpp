#pragma once

#include "domain/series_table.hpp"
#include "domain/value_sketch.hpp"
#include "storage/ordered_key.hpp"

#include <qsketch/replica_set.hpp>
#include <qsketch/tdigest.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// The samples of the keys of family B. Beside what was counted here, a key may have what other processes have counted
/// of a second: of each life of each of them the latest state.
class sample_table : public series_table<sample_sketch> {
public:
    using series_table::series_table;
    using replicas = qsketch::replica_set<qsketch::tdigest<>>;
    struct answer {
        qsketch::tdigest<> digest;
        instant from; ///< What is covered, as of window::query().
        instant to;
    };

    /// Some 130 buckets at most: exact to the second while there are no more seconds with samples than that, and for
    /// the last 8 seconds always; further back an end of a window is moved by at most a sixteenth of its age.
    [[nodiscard]] static std::vector<level> levels(std::chrono::seconds retention) {
        // Samples may be five minutes ahead of now; those must not push out what is still inside the retention. The
        // rest is for the time that passes between the check of a sample and its arrival.
        constexpr std::chrono::minutes slack{6};
        return window::exponential(std::chrono::seconds(1), 8, retention + slack);
    }

    /// States of other processes go when `oldest`, which may be called from any thread, has passed them.
    [[nodiscard]] static table_rules rules(const std::vector<level>& levels, std::function<instant()> oldest) {
        table_rules out = series_table::rules(levels);
        out.fold = [samples = std::move(out.fold)](std::optional<std::string_view> existing,
                                                   std::span<const std::string_view> operands) {
            if (!is_replicas(operands.front())) return samples(existing, operands);
            replicas all;
            if (existing) all = replicas_in(*existing);
            for (const std::string_view o : operands) all.merge(replicas_in(o));
            return text_of(all.serialize());
        };
        out.combine = [samples = std::move(out.combine)](std::span<const std::string_view> operands) {
            return is_replicas(operands.front()) ? std::optional<std::string>() : samples(operands);
        };
        out.expired = [oldest = std::move(oldest)](std::string_view key, std::string_view row) {
            return is_replicas(row) && key.substr(key.size() - 8) < which(second_of(oldest()));
        };
        return out;
    }

    /// How many lives of processes a second of a key may have states of: a query folds them all.
    static constexpr std::size_t max_states = 256;

    /// False where that many others are there. Of those that come at the same time a few more are let in.
    [[nodiscard]] bool has_room_for_state(std::string_view key, instant at, std::string_view node,
                                          std::uint64_t incarnation) const {
        std::size_t others = 0;
        bool known = false;
        visit_beside(key, which(second_of(at)), which(second_of(at) + 1), [&](std::string_view, std::string_view row) {
            const replicas all = replicas_in(row);
            for (const auto& r : all.replicas()) {
                const bool same = r.node == node && r.incarnation == incarnation;
                known = known || same;
                others += static_cast<std::size_t>(!same);
            }
        });
        return known || others < max_states;
    }

    /// All that a process has counted of this second in one of its lives, so far. See qsketch::replica_set.
    /// False, with nothing added, for a new key beyond max_series. Throws incompatible_error for a digest of another
    /// compression than sample_sketch has.
    [[nodiscard]] bool stage_state(changes& to, const std::string& key, instant at, std::string_view node,
                                   std::uint64_t incarnation, std::uint64_t sequence,
                                   const qsketch::tdigest<>& digest) {
        replicas one;
        one.put(node, incarnation, sequence, digest);
        return stage_beside(to, key, at, which(second_of(at)), text_of(one.serialize()));
    }

    /// How the samples of the last `length`, of whole seconds, are distributed; nothing for an unknown key.
    [[nodiscard]] std::optional<answer> query(std::string_view key, std::chrono::seconds length, instant now) {
        std::optional<answer> found;
        visit(
            key, length, now,
            [&](const auto& parts, std::span<const double> values) {
                found = answer{sample_sketch::digest_of(parts.sketches, values), parts.from, parts.to};
            },
            [&](const qsketch::tdigest<>& other) { found->digest.merge(other); });
        return found;
    }

    /// Which of them are frequent; nothing for an unknown key.
    [[nodiscard]] std::optional<value_frequencies> frequencies(std::string_view key, std::chrono::seconds length,
                                                               instant now) {
        std::optional<value_frequencies> found;
        visit(
            key, length, now,
            [&](const auto& parts, std::span<const double> values) {
                found = sample_sketch::frequencies_of(parts.sketches, values);
            },
            [&](const qsketch::tdigest<>& other) { found->add(other.centroids()); });
        return found;
    }

private:
    /// Calls use(parts, values), as view::query_parts() does, and then beside(digest) for what each second has of other
    /// processes.
    template <class Use, class Beside>
    void visit(std::string_view key, std::chrono::seconds length, instant now, Use use, Beside beside) {
        std::string from;
        std::string to;
        const auto look = [&](const auto& parts, std::span<const double> values) {
            use(parts, values);
            from = which(second_of(parts.from));
            to = which(second_of(parts.to));
        };
        // A second more: the one that began before now - length and ends after it.
        const bool known = read(key, [&](const view& w) {
            w.query_parts(length + std::chrono::seconds(1), std::chrono::floor<std::chrono::seconds>(now), look);
        });
        if (!known) return;
        visit_beside(key, from, to, [&](std::string_view, std::string_view row) { beside(replicas_in(row).fold()); });
    }

    /// Of a replica_set's image, and of no other row here.
    [[nodiscard]] static bool is_replicas(std::string_view row) noexcept {
        constexpr std::size_t kind_at = 4;
        return row.size() > kind_at && row.starts_with("QSK") &&
               row[kind_at] == static_cast<char>(qsketch::detail::image_kind::replica_set);
    }
    [[nodiscard]] static replicas replicas_in(std::string_view row) {
        return replicas::deserialize(std::as_bytes(std::span(row)));
    }
    [[nodiscard]] static std::string text_of(const std::vector<std::byte>& image) {
        return {reinterpret_cast<const char*>(image.data()), image.size()};
    }
    /// Seconds in an order that bytes have too.
    [[nodiscard]] static std::string which(std::int64_t second) { return ordered(static_cast<std::uint64_t>(second)); }
};

} // namespace qsketch_server
