#include "storage/storage.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"
#include "support/small_disk.hpp"
#include "support/store.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace server_test;

namespace {

std::atomic<bool> broken_disk = false;

} // namespace

/// In place of the system's, also for RocksDB.
extern "C" int fdatasync(int fd) {
    if (!broken_disk) return static_cast<int>(::syscall(SYS_fdatasync, fd));
    errno = EIO;
    return -1;
}

namespace {

void copy(const std::string& from, const std::string& to) {
    std::error_code error;
    do {
        std::filesystem::remove_all(to);
        std::filesystem::copy(from, to, std::filesystem::copy_options::recursive, error);
    } while (error == std::errc::no_such_file_or_directory); // one that a store at work has no more use for
    if (error) throw std::filesystem::filesystem_error("cannot copy", from, to, error);
}

std::string file_text(const std::string& name) {
    std::ifstream in(name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& name, std::string_view bytes) {
    std::ofstream(name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The files of a store that have that in their name and are not empty, the newest last.
std::vector<std::string> files(const std::string& place, const std::string& part) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(place + "/rows"))
        if (entry.path().filename().string().find(part) != std::string::npos && entry.file_size() > 0)
            out.push_back(entry.path());
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

/// One commit to two tables. False if it is refused.
bool commit(storage& store, std::string& expected, std::string_view block) {
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
}

/// What a store at that place holds after a crash at this moment, on another disk.
std::optional<std::string> after_crash(const std::string& place, storage::sync when) {
    const directory elsewhere;
    copy(place, elsewhere.path());
    return storage({elsewhere.path(), when}, appending_rules()).get(table::audience, "k");
}

} // namespace

TEST_CASE("A torn record at the end of the log is cut off, and nothing else is lost") {
    for (const auto when : {storage::sync::commit, storage::sync::async}) {
        const directory place;
        {
            storage store({place.path(), when}, appending_rules());
            for (int i = 0; i < 100; ++i) merge(store, "k", "x");
        }
        const std::string log = files(place.path(), ".log").back();
        const std::string whole = file_text(log);
        const auto last = record_starts(whole).back();
        const auto kept = [&](std::string_view bytes) {
            write_file(log, bytes);
            return after_crash(place.path(), when)->size();
        };
        CHECK(kept(whole) == 100);
        for (std::size_t size = last; size < whole.size(); size += 5) CHECK(kept(whole.substr(0, size)) == 99);
        CHECK(kept(whole + std::string(5000, '\0')) == 100);
        CHECK(kept(whole + noise(5000)) == 100);
        CHECK(kept(whole + noise(100'000)) == 100);
        CHECK(kept(whole + whole.substr(last, 20)) == 100);
        for (std::size_t at = last; at < whole.size(); at += 5) {
            std::string damaged = whole;
            damaged[at] ^= 0x10;
            CHECK(kept(damaged) == 99);
        }
    }
}

TEST_CASE("A record of many blocks is kept whole or not at all") {
    const directory place;
    {
        storage store({place.path()}, appending_rules());
        merge(store, "k", "x");
        merge(store, "k", std::string(100'000, 'y'));
    }
    const std::string log = files(place.path(), ".log").back();
    const std::string whole = file_text(log);
    for (const std::size_t size : {std::size_t{32'768}, std::size_t{40'000}, std::size_t{65'536}, whole.size() - 1}) {
        write_file(log, whole.substr(0, size));
        CHECK(after_crash(place.path(), storage::sync::commit) == "x");
    }
    // A middle that did not get to the disk, as pages may be written in any order.
    std::string hollow = whole;
    std::fill_n(hollow.begin() + 40'000, 4096, '\0');
    write_file(log, hollow);
    CHECK(after_crash(place.path(), storage::sync::commit) == "x");
}

TEST_CASE("Damage in the middle of the log is refused by name, where a sync had made it whole") {
    const directory place;
    {
        storage store({place.path()}, appending_rules());
        for (int i = 0; i < 100; ++i) merge(store, "k", "x");
    }
    const std::string log = files(place.path(), ".log").back();
    const std::string whole = file_text(log);
    const auto starts = record_starts(whole);
    for (std::size_t i = 0; i < 7; ++i) {
        std::string damaged = whole;
        damaged[starts[50] + i] ^= 0x01; // the sum, the size, the type
        write_file(log, damaged);
        CHECK_THROWS_WITH(storage({place.path()}, appending_rules()),
                          log + " is damaged at byte " + std::to_string(starts[50]) + ", with whole records behind it");
        CHECK(file_text(log) == damaged);
    }
    // With others there is no telling what the system had written.
    CHECK(after_crash(place.path(), storage::sync::async) < std::string(100, 'x'));
    CHECK(storage({place.path(), storage::sync::commit, true}, appending_rules()).get(table::audience, "k")->size() >=
          49);
    CHECK(storage({place.path()}, appending_rules()).get(table::audience, "k")->size() >= 49);
}

TEST_CASE("Damage in a large record of the log costs no more than that record and the next") {
    const directory place;
    constexpr std::size_t rows = 20;
    {
        storage store({place.path()}, appending_rules());
        const std::string block = noise(100'000);
        for (std::size_t i = 0; i < rows; ++i) {
            changes c;
            c.put(table::pages, "p" + std::to_string(i), block);
            c.merge(table::audience, "k", "x");
            store.commit(std::move(c));
        }
    }
    const std::string log = files(place.path(), ".log").back();
    const std::string whole = file_text(log);
    REQUIRE(whole.size() > 100'000 * rows);
    for (std::size_t at = 150'000; at < 1'900'000; at += 116'081) {
        INFO(at);
        const directory elsewhere;
        copy(place.path(), elsewhere.path());
        std::string damaged = whole;
        damaged[at] ^= 0x10;
        write_file(files(elsewhere.path(), ".log").back(), damaged);
        CHECK_THROWS_WITH(storage({elsewhere.path()}, appending_rules()),
                          Catch::Contains("is damaged at byte ") && Catch::EndsWith("with whole records behind it"));
        const storage store({elsewhere.path(), storage::sync::commit, true}, appending_rules());
        const auto kept = rows_of(store, table::pages).size();
        CHECK(kept >= rows - 2);
        CHECK(kept < rows);
        CHECK(store.get(table::audience, "k") == std::string(kept, 'x'));
    }
}

TEST_CASE("A damaged file is refused by name, and repaired but for what was in it") {
    const directory place;
    std::string expected;
    {
        storage store({place.path()}, appending_rules());
        const std::string block = noise(100'000);
        for (int i = 0; i < 100; ++i) {
            changes c;
            for (int k = 0; k < 4; ++k) c.put(table::pages, "p" + std::to_string(4 * i + k), block);
            c.merge(table::audience, "k", "x");
            store.commit(std::move(c));
            expected += 'x';
        }
    }
    { const storage settled({place.path()}, appending_rules()); } // whatever was going on in the background
    struct wound {
        std::string part;
        std::string cut;
        std::ptrdiff_t at; ///< From the end if negative.
    };
    for (const wound& w :
         {wound{".sst", "", 4'000'000}, wound{".sst", "", -3}, wound{".sst", "half", 0}, wound{".sst", "all", 0},
          wound{"MANIFEST", "", 10}, wound{"MANIFEST", "", -5}, wound{"MANIFEST", "half", 0},
          wound{"MANIFEST", "all", 0}, wound{"CURRENT", "all", 0}, wound{"CURRENT", "", 3}}) {
        INFO(w.part << " " << w.cut << " " << w.at);
        const directory elsewhere;
        copy(place.path(), elsewhere.path());
        const std::string file = files(elsewhere.path(), w.part).front();
        std::string bytes = file_text(file);
        if (w.cut.empty())
            bytes[w.at < 0 ? bytes.size() - static_cast<std::size_t>(-w.at) : static_cast<std::size_t>(w.at)] ^= 0x04;
        else
            bytes.resize(w.cut == "half" ? bytes.size() / 2 : 0);
        write_file(file, bytes);
        CHECK_THROWS_WITH(storage({elsewhere.path()}, appending_rules()),
                          Catch::Contains(w.part == ".sst" ? file : elsewhere.path() + "/rows") &&
                              Catch::Contains(w.part == ".sst" ? ".sst"
                                              : w.cut.empty()  ? w.part
                                                               : "CURRENT"));
        for (const bool repair : {true, false}) {
            storage store({elsewhere.path(), storage::sync::commit, repair}, appending_rules());
            const std::string k = store.get(table::audience, "k").value_or("");
            const auto pages = rows_of(store, table::pages).size();
            if (w.part == ".sst") {
                CHECK(k == expected);
                CHECK(pages < 400);
            } else { // without a list of files the last of the log may be lost, but nothing is there twice
                CHECK(expected.starts_with(k));
                CHECK(k.size() >= expected.size() / 2);
            }
            CHECK(pages >= 160);
            merge(store, "other", "x");
        }
        CHECK(storage({elsewhere.path()}, appending_rules()).get(table::audience, "other") == "xx");
    }
    std::filesystem::remove(place.path() + "/rows/CURRENT");
    CHECK_THROWS_WITH(storage({place.path()}, appending_rules()),
                      Catch::StartsWith(place.path() + "/rows/CURRENT is missing"));
}

TEST_CASE("To repair what is sound changes nothing") {
    const directory place;
    std::string expected;
    for (int run = 0; run < 3; ++run) {
        storage store({place.path(), storage::sync::commit, true}, appending_rules());
        CHECK(store.get(table::audience, "k").value_or("") == expected);
        for (int i = 0; i < 50; ++i) REQUIRE(commit(store, expected, noise(200'000)));
    }
    storage store({place.path(), storage::sync::commit, true}, appending_rules());
    CHECK(store.get(table::audience, "k") == expected);
    CHECK(rows_of(store, table::pages).size() == 100);
}

TEST_CASE("A full disk refuses commits and nothing else, and when there is room again they go on") {
    const small_disk disk(std::size_t{160} << 20);
    if (!disk.mounted()) {
        WARN("skipped: no filesystem can be mounted here");
        return;
    }
    const std::string block = noise(std::size_t{64} << 10);
    const std::string place = disk.path() + "/data";
    std::string expected;
    for (const auto when : {storage::sync::commit, storage::sync::async}) {
        storage store({place, when}, appending_rules());
        for (int round = 0; round < 4; ++round) {
            for (int i = 0; i < 20; ++i) REQUIRE(commit(store, expected, block));
            disk.fill(static_cast<std::size_t>(round) * 50'000);
            int more = 0;
            while (commit(store, expected, block)) REQUIRE(++more < 1000);
            CHECK_FALSE(store.now().writable);
            for (int i = 0; i < 3; ++i) CHECK_FALSE(commit(store, expected, block));
            CHECK(store.get(table::audience, "k") == expected);
            CHECK(rows_of(store, table::pages).size() == (std::min)(expected.size(), std::size_t{100}));
            CHECK(after_crash(place, when) == expected);
            disk.empty();
            CHECK(eventually([&] { return store.now().writable; }));
            REQUIRE(commit(store, expected, block));
            CHECK(store.get(table::audience, "k") == expected);
        }
    }
    CHECK(storage({place}, appending_rules()).get(table::audience, "k") == expected);
}

TEST_CASE("What was written and could not be synced is not there, not after a crash either") {
    const directory place;
    std::string expected;
    {
        storage store({place.path()}, appending_rules());
        for (int round = 0; round < 3; ++round) {
            for (int i = 0; i < 5; ++i) REQUIRE(commit(store, expected, "small"));
            broken_disk = true;
            for (int i = 0; i < 3; ++i) CHECK_FALSE(commit(store, expected, "small"));
            CHECK(store.get(table::audience, "k") == expected);
            CHECK_FALSE(store.now().writable);
            broken_disk = false;
            CHECK(after_crash(place.path(), storage::sync::commit) == expected);
            CHECK(eventually([&] { return store.now().writable; }));
            REQUIRE(commit(store, expected, "small"));
            CHECK(store.get(table::audience, "k") == expected);
        }
    }
    CHECK(storage({place.path()}, appending_rules()).get(table::audience, "k") == expected);
}

TEST_CASE("A sync that fails after the acknowledgement ends writing until the disk works again") {
    const directory place;
    storage store({place.path(), storage::sync::async}, appending_rules());
    merge(store, "k", "x");
    broken_disk = true;
    CHECK(eventually([&] {
        try {
            merge(store, "other", "x");
        } catch (const storage_error&) {
        }
        return !store.now().writable;
    }));
    CHECK(store.get(table::audience, "k") == "x");
    broken_disk = false;
    CHECK(eventually([&] { return store.now().writable; }));
    merge(store, "k", "y");
    CHECK(store.get(table::audience, "k") == "xy");
}

TEST_CASE("Reads that are under way keep the store from being opened anew, and are not disturbed by it") {
    const directory place;
    storage store({place.path()}, appending_rules());
    for (int i = 0; i < 10; ++i) merge(store, "k" + std::to_string(i), "x");
    broken_disk = true;
    CHECK_THROWS_AS(merge(store, "k", "x"), storage_error);
    broken_disk = false;
    int seen = 0;
    store.scan(table::audience, {}, {}, [&](std::string_view key, std::string_view) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        CHECK_FALSE(store.now().writable);
        CHECK(store.get(table::audience, key) == "x");
        ++seen;
        return true;
    });
    CHECK(seen == 10);
    CHECK(eventually([&] { return store.now().writable; }));
}
