// keyed: time per update of one of many keys by one thread and by two, beside a std::unordered_map behind one mutex.
// 100 000 entries fit into no second-level cache, so most of the time goes into waiting for memory; the references
// without a lock say how much: the bare search in a std::unordered_map, and the search with the addition.
// Rows are timed in turn, round after round; printed are medians. Optional arguments: rounds, then threads.

#include "support/generators.hpp"

#include <qsketch/keyed.hpp>
#include <qsketch/tdigest.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

using steady = std::chrono::steady_clock;
constexpr std::size_t update_count = std::size_t{1} << 20;

std::string name_of(std::uint64_t i) { return "sensor-" + std::to_string(i); }

/// The keys of the updates, one after the other in memory, as they lie in a request.
class traffic {
public:
    /// skewed: as many updates to the first 1 % of the keys as to the next 99 %, and so on down to one key.
    traffic(std::size_t distinct, bool skewed) {
        support::random_bits random(1);
        std::vector<std::size_t> sizes;
        for (std::size_t i = 0; i < update_count; ++i) {
            std::uint64_t below = distinct;
            while (skewed && below > 1 && random.below(2) == 0) below = (std::max)(below / 100, std::uint64_t{1});
            // So that neighbours in popularity are none in memory.
            const std::string name = name_of(random.below(below) * 7919 % distinct);
            text_ += name;
            sizes.push_back(name.size());
        }
        std::size_t at = 0;
        for (const std::size_t size : sizes) {
            keys_.push_back(std::string_view(text_).substr(at, size));
            at += size;
        }
    }
    [[nodiscard]] const std::vector<std::string_view>& keys() const { return keys_; }

private:
    std::string text_;
    std::vector<std::string_view> keys_;
};

using digest = qsketch::tdigest<>;
void add(digest& d) { d.add(1.5); }
void add(std::uint64_t& n) { ++n; }
void renew(digest& d) { d.clear(); }
void renew(std::uint64_t& n) { n = 0; }

struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
        return static_cast<std::size_t>(qsketch::hash()(text));
    }
};

template <class Value>
class reference {
public:
    explicit reference(std::size_t distinct) {
        for (std::size_t i = 0; i < distinct; ++i) map_.try_emplace(name_of(i));
    }
    void search(std::string_view key) { found_ = found_ + (map_.find(key) != map_.end()); }
    void update(std::string_view key) { add(map_.find(key)->second); }
    void update_locked(std::string_view key) {
        const std::lock_guard lock(mutex_);
        update(key);
    }
    void renew_all() {
        for (auto& [key, value] : map_) renew(value);
    }

private:
    std::unordered_map<std::string, Value, text_hash, std::equal_to<>> map_;
    std::mutex mutex_;
    volatile std::size_t found_ = 0;
};

template <class Update>
double nanoseconds(const traffic& updates, std::size_t threads, const Update& update) {
    const std::size_t share = update_count / threads;
    std::latch ready(static_cast<std::ptrdiff_t>(threads) + 1);
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            ready.arrive_and_wait();
            for (std::size_t i = t * share; i < (t + 1) * share; ++i) update(updates.keys()[i]);
        });
    ready.arrive_and_wait();
    const auto start = steady::now();
    for (auto& thread : running) thread.join();
    return std::chrono::duration<double, std::nano>(steady::now() - start).count() / static_cast<double>(update_count);
}

template <class Value>
void compare(const char* value, std::size_t distinct, bool skewed, std::size_t rounds, std::size_t threads) {
    const traffic updates(distinct, skewed);
    reference<Value> plain(distinct);
    qsketch::keyed<std::string, Value> map(distinct);
    for (std::size_t i = 0; i < distinct; ++i) map.update(name_of(i), [](Value&) {});
    const auto now = steady::now();
    const auto names = map.page({}, distinct);

    const auto add_one = [](Value& v) { add(v); };
    const auto search = [&](std::string_view key) { plain.search(key); };
    const auto unlocked = [&](std::string_view key) { plain.update(key); };
    const auto locked = [&](std::string_view key) { plain.update_locked(key); };
    const auto at = [&](std::string_view key) { map.update_at(now, key, add_one); };
    const auto by_clock = [&](std::string_view key) { map.update(key, add_one); };
    const auto read = [&](std::string_view key) { map.read(key, [](const Value&) {}); };

    struct row {
        const char* name;
        std::size_t threads;
        std::function<double()> pass;
        std::vector<double> times{};
    };
    std::vector<row> rows{
        {"search only, no lock", 1, [&] { return nanoseconds(updates, 1, search); }},
        {"unordered_map, no lock", 1, [&] { return nanoseconds(updates, 1, unlocked); }},
        {"unordered_map, one mutex", 1, [&] { return nanoseconds(updates, 1, locked); }},
        {"keyed, update_at", 1, [&] { return nanoseconds(updates, 1, at); }},
        {"keyed, update", 1, [&] { return nanoseconds(updates, 1, by_clock); }},
        {"keyed, read", 1, [&] { return nanoseconds(updates, 1, read); }},
        {"unordered_map, one mutex", threads, [&] { return nanoseconds(updates, threads, locked); }},
        {"keyed, update_at", threads, [&] { return nanoseconds(updates, threads, at); }},
    };
    for (std::size_t round = 0; round <= rounds; ++round)
        for (row& r : rows) {
            plain.renew_all();
            for (const auto& name : names) map.update_at(now, name, [](Value& v) { renew(v); });
            const double time = r.pass();
            if (round > 0) r.times.push_back(time); // the first one buys memory
        }
    std::printf("\n%s, %zu keys%s; ns per update\n", value, distinct, skewed ? ", skewed" : "");
    for (row& r : rows) {
        std::sort(r.times.begin(), r.times.end());
        std::printf("  %-26s %zu thread%s %7.1f  (%.1f .. %.1f)\n", r.name, r.threads, r.threads == 1 ? " " : "s",
                    r.times[r.times.size() / 2], r.times.front(), r.times.back());
    }
}

} // namespace

int main(int argc, char** argv) {
    const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 15;
    const std::size_t threads = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 2;
    if (rounds == 0 || threads == 0) return 2;
    for (const std::size_t distinct : {std::size_t{1000}, std::size_t{100'000}})
        for (const bool skewed : {false, true}) {
            compare<digest>("tdigest", distinct, skewed, rounds, threads);
            compare<std::uint64_t>("counter", distinct, skewed, rounds, threads);
        }
    compare<std::uint64_t>("counter", 1, false, rounds, threads);
    return 0;
}
