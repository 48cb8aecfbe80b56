#include "storage/storage.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"
#include "support/small_disk.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace qsketch_server;
using server_test::directory;
using server_test::small_disk;

namespace {

using row_list = std::vector<std::pair<std::string, std::string>>;

/// Rows of text: a fold appends the operands, and stumbles over "bad".
std::array<table_rules, table_count> rules() {
    std::array<table_rules, table_count> out;
    table_rules& r = out[static_cast<std::size_t>(table::audience)];
    r.fold = [](std::optional<std::string_view> existing, std::span<const std::string_view> operands) {
        std::string row(existing.value_or(""));
        for (const std::string_view o : operands) {
            if (o == "bad") throw std::runtime_error("a bad operand");
            row += o;
        }
        return row;
    };
    return out;
}

row_list rows_of(const storage& store, table where, std::string_view from = {}, std::string_view until = {}) {
    row_list out;
    store.scan(where, from, until, [&](std::string_view key, std::string_view row) {
        out.emplace_back(key, row);
        return true;
    });
    return out;
}

void put(storage& store, table where, std::string_view key, std::string_view row) {
    changes c;
    c.put(where, key, row);
    store.commit(std::move(c));
}

void merge(storage& store, std::string_view key, std::string_view operand) {
    changes c;
    c.merge(table::audience, key, operand);
    store.commit(std::move(c));
}

/// Bytes that do not compress.
std::string noise(std::size_t size) {
    std::mt19937_64 random(size);
    std::string out;
    while (out.size() < size) out += static_cast<char>(random());
    return out;
}

/// Does it become true within the time that a loaded machine may need?
template <class Condition>
bool eventually(Condition condition) {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
         std::chrono::steady_clock::now() < end;) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

std::string file_text(const std::string& name) {
    std::ifstream in(name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& name, std::string_view bytes) {
    std::ofstream(name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The files of a store with that ending, the newest last.
std::vector<std::string> files(const std::string& place, const std::string& ending) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(place + "/rows"))
        if (entry.path().string().ends_with(ending) && entry.file_size() > 0) out.push_back(entry.path());
    std::sort(out.begin(), out.end());
    return out;
}

/// Where the records of a log of less than a block begin: each has a head of 7 bytes with its size at byte 4.
std::vector<std::size_t> record_starts(std::string_view log) {
    std::vector<std::size_t> out;
    for (std::size_t at = 0; at + 7 <= log.size() && log[at + 6] != 0;
         at += 7 + static_cast<unsigned char>(log[at + 4]) + 256u * static_cast<unsigned char>(log[at + 5]))
        out.push_back(at);
    return out;
}

} // namespace

TEST_CASE("Rows are put, replaced, removed and found in order, each table on its own") {
    for (const auto when : {storage::sync::commit, storage::sync::async, storage::sync::none}) {
        const directory place;
        storage store({place.path(), when}, rules());
        for (const char* key : {"b", "a", "c", "bb"}) put(store, table::pages, key, std::string("row ") + key);
        put(store, table::traffic, "b", "other");
        put(store, table::pages, "a", std::string("\0\xff", 2));
        changes c;
        c.remove(table::pages, "c");
        c.put(table::pages, "d", "");
        store.commit(std::move(c));
        CHECK(store.get(table::pages, "a") == std::string("\0\xff", 2));
        CHECK(store.get(table::pages, "d") == "");
        CHECK_FALSE(store.get(table::pages, "c"));
        CHECK(store.get(table::traffic, "b") == "other");
        CHECK(rows_of(store, table::pages) ==
              row_list{{"a", std::string("\0\xff", 2)}, {"b", "row b"}, {"bb", "row bb"}, {"d", ""}});
        CHECK(rows_of(store, table::pages, "b", "d") == row_list{{"b", "row b"}, {"bb", "row bb"}});
        CHECK(rows_of(store, table::pages, "bc") == row_list{{"d", ""}});
    }
}

TEST_CASE("Operands are folded in the order of their commits, over restarts too") {
    const directory place;
    std::string expected;
    for (int run = 0; run < 3; ++run) {
        storage store({place.path()}, rules());
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

TEST_CASE("A full disk refuses commits and nothing else, and when there is room again they go on") {
    const small_disk disk(std::size_t{160} << 20);
    if (!disk.mounted()) {
        WARN("skipped: no filesystem can be mounted here");
        return;
    }
    const std::string block = noise(std::size_t{64} << 10);
    std::string expected;
    const auto commit = [&](storage& store) {
        bool applied = false;
        changes c;
        c.put(table::pages, std::to_string(expected.size() % 100), block);
        c.merge(table::audience, "k", "x");
        c.then([&] { applied = true; });
        try {
            store.commit(std::move(c));
            CHECK(applied);
            expected += 'x';
            return true;
        } catch (const storage_error&) {
            CHECK_FALSE(applied);
            return false;
        }
    };
    for (const auto when : {storage::sync::commit, storage::sync::async}) {
        storage store({disk.path() + "/data", when}, rules());
        for (int round = 0; round < 4; ++round) {
            for (int i = 0; i < 20; ++i) REQUIRE(commit(store));
            disk.fill(static_cast<std::size_t>(round) * 50'000);
            int more = 0;
            while (commit(store)) REQUIRE(++more < 1000);
            CHECK_FALSE(store.now().writable);
            for (int i = 0; i < 3; ++i) CHECK_FALSE(commit(store));
            CHECK(store.get(table::audience, "k") == expected);
            CHECK(rows_of(store, table::pages).size() == (std::min)(expected.size(), std::size_t{100}));
            // What a crash would leave behind now, on a disk with room.
            const directory elsewhere;
            std::filesystem::copy(disk.path() + "/data", elsewhere.path(), std::filesystem::copy_options::recursive);
            CHECK(storage({elsewhere.path(), when}, rules()).get(table::audience, "k") == expected);
            disk.empty();
            CHECK(eventually([&] { return store.now().writable; }));
            REQUIRE(commit(store));
            CHECK(store.get(table::audience, "k") == expected);
        }
    }
    CHECK(storage({disk.path() + "/data"}, rules()).get(table::audience, "k") == expected);
}

TEST_CASE("A torn record at the end of the log is cut off, and nothing else is lost") {
    for (const auto when : {storage::sync::commit, storage::sync::async}) {
        const directory place;
        {
            storage store({place.path(), when}, rules());
            for (int i = 0; i < 100; ++i) merge(store, "k", "x");
        }
        const std::string log = files(place.path(), ".log").back();
        const std::string whole = file_text(log);
        const auto last = record_starts(whole).back();
        const auto kept = [&](std::string_view bytes) {
            write_file(log, bytes);
            const directory copy;
            std::filesystem::copy(place.path(), copy.path(), std::filesystem::copy_options::recursive);
            return storage({copy.path(), when}, rules()).get(table::audience, "k")->size();
        };
        CHECK(kept(whole) == 100);
        for (std::size_t size = last; size < whole.size(); size += 4) CHECK(kept(whole.substr(0, size)) == 99);
        CHECK(kept(whole + std::string(5000, '\0')) == 100);
        CHECK(kept(whole + noise(5000)) == 100);
        CHECK(kept(whole + noise(100'000)) == 100);
        CHECK(kept(whole + whole.substr(last, 20)) == 100);
        for (std::size_t at = last; at < whole.size(); at += 4) {
            std::string damaged = whole;
            damaged[at] ^= 0x10;
            CHECK(kept(damaged) == 99);
        }
    }
}
