#pragma once

#include "domain/store.hpp"

#include <qsketch/hyperloglog.hpp>
#include <qsketch/sip_hash.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>

namespace qsketch_server {

/// Keeps the slices in memory: two exact counts and a HyperLogLog each.
class memory_audience final : public audience_store {
public:
    /// 2^16 registers: every user counted up to some 12 000 of them, a standard error of 0.41 % beyond.
    static constexpr unsigned precision = 16;
    static constexpr double sigmas_of_95_percent = 1.96;

    explicit memory_audience(qsketch::sip_hash key) : key_(key) {}

    std::uint64_t pseudonym(std::int64_t slice, std::string_view user) const noexcept override {
        // A key of its own for every slice: what is stored of one hour cannot be looked up in another.
        const auto id = static_cast<std::uint64_t>(slice);
        return qsketch::sip_hash(key_(2 * id), key_(2 * id + 1))(user);
    }

    void count(std::span<visit> visits) override {
        const auto by_slice = [](const visit& a, const visit& b) { return a.slice < b.slice; };
        if (!std::is_sorted(visits.begin(), visits.end(), by_slice)) std::sort(visits.begin(), visits.end(), by_slice);
        for (std::size_t i = 0; i < visits.size();) {
            const auto found = find_or_create(visits[i].slice);
            const std::lock_guard lock(found->mutex);
            for (const std::int64_t slice = visits[i].slice; i < visits.size() && visits[i].slice == slice; ++i) {
                ++(visits[i].click ? found->clicks : found->impressions);
                found->users.add_hash(visits[i].user);
            }
        }
    }

    slice_figures figures(std::int64_t slice) const override {
        slice_figures out;
        out.slice = slice;
        if (const auto found = find(slice)) {
            const std::lock_guard lock(found->mutex);
            out.clicks = found->clicks;
            out.impressions = found->impressions;
            out.unique_users = found->users.estimate();
            out.unique_users_lower = found->users.lower_bound(sigmas_of_95_percent);
            out.unique_users_upper = found->users.upper_bound(sigmas_of_95_percent);
        }
        return out;
    }

    std::vector<slice_figures> all() const override {
        std::vector<std::int64_t> known;
        {
            const std::shared_lock lock(mutex_);
            for (const auto& entry : slices_) known.push_back(entry.first);
        }
        std::vector<slice_figures> out;
        out.reserve(known.size());
        for (const std::int64_t slice : known) out.push_back(figures(slice));
        return out;
    }

    void expire_before(std::int64_t slice) override {
        const std::lock_guard lock(mutex_);
        slices_.erase(slices_.begin(), slices_.lower_bound(slice));
    }

private:
    struct state {
        std::mutex mutex;
        std::uint64_t clicks = 0;
        std::uint64_t impressions = 0;
        qsketch::hyperloglog<> users{precision};
    };

    [[nodiscard]] std::shared_ptr<state> find(std::int64_t slice) const {
        const std::shared_lock lock(mutex_);
        const auto at = slices_.find(slice);
        return at == slices_.end() ? nullptr : at->second;
    }

    [[nodiscard]] std::shared_ptr<state> find_or_create(std::int64_t slice) {
        if (auto known = find(slice)) return known;
        const std::lock_guard lock(mutex_);
        auto& place = slices_[slice];
        if (!place) place = std::make_shared<state>();
        return place;
    }

    qsketch::sip_hash key_;
    mutable std::shared_mutex mutex_;
    std::map<std::int64_t, std::shared_ptr<state>> slices_;
};

} // namespace qsketch_server
