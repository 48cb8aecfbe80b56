// What keyed promises to threads. To be run under ThreadSanitizer too: scripts/matrix gcc-tsan.

#include <qsketch/keyed.hpp>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/mock_clock.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using clock_type = support::mock_clock<>;
using time_point = clock_type::time_point;
using counts = qsketch::keyed<std::string, std::uint64_t, qsketch::hash, clock_type>;

constexpr time_point early{std::chrono::milliseconds(1)};
constexpr time_point late{std::chrono::milliseconds(9)};

/// Runs work(0) .. work(n - 1) at the same time. Nothing may be asserted in them: Catch2 knows one thread.
template <class Work>
void at_once(std::size_t n, const Work& work) {
    std::vector<std::thread> threads;
    std::latch start(static_cast<std::ptrdiff_t>(n));
    for (std::size_t i = 0; i < n; ++i)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            work(i);
        });
    for (auto& t : threads) t.join();
}

std::string key_of(std::uint64_t i) { return "key " + std::to_string(i); }

const auto add_one = [](std::uint64_t& n) { ++n; };

/// Adds its count to a sum when it goes.
class mourned {
public:
    explicit mourned(std::atomic<std::uint64_t>& sum) : sum_(&sum) {}
    mourned(mourned&& other) noexcept : sum_(std::exchange(other.sum_, nullptr)), count_(other.count_) {}
    ~mourned() {
        if (sum_ != nullptr) *sum_ += count_;
    }
    void add() noexcept { ++count_; }

private:
    std::atomic<std::uint64_t>* sum_;
    std::uint64_t count_ = 0;
};

/// Says which was the `at` of the one that went last.
struct last_gone {
    static inline thread_local std::int64_t of_this_thread = 0;
    std::int64_t at = 0;
    last_gone() = default;
    last_gone(const last_gone&) = default;
    ~last_gone() { of_this_thread = at; }
};

/// Times that let a test do, the first time two are compared, what another thread might do just then.
struct hooked_clock {
    struct time_point {
        int at;
        friend bool operator<(const time_point& a, const time_point& b) {
            const bool less = a.at < b.at;
            if (on_compare) std::exchange(on_compare, nullptr)();
            return less;
        }
    };
    static inline std::function<void()> on_compare;
    [[nodiscard]] static time_point now() noexcept { return {0}; }
};

/// The same for keys.
struct hooked_key {
    int name = 0;
    static inline std::function<void()> on_compare;
    friend bool operator==(const hooked_key& a, const hooked_key& b) noexcept {
        const bool equal = a.name == b.name;
        if (on_compare) std::exchange(on_compare, nullptr)();
        return equal;
    }
    [[maybe_unused]] friend auto operator<=>(const hooked_key&, const hooked_key&) noexcept = default;
};
struct one_hash {
    [[nodiscard]] std::uint64_t operator()(const hooked_key&) const noexcept { return 1; }
};

/// All keys in one run of one shard.
struct crowding_hash {
    [[nodiscard]] std::uint64_t operator()(std::string_view key) const noexcept { return qsketch::hash()(key) % 16; }
};

/// Long enough for those who wait to fall asleep; nothing that is asserted depends on it.
void dawdle() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

} // namespace

TEST_CASE("threads that update the same keys lose no update") {
    for (const std::uint64_t distinct : {1u, 3u, 1000u}) {
        counts tested(1000);
        at_once(4, [&](std::size_t thread) {
            support::random_bits random(thread);
            for (int i = 0; i < 20'000; ++i) tested.update(key_of(random.below(distinct)), add_one);
        });
        std::uint64_t sum = 0;
        tested.for_each([&](const std::string&, std::uint64_t n) { sum += n; });
        CHECK(sum == 80'000);
        CHECK(tested.size() == distinct);
    }
}

TEST_CASE("every update is in exactly one value, whoever makes and drops entries meanwhile") {
    std::atomic<std::uint64_t> sum = 0;
    std::atomic<std::uint64_t> updates = 0;
    std::atomic<std::size_t> most = 0;
    constexpr std::size_t max_keys = 100;
    {
        qsketch::keyed<std::string, mourned, qsketch::hash, clock_type> tested(
            max_keys, [&](const std::string&) { return mourned(sum); });
        at_once(4, [&](std::size_t thread) {
            support::random_bits random(thread);
            for (int i = 0; i < 20'000; ++i) {
                const std::string key = key_of(random.below(130));
                const time_point now{std::chrono::milliseconds(i)};
                switch (random.below(32)) {
                case 0:
                    tested.erase(key);
                    break;
                case 1:
                    if (random.below(10) == 0) tested.expire(now);
                    break;
                case 2:
                    if (random.below(100) == 0) tested.clear();
                    break;
                case 3:
                    try {
                        tested.update_at(now, "never " + key, [](mourned&) { throw std::runtime_error("f"); });
                    } catch (const std::runtime_error&) {
                    }
                    break;
                case 4:
                    most = (std::max)(most.load(), tested.size());
                    break;
                default:
                    if (tested.update_at(now, key, [](mourned& m) { m.add(); })) ++updates;
                }
            }
        });
        CHECK(tested.size() <= max_keys);
        CHECK(tested.page({}, 1000).size() == tested.size());
        CHECK(tested.page({}, 1000, [](const std::string& key) { return key.starts_with("never"); }).empty());
    }
    CHECK(most <= max_keys);
    CHECK(sum == updates);
    CHECK(updates > 10'000);
}

TEST_CASE("what is added while its key expires is not lost") {
    qsketch::keyed<std::string, last_gone, qsketch::hash, clock_type> tested(1);
    std::atomic<std::int64_t> newest = 0;
    std::atomic<bool> done = false;
    std::atomic<int> expired = 0;
    std::atomic<int> lost = 0;
    at_once(2, [&](std::size_t thread) {
        if (thread == 0) {
            for (std::int64_t i = 1; i < 100'000; ++i) {
                newest = i;
                tested.update_at(time_point(std::chrono::milliseconds(i)), "a", [&](last_gone& v) { v.at = i; });
            }
            done = true;
        } else {
            while (!done) {
                const std::int64_t before = newest;
                if (tested.expire(time_point(std::chrono::milliseconds(before))) == 0) continue;
                ++expired;
                if (last_gone::of_this_thread >= before) ++lost;
            }
        }
    });
    CAPTURE(expired.load());
    CHECK(lost == 0);
}

TEST_CASE("an update between the look at an idle entry and its lock keeps the entry") {
    qsketch::keyed<std::string, std::uint64_t, qsketch::hash, hooked_clock> tested(1);
    tested.update_at({1}, "a", add_one);
    hooked_clock::on_compare = [&] { tested.update_at({9}, "a", add_one); };
    CHECK(tested.expire({5}) == 0);
    CHECK(tested.read("a", [](std::uint64_t n) { return n; }) == 2u);
    CHECK(tested.expire({10}) == 1);
}

TEST_CASE("pages list every key that is there all along once and in order, while others come and go") {
    counts tested(2000);
    std::vector<std::string> expected;
    for (std::uint64_t i = 0; i < 500; ++i) expected.push_back("stays " + std::to_string(i));
    for (const auto& key : expected) tested.update(key, add_one);
    std::sort(expected.begin(), expected.end());
    std::atomic<bool> walked = false;
    bool ordered = true;
    bool complete = true;
    std::atomic<int> visits_missed = 0;
    at_once(3, [&](std::size_t thread) {
        if (thread == 0) {
            for (int walk = 0; walk < 20; ++walk) {
                std::vector<std::string> keys;
                for (auto page = tested.page({}, 60); !page.empty(); page = tested.page(keys.back(), 60))
                    keys.insert(keys.end(), page.begin(), page.end());
                ordered = ordered && std::is_sorted(keys.begin(), keys.end()) &&
                          std::adjacent_find(keys.begin(), keys.end()) == keys.end();
                std::erase_if(keys, [](const std::string& key) { return !key.starts_with("stays"); });
                complete = complete && keys == expected;
                std::size_t visits = 0;
                tested.for_each([&](const std::string& key, std::uint64_t) { visits += key.starts_with("stays"); });
                visits_missed += visits != expected.size();
            }
            walked = true;
        } else {
            support::random_bits random(thread);
            while (!walked) {
                const std::string key =
                    (random.below(2) == 0 ? "comes " : "until ") + std::to_string(random.below(300));
                tested.update(key, add_one);
                tested.erase(key);
                tested.update(expected[random.below(expected.size())], add_one);
            }
        }
    });
    CHECK(ordered);
    CHECK(complete);
    CHECK(visits_missed == 0);
}

TEST_CASE("a search that an entry is moved past finds it still") {
    using map = qsketch::keyed<hooked_key, int, one_hash, clock_type>;
    map tested(3);
    for (const int key : {1, 2, 3}) tested.update({key}, [&](int& v) { v = key; });
    // Where the search for 3 looks at 1 and goes on to 2, 1 goes, and 2 and 3 move up.
    hooked_key::on_compare = [&] { hooked_key::on_compare = [&] { tested.erase({1}); }; };
    CHECK(tested.read({3}, [](int v) { return v; }) == 3);
    CHECK(tested.size() == 2);
}

TEST_CASE("known keys are found while others are dropped beside them") {
    // Each entry that goes moves others of its run; a search that passes them must not miss any.
    qsketch::keyed<std::string, std::uint64_t, crowding_hash, clock_type> tested(100);
    std::vector<std::string> known;
    for (std::uint64_t i = 0; i < 20; ++i) {
        known.push_back(key_of(i));
        tested.update("before " + key_of(i), add_one);
        tested.update(known.back(), add_one);
    }
    std::atomic<bool> done = false;
    std::atomic<int> missed = 0;
    at_once(2, [&](std::size_t thread) {
        if (thread == 0) {
            for (std::uint64_t i = 0; i < 100'000; ++i)
                if (!tested.read(known[i % known.size()], [](std::uint64_t) {})) ++missed;
            done = true;
        } else {
            for (std::uint64_t i = 0; !done; ++i) {
                const std::string key = "before " + key_of(i % 20);
                tested.erase(key);
                tested.update(key, add_one);
            }
        }
    });
    CHECK(missed == 0);
}

TEST_CASE("who is long at one key holds up nobody at others") {
    counts tested(1000);
    tested.update_at(early, "slow", add_one);
    std::latch inside(3);
    std::latch finished(1);
    std::thread reader([&] {
        tested.read("slow", [&](std::uint64_t) {
            inside.arrive_and_wait();
            finished.wait();
        });
    });
    std::thread creator([&] {
        tested.update_at(early, "slowly made", [&](std::uint64_t&) {
            inside.arrive_and_wait();
            finished.wait();
        });
    });
    inside.arrive_and_wait();
    for (std::uint64_t i = 0; i < 900; ++i) tested.update_at(early, key_of(i), add_one);
    for (std::uint64_t i = 0; i < 900; i += 3) CHECK(tested.erase(key_of(i)));
    CHECK(tested.read("slow", [](std::uint64_t n) { return n; }) == 1u); // readers come together
    CHECK(tested.page({}, 1000).size() == 602);
    CHECK(tested.expire(late) == 600); // all that nobody is at
    finished.count_down();
    reader.join();
    creator.join();
    CHECK(tested.expire(late) == 2);
}

TEST_CASE("who waits for a key that fails to be made makes it") {
    for (const std::string key : {"", "a"}) {
        counts tested(1);
        std::latch inside(2);
        std::thread failing([&] {
            try {
                tested.update(key, [&](std::uint64_t& n) {
                    n = 100;
                    inside.arrive_and_wait();
                    dawdle();
                    throw std::runtime_error("f");
                });
            } catch (const std::runtime_error&) {
            }
        });
        inside.arrive_and_wait();
        CHECK(tested.update(key, add_one));
        failing.join();
        CHECK(tested.read(key, [](std::uint64_t n) { return n; }) == 1u);
    }
}

TEST_CASE("those who wait for a writer sleep until it is done, and all wake") {
    counts tested(10);
    std::latch inside(5);
    at_once(5, [&](std::size_t thread) {
        if (thread == 0)
            tested.update("a", [&](std::uint64_t& n) {
                inside.arrive_and_wait();
                dawdle();
                ++n;
            });
        else
            inside.arrive_and_wait();
        if (thread == 1 || thread == 2) tested.update("a", add_one);
        if (thread == 3 || thread == 4) tested.read("a", [](std::uint64_t) {});
    });
    CHECK(tested.read("a", [](std::uint64_t n) { return n; }) == 3u);
}

TEST_CASE("erase waits for those who are at the value") {
    counts tested(10);
    tested.update("a", add_one);
    std::latch inside(2);
    std::atomic<bool> left = false;
    std::thread reader([&] {
        tested.read("a", [&](std::uint64_t) {
            inside.arrive_and_wait();
            dawdle();
            left = true;
        });
    });
    inside.arrive_and_wait();
    CHECK(tested.erase("a"));
    CHECK(left);
    reader.join();
}

TEST_CASE("readers who overlap all the time let a writer in") {
    counts tested(10);
    tested.update("a", add_one);
    std::atomic<int> entered = 0;
    std::atomic<bool> written = false;
    at_once(4, [&](std::size_t thread) {
        if (thread == 0) {
            while (entered == 0) std::this_thread::yield();
            for (int i = 0; i < 10; ++i) tested.update("a", add_one);
            written = true;
            return;
        }
        while (!written)
            tested.read("a", [&](std::uint64_t) {
                // Stays until another one comes in, and where a writer keeps that one out for a while only.
                const int seen = ++entered;
                const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
                while (entered == seen && !written && std::chrono::steady_clock::now() < end) std::this_thread::yield();
            });
    });
    CHECK(tested.read("a", [](std::uint64_t n) { return n; }) == 11u);
}
