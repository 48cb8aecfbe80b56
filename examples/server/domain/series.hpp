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
#include <span>
#include <unordered_map>
#include <utility>

namespace qsketch_server {

/// Keeps the series in memory: one window of one-second slots a key.
class memory_series final : public series_store {
public:
    /// `on_found` is called whenever add() has found the series of a key and not yet locked it, so that a test can do
    /// just then what another thread might.
    memory_series(std::chrono::seconds retention, std::size_t max_series, std::function<void()> on_found = {})
        : slots_(static_cast<std::size_t>(retention.count()) + slack), max_series_(max_series),
          on_found_(std::move(on_found)) {}

    bool add(keyed_samples& batch) override {
        auto& samples = batch.samples;
        const auto by_time = [](const sample& a, const sample& b) { return a.at < b.at; };
        if (!std::is_sorted(samples.begin(), samples.end(), by_time))
            std::stable_sort(samples.begin(), samples.end(), by_time);
        while (const auto found = find_or_create(batch.key)) {
            if (on_found_) on_found_();
            const auto lock = found->writing();
            if (found->gone) continue;
            add_sorted(*found, samples);
            return true;
        }
        return false;
    }

    std::optional<window_view> window(std::string_view key, std::chrono::seconds length, instant now) const override {
        const auto found = find(key);
        if (!found) return {};
        // One slot more: the one that began before now - length and ends after it.
        const auto lock = found->reading();
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
        std::shared_ptr<series> erased;
        {
            const std::lock_guard lock(s.mutex);
            const auto at = s.map.find(key);
            if (at == s.map.end()) return false;
            erased = std::move(at->second);
            s.map.erase(at);
            --size_;
        }
        // Not under the lock of the shard: a long query of this key need not delay other keys. What is still added in
        // between counts as added before.
        const auto lock = erased->writing();
        erased->gone = true;
        return true;
    }

    void expire_before(instant oldest) override {
        for (shard& s : shards_) {
            const std::lock_guard lock(s.mutex);
            size_ -= std::erase_if(s.map, [&](const auto& item) {
                series& one = *item.second;
                if (!one.idle_since(oldest)) return false; // without waiting for its lock
                const auto series_lock = one.writing();
                one.gone = one.idle_since(oldest);
                return one.gone;
            });
        }
    }

    std::size_t size() const noexcept override { return size_; }

private:
    // Samples may be five minutes ahead of now; those must not push out what is still inside the retention. The rest
    // is for the time that passes between the check of a sample and its arrival here.
    static constexpr std::size_t slack = 300 + 60;

    struct series {
        explicit series(std::size_t slots) : window(std::chrono::seconds(1), slots) {}

        // Who waits for the lock holds the turnstile: readers that overlap could keep writers out for good otherwise.
        [[nodiscard]] std::unique_lock<std::shared_mutex> writing() {
            const std::lock_guard turn(turnstile);
            return std::unique_lock(mutex);
        }
        [[nodiscard]] std::shared_lock<std::shared_mutex> reading() {
            const std::lock_guard turn(turnstile);
            return std::shared_lock(mutex);
        }
        [[nodiscard]] bool idle_since(instant oldest) const noexcept {
            const instant latest = newest;
            return latest != instant::min() && latest < oldest; // one just made is about to get its samples
        }

        std::mutex turnstile;
        std::shared_mutex mutex;
        qsketch::sliding_window<sample_sketch, window_clock> window;
        bool gone = false;                            // from the map: what would be added now, nobody could find
        std::atomic<instant> newest = instant::min(); // until the first sample is in; written under the lock
    };

    static void add_sorted(series& to, std::span<const sample> samples) {
        std::vector<double> values;
        for (std::size_t i = 0; i < samples.size();) {
            const auto slot = std::chrono::floor<std::chrono::seconds>(samples[i].at);
            values.clear();
            for (; i < samples.size() && samples[i].at < slot + std::chrono::seconds(1); ++i)
                values.push_back(samples[i].value);
            to.window.add_at(slot, std::span<const double>(values));
        }
        if (!samples.empty()) to.newest = (std::max)(to.newest.load(), samples.back().at);
    }

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
    std::function<void()> on_found_;
    std::atomic<std::size_t> size_ = 0;
    std::array<shard, 64> shards_;
};

} // namespace qsketch_server
