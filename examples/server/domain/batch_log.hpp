#pragma once

#include "domain/sample_batch.hpp"
#include "domain/sample_records.hpp"

#include <qsketch/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// A batch that the store has in a row of its own, until its samples are put into the rows of their series.
struct logged_batch {
    std::string key; ///< Of its row.
    std::shared_ptr<const sample_batch> batch;
    std::vector<std::size_t> elsewhere{}; ///< Groups that are none of the log's, ascending.
    std::uint64_t number = 0;             ///< In the order in which they were applied, from 1.

    /// Calls visit(group) for those that are the log's.
    template <class Visitor>
    void each(Visitor visit) const {
        auto skip = elsewhere.begin();
        for (std::size_t i = 0; i < batch->size(); ++i)
            if (skip != elsewhere.end() && *skip == i)
                ++skip;
            else
                visit((*batch)[i]);
    }

    /// The samples of one series; empty if there are none.
    [[nodiscard]] sample_batch::group find(std::string_view name) const noexcept {
        const auto i = batch->find(name);
        if (!i || std::binary_search(elsewhere.begin(), elsewhere.end(), *i)) return {};
        return (*batch)[*i];
    }
};

/// The row of a batch in the store: of each series its name and its records, each behind a varint of its size.
class batch_row {
public:
    /// `records` writes them.
    template <class Records>
    void add(std::string_view name, const Records& records) {
        records_.clear();
        records(record_writer(records_));
        for (const std::string_view part : {name, std::string_view(records_)}) {
            put_varint(bytes, part.size());
            bytes.append(part);
        }
    }

    /// Adds the samples to the batch. Throws qsketch::format_error.
    static void read(std::string_view row, sample_batch& to) {
        const auto part = [&] {
            const std::uint64_t size = take_varint(row);
            if (size > row.size()) fail_records();
            const std::string_view out = row.substr(0, static_cast<std::size_t>(size));
            row.remove_prefix(out.size());
            return out;
        };
        while (!row.empty()) {
            const std::string_view name = part();
            read_records(
                part(),
                [&](std::int64_t second, std::span<const double> values) {
                    for (const double value : values) to.add(0, name, instant(std::chrono::seconds(second)), value);
                },
                [](auto&&...) { fail_records(); });
        }
    }

    std::string bytes;

private:
    std::string records_;
};

/// The batches that are in the log, oldest first. All members may be called from any thread.
class batch_log {
public:
    using list = std::vector<std::shared_ptr<const logged_batch>>;

    /// So many bytes of names weigh as much as a sample: little, unless there are few samples a name or names are long.
    static constexpr std::size_t name_bytes_of_a_sample = 128;

    void add(logged_batch&& b) {
        const std::lock_guard lock(mutex_);
        b.number = ++latest_;
        samples_ += b.batch->samples();
        name_bytes_ += b.batch->name_bytes();
        all_.push_back(std::make_shared<const logged_batch>(std::move(b)));
    }
    [[nodiscard]] list all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    /// Forgets those up to a number.
    void drop_up_to(std::uint64_t number) noexcept {
        const std::lock_guard lock(mutex_);
        auto end = all_.begin();
        for (; end != all_.end() && (*end)->number <= number; ++end) {
            samples_ -= (*end)->batch->samples();
            name_bytes_ -= (*end)->batch->name_bytes();
        }
        all_.erase(all_.begin(), end);
    }
    /// The number of the one that was added last, or 0.
    [[nodiscard]] std::uint64_t latest() const noexcept {
        const std::lock_guard lock(mutex_);
        return latest_;
    }
    /// Of all batches: their samples, also those of groups that are elsewhere, and what their names weigh.
    [[nodiscard]] std::size_t weight() const noexcept {
        const std::lock_guard lock(mutex_);
        return samples_ + name_bytes_ / name_bytes_of_a_sample;
    }
    /// About.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        const std::lock_guard lock(mutex_);
        return samples_ * sample_batch::sample_bytes + name_bytes_;
    }

private:
    mutable std::mutex mutex_;
    list all_;
    std::uint64_t latest_ = 0;
    std::size_t samples_ = 0;
    std::size_t name_bytes_ = 0;
};

} // namespace qsketch_server
