#pragma once

#include "domain/store.hpp"

#include <qsketch/sliding_window.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

namespace qsketch_server {

/// Keeps the series in memory: one window of one-second slots a key.
class memory_series final : public series_store {
public:
    memory_series(std::chrono::seconds retention, std::size_t max_series)
        : slots_(static_cast<std::size_t>(retention.count()) + slack), max_series_(max_series) {}

    bool add(keyed_samples& batch) override {
        const auto found = find_or_create(batch.key);
        if (!found) return false;
        auto& samples = batch.samples;
        const auto by_time = [](const sample& a, const sample& b) { return a.at < b.at; };
        if (!std::is_sorted(samples.begin(), samples.end(), by_time))
            std::stable_sort(samples.begin(), samples.end(), by_time);
        std::vector<double> values;
        const std::lock_guard lock(found->mutex);
        for (std::size_t i = 0; i < samples.size();) {
            const auto slot = std::chrono::floor<std::chrono::seconds>(samples[i].at);
            values.clear();
            for (; i < samples.size() && samples[i].at < slot + std::chrono::seconds(1); ++i)
                values.push_back(samples[i].value);
            found->window.add_at(slot, std::span<const double>(values));
        }
        if (!samples.empty()) found->newest = (std::max)(found->newest, samples.back().at);
        return true;
    }

    std::optional<window_view> window(std::string_view key, std::chrono::seconds length, instant now) const override {
        const auto found = find(key);
        if (!found) return {};
        // One slot more: the one that began before now - length and ends after it.
        const std::lock_guard lock(found->mutex);
        auto answer = found->window.query(length + std::chrono::seconds(1), now);
        return window_view{std::move(answer.sketch), std::chrono::floor<std::chrono::milliseconds>(answer.from),
                           std::chrono::floor<std::chrono::milliseconds>(answer.to)};
    }

    std::vector<std::string> keys(std::string_view prefix, std::string_view after, std::size_t limit) const override {
        std::vector<std::string> found;
        for (const shard& s : shards_) {
            const std::shared_lock lock(s.mutex);
            for (const auto& [key, entry] : s.map)
                if (key.starts_with(prefix) && key > after) found.push_back(key);
        }
        const auto end = found.begin() + static_cast<std::ptrdiff_t>((std::min)(limit, found.size()));
        std::partial_sort(found.begin(), end, found.end());
        found.erase(end, found.end());
        return found;
    }

    bool erase(std::string_view key) override {
        shard& s = shard_of(key);
        const std::lock_guard lock(s.mutex);
        const auto at = s.map.find(key);
        if (at == s.map.end()) return false;
        s.map.erase(at);
        --size_;
        return true;
    }

    void expire_before(instant oldest) override {
        for (shard& s : shards_) {
            const std::lock_guard lock(s.mutex);
            size_ -= std::erase_if(s.map, [&](const auto& item) {
                const std::lock_guard series_lock(item.second->mutex);
                const instant newest = item.second->newest;
                return newest != instant::min() && newest < oldest; // one just made is about to get its samples
            });
        }
    }

    std::size_t size() const noexcept override { return size_; }

private:
    // Samples may be five minutes ahead of now; those must not push out what is still inside the retention. The rest
    // is for the time that passes between the check of a sample and its arrival here.
    static constexpr std::size_t slack = 300 + 60;

    struct clock {
        using duration = std::chrono::milliseconds;
        using rep = duration::rep;
        using period = duration::period;
        using time_point = instant;
        static constexpr bool is_steady = false;
        static time_point now() { return std::chrono::floor<duration>(std::chrono::system_clock::now()); }
    };

    struct series {
        explicit series(std::size_t slots) : window(std::chrono::seconds(1), slots) {}
        std::mutex mutex;
        qsketch::sliding_window<sample_sketch, clock> window;
        instant newest = instant::min(); // until the first sample is in
    };

    struct text_hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
    };

    struct shard {
        mutable std::shared_mutex mutex;
        std::unordered_map<std::string, std::shared_ptr<series>, text_hash, std::equal_to<>> map;
    };

    [[nodiscard]] const shard& shard_of(std::string_view key) const noexcept {
        return shards_[text_hash{}(key) % shards_.size()];
    }
    [[nodiscard]] shard& shard_of(std::string_view key) noexcept { return shards_[text_hash{}(key) % shards_.size()]; }

    [[nodiscard]] std::shared_ptr<series> find(std::string_view key) const {
        const shard& s = shard_of(key);
        const std::shared_lock lock(s.mutex);
        const auto at = s.map.find(key);
        return at == s.map.end() ? nullptr : at->second;
    }

    /// Null if the key is new and there is no room for it.
    [[nodiscard]] std::shared_ptr<series> find_or_create(const std::string& key) {
        if (auto known = find(key)) return known;
        shard& s = shard_of(key);
        const std::lock_guard lock(s.mutex);
        if (const auto at = s.map.find(key); at != s.map.end()) return at->second;
        if (size_.fetch_add(1) >= max_series_) {
            --size_;
            return nullptr;
        }
        return s.map.emplace(key, std::make_shared<series>(slots_)).first->second;
    }

    std::size_t slots_;
    std::size_t max_series_;
    std::atomic<std::size_t> size_ = 0;
    std::array<shard, 64> shards_;
};

} // namespace qsketch_server
