#include "storage/storage.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"
#include "support/store.hpp"

#include <rocksdb/db.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

using namespace server_test;

namespace {

/// What opening a store there is refused with.
std::string refusal(const std::string& path) {
    try {
        const storage store({path}, appending_rules());
        return "";
    } catch (const storage_error& e) {
        return e.what();
    }
}

std::uint64_t number(std::string_view text) {
    std::uint64_t out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

} // namespace

TEST_CASE("Rows are put, replaced, removed and found in order, each table on its own") {
    for (const auto when : {storage::sync::commit, storage::sync::async, storage::sync::none}) {
        const directory place;
        storage store({place.path(), when}, appending_rules());
        for (const char* key : {"b", "a", "c", "bb"}) put(store, table::pages, key, std::string("row ") + key);
        put(store, table::traffic, "b", "other");
        put(store, table::pages, "a", std::string("\0\xff", 2));
        changes c;
        CHECK(c.empty());
        c.remove(table::pages, "c");
        c.put(table::pages, "d", "");
        CHECK_FALSE(c.empty());
        store.commit(std::move(c));
        CHECK(store.get(table::pages, "a") == std::string("\0\xff", 2));
        CHECK(store.get(table::pages, "d") == "");
        CHECK_FALSE(store.get(table::pages, "c"));
        CHECK(store.get(table::traffic, "b") == "other");
        CHECK(rows_of(store, table::pages) ==
              row_list{{"a", std::string("\0\xff", 2)}, {"b", "row b"}, {"bb", "row bb"}, {"d", ""}});
        CHECK(rows_of(store, table::pages, "b", "d") == row_list{{"b", "row b"}, {"bb", "row bb"}});
        CHECK(rows_of(store, table::pages, "bc") == row_list{{"d", ""}});
        int seen = 0;
        store.scan(table::pages, {}, {}, [&](std::string_view, std::string_view) { return ++seen < 2; });
        CHECK(seen == 2);
    }
}

TEST_CASE("Operands are folded in the order of their commits, over restarts too") {
    const directory place;
    std::string expected;
    for (int run = 0; run < 3; ++run) {
        storage store({place.path()}, appending_rules());
        for (int i = 0; i < 50; ++i) {
            expected += std::to_string(i) + ",";
            merge(store, "k", std::to_string(i) + ",");
            if (i == 20) {
                put(store, table::audience, "k", "anew:");
                expected = "anew:";
            }
        }
        CHECK(store.get(table::audience, "k") == expected);
        CHECK(rows_of(store, table::audience) == row_list{{"k", expected}});
    }
}

TEST_CASE("What is to be done then is done in the order of the commits, one at a time, before they return") {
    const directory place;
    storage store({place.path()}, appending_rules());
    constexpr int threads = 16;
    constexpr int commits = 60;
    std::string order; // by one at a time, so without a lock
    std::atomic<int> wrong = 0;
    std::vector<std::thread> clients;
    for (int t = 0; t < threads; ++t)
        clients.emplace_back([&, t] {
            for (int i = 0; i < commits; ++i) {
                const std::string name = std::to_string(t) + "." + std::to_string(i) + " ";
                std::string done;
                struct held {
                    held(std::atomic<int>& w, std::string& seen, std::thread::id who)
                        : wrong(w), order_seen(seen), thread(who) {}
                    ~held() { wrong += order_seen != "12" || thread != std::this_thread::get_id() ? 1 : 0; }
                    std::atomic<int>& wrong;
                    std::string& order_seen;
                    std::thread::id thread;
                };
                changes c;
                c.hold(std::make_shared<held>(wrong, done, std::this_thread::get_id()));
                c.merge(table::audience, "k", name);
                c.then([&] {
                    done += '1';
                    order += name;
                });
                c.then([&] { done += '2'; });
                store.commit(std::move(c));
                if (done != "12") ++wrong;
            }
        });
    for (auto& c : clients) c.join();
    CHECK(wrong == 0);
    CHECK(store.get(table::audience, "k") == order);
    const auto figures = store.now();
    CHECK(figures.commits == threads * commits);
    CHECK(figures.syncs <= figures.commits);
    CHECK(figures.bytes > order.size());
    CHECK(figures.free > 0);
    CHECK(figures.writable);
}

TEST_CASE("Changes without rows are applied too") {
    storage store({"", storage::sync::none}, appending_rules());
    bool applied = false;
    changes c;
    c.then([&] { applied = true; });
    store.commit(std::move(c));
    CHECK(applied);
}

TEST_CASE("A row whose fold throws cannot be read and is kept, and everything else goes on") {
    const directory place;
    const std::string filler = noise(1 << 20);
    {
        storage store({place.path(), storage::sync::async}, appending_rules());
        merge(store, "a", "fine");
        put(store, table::audience, "k", "row,");
        for (const char* operand : {"1,", "bad", "2,"}) merge(store, "k", operand);
        merge(store, "only", "bad");
        // Enough for the rows to be folded on their way to the disk, again and again.
        for (int i = 0; i < 90; ++i) {
            put(store, table::audience, "f" + std::to_string(i % 30), filler);
            merge(store, "k", "+");
        }
        CHECK_THROWS_AS(store.get(table::audience, "k"), storage_error);
        CHECK_THROWS_WITH(store.get(table::audience, "only"), Catch::Contains("a bad operand"));
        CHECK_THROWS_AS(rows_of(store, table::audience), storage_error);
        CHECK(store.get(table::audience, "a") == "fine");
        CHECK(rows_of(store, table::audience, "a", "b").size() == 1);
        CHECK(store.now().writable);
    }
    rule_list forgiving;
    of(forgiving, table::audience).fold = [](std::optional<std::string_view> existing,
                                             std::span<const std::string_view> operands) {
        std::string row(existing.value_or(""));
        for (const std::string_view o : operands) row += o;
        return row;
    };
    const storage store({place.path()}, forgiving);
    CHECK(store.get(table::audience, "k") == "row,1,bad2," + std::string(90, '+'));
    CHECK(store.get(table::audience, "only") == "bad");
}

TEST_CASE("A merge into a table that folds nothing is no row") {
    storage store({"", storage::sync::none}, appending_rules());
    changes c;
    c.merge(table::pages, "k", "operand");
    store.commit(std::move(c));
    CHECK_THROWS_AS(store.get(table::pages, "k"), storage_error);
    put(store, table::pages, "k", "row");
    CHECK(store.get(table::pages, "k") == "row");
}

TEST_CASE("Operands are combined on their way to the disk and add up to the same") {
    std::atomic<int> combined = 0;
    rule_list rules;
    table_rules& sum = of(rules, table::audience);
    sum.fold = [](std::optional<std::string_view> existing, std::span<const std::string_view> operands) {
        std::uint64_t total = existing ? number(*existing) : 0;
        for (const std::string_view o : operands) total += number(o);
        return std::to_string(total);
    };
    SECTION("into one") {
        sum.combine = [&combined, fold = sum.fold](std::span<const std::string_view> operands) {
            ++combined;
            return std::optional(fold({}, operands));
        };
    }
    SECTION("or not, if they cannot be") {
        sum.combine = [&combined](std::span<const std::string_view>) {
            ++combined;
            return std::optional<std::string>();
        };
    }
    SECTION("or not, if that fails") {
        sum.combine = [&combined](std::span<const std::string_view>) -> std::optional<std::string> {
            ++combined;
            throw std::runtime_error("cannot");
        };
    }
    storage store({"", storage::sync::none}, rules);
    const std::string filler = ":" + noise(1000);
    std::uint64_t expected = 0;
    // The first run of them goes down whole, the others come to lie above it in parts.
    for (int run = 0; run < 100; ++run) {
        changes c;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            c.merge(table::audience, "k", std::to_string(i) + filler);
            expected += i;
        }
        store.commit(std::move(c));
    }
    CHECK(eventually([&] { return combined > 0; }));
    CHECK(store.get(table::audience, "k") == std::to_string(expected));
}

TEST_CASE("Rows that have expired go in time, others stay") {
    rule_list rules = appending_rules();
    of(rules, table::audience).expired = [](std::string_view key, std::string_view row) {
        if (row == "odd") throw std::runtime_error("cannot tell");
        return key.starts_with("old");
    };
    storage store({"", storage::sync::none}, rules);
    put(store, table::audience, "old odd", "odd");
    const std::string filler = noise(100'000);
    for (int i = 0; i < 500; ++i) {
        put(store, table::audience, "old" + std::to_string(i), filler);
        put(store, table::audience, "new" + std::to_string(i), filler);
    }
    const auto rows = [&](std::string_view from, std::string_view until) {
        return rows_of(store, table::audience, from, until).size();
    };
    // What is still in memory may stay.
    CHECK(eventually([&] { return rows("old0", {}) < 250; }));
    CHECK(rows("new", "nex") == 500);
    CHECK(store.get(table::audience, "old odd") == "odd");
}

TEST_CASE("Two cannot have the same directory") {
    const directory place;
    {
        const storage store({place.path()}, appending_rules());
        CHECK(refusal(place.path()) == place.path() + " is in use by another server");
    }
    CHECK(refusal(place.path()).empty());
}

TEST_CASE("A place that is no directory, or may not be written to, is refused by name") {
    for (const char* path : {"/dev/null", "/dev/null/x", "/proc", "/proc/x"}) {
        INFO(path);
        CHECK(refusal(path).starts_with(std::string(path) + " must be a directory to write to: "));
    }
}

TEST_CASE("What an earlier version has written is read, and has this format from then on") {
    const directory place;
    {
        storage store({place.path()}, appending_rules());
        put(store, table::meta, "format", "1");
        put(store, table::samples, "k", "row");
    }
    for (int i = 0; i < 2; ++i) {
        const storage store({place.path()}, appending_rules());
        CHECK(store.get(table::meta, "format") == "2");
        CHECK(store.get(table::samples, "k") == "row");
    }
}

TEST_CASE("What another version has written is refused") {
    const directory place;
    SECTION("by its format") {
        {
            storage store({place.path()}, appending_rules());
            put(store, table::meta, "format", "3");
        }
        CHECK(refusal(place.path()) ==
              place.path() + "/rows has the format 3, this version knows the formats 1 and 2 only");
    }
    SECTION("by a table that is new") {
        { const storage store({place.path()}, appending_rules()); }
        std::vector<std::string> names;
        REQUIRE(rocksdb::DB::ListColumnFamilies({}, place.path() + "/rows", &names).ok());
        std::vector<rocksdb::ColumnFamilyDescriptor> families;
        for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
        std::vector<rocksdb::ColumnFamilyHandle*> handles;
        rocksdb::DB* opened = nullptr;
        REQUIRE(rocksdb::DB::Open({}, place.path() + "/rows", families, &handles, &opened).ok());
        const std::unique_ptr<rocksdb::DB> db(opened);
        handles.emplace_back();
        REQUIRE(db->CreateColumnFamily({}, "later", &handles.back()).ok());
        for (auto* handle : handles) REQUIRE(db->DestroyColumnFamilyHandle(handle).ok());
        REQUIRE(db->Close().ok());
        CHECK(refusal(place.path()) == place.path() + "/rows has a table \"later\": a newer version has written it");
    }
}

TEST_CASE("A first start that was cut short is begun again") {
    const directory place;
    std::filesystem::create_directory(place.path() + "/rows");
    SECTION("before there was a list of files") { std::ofstream(place.path() + "/rows/MANIFEST-000001") << "some"; }
    SECTION("before there were all tables") {
        rocksdb::Options options;
        options.create_if_missing = true;
        rocksdb::DB* opened = nullptr;
        REQUIRE(rocksdb::DB::Open(options, place.path() + "/rows", &opened).ok());
        const std::unique_ptr<rocksdb::DB> db(opened);
        REQUIRE(db->Close().ok());
    }
    storage store({place.path()}, appending_rules());
    merge(store, "k", "x");
    CHECK(store.get(table::audience, "k") == "x");
}

TEST_CASE("With nothing to be kept no file is touched") {
    const directory place;
    {
        storage store({place.path() + "/x", storage::sync::none}, appending_rules());
        merge(store, "k", "x");
        CHECK(store.now().bytes == 0);
        CHECK(store.now().syncs == 0);
        CHECK(store.now().commits == 1);
    }
    CHECK(std::filesystem::is_empty(place.path()));
}

TEST_CASE("What is acknowledged before it is on disk is synced soon after, without further commits") {
    const directory place;
    storage store({place.path(), storage::sync::async}, appending_rules());
    for (int i = 0; i < 3; ++i) {
        const auto before = store.now().syncs;
        merge(store, "k", "x");
        CHECK(eventually([&] { return store.now().syncs > before; }));
    }
}

TEST_CASE("However much has been written, the log that the next start has to read is bounded") {
    const directory place;
    const auto log_bytes = [&] {
        std::uintmax_t sum = 0;
        for (const auto& file : std::filesystem::directory_iterator(place.path() + "/rows"))
            if (file.path().extension() == ".log") sum += file.file_size();
        return sum;
    };
    constexpr std::uintmax_t bound = std::uintmax_t{64} << 20;
    constexpr int rows = 160;
    for (int run = 0; run < 2; ++run) {
        {
            storage store({place.path(), storage::sync::async}, appending_rules());
            put(store, table::traffic, std::to_string(run), "x"); // a small row keeps the log as far back as it is
            for (int i = 0; i < rows; ++i)
                put(store, table::samples, std::to_string(run * rows + i), noise(std::size_t{1} << 20));
            CHECK(eventually([&] { return log_bytes() <= bound; }));
        }
        CHECK(log_bytes() <= bound);
    }
    const storage store({place.path()}, appending_rules());
    CHECK(rows_of(store, table::samples).size() == 2 * rows);
    CHECK(rows_of(store, table::traffic).size() == 2);
}

TEST_CASE("What is committed later is durable and applied when that is told, by another thread") {
    const directory dir;
    std::vector<int> applied;
    {
        storage store({dir.path()}, appending_rules());
        std::promise<std::thread::id> told;
        constexpr int many = 100;
        for (int i = 0; i < many; ++i) {
            changes c;
            c.merge(table::audience, "k", std::string(1, static_cast<char>('a' + i % 26)));
            c.then([&applied, i] { applied.push_back(i); });
            store.commit_later(std::move(c), [&, i](const std::string& error) {
                CHECK(error.empty());
                CHECK(applied.size() > static_cast<std::size_t>(i));
                if (i == many - 1) told.set_value(std::this_thread::get_id());
            });
        }
        CHECK(told.get_future().get() != std::this_thread::get_id());
        std::vector<int> in_order(many);
        std::iota(in_order.begin(), in_order.end(), 0);
        CHECK(applied == in_order);
    }
    const storage again({dir.path()}, appending_rules());
    std::string row;
    for (int i = 0; i < 100; ++i) row += static_cast<char>('a' + i % 26);
    CHECK(again.get(table::audience, "k") == row);
}

TEST_CASE("What is written in the background asks whether others wait; small commits do not") {
    const directory place;
    std::atomic<int> questions = 0;
    storage store({.path = place.path(), .others_wait = [&] { return ++questions > 0; }}, appending_rules());
    for (int i = 0; i < 100; ++i) put(store, table::pages, std::to_string(i), std::string(1000, 'x'));
    CHECK(questions == 0);
    for (int i = 0; i < 20; ++i) put(store, table::pages, std::to_string(i), std::string(std::size_t{1} << 20, 'x'));
    while (questions == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10)); // for the first flush
}
