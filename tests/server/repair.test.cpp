#include "domain/sample_table.hpp"
#include "storage/database.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"
#include "support/store.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace qsketch_server;
using namespace server_test;
using namespace std::chrono_literals;

namespace {

const instant now = *parse_instant("2024-01-20T15:30:00Z");
const auto levels = sample_table::levels(24h);
constexpr std::size_t series = 3000;

rule_list rules() {
    rule_list out;
    of(out, table::samples) = sample_table::rules(levels, [] { return now - 24h; });
    return out;
}

qsketch::tdigest<> digest_of(double value) {
    qsketch::tdigest<> out(sample_sketch::compression);
    out.add(value);
    return out;
}

std::string name(std::size_t i) { return "series " + std::to_string(10'000 + i); }

/// A table that logs all batches, and what it is kept in.
struct opened {
    explicit opened(const std::string& path, bool repair = false)
        : rows({path, storage::sync::commit, repair}, rules()), samples({table::samples,
                                                                         levels,
                                                                         series + 1,
                                                                         std::size_t{1} << 30,
                                                                         {},
                                                                         1,
                                                                         repair ? std::optional(now) : std::nullopt},
                                                                        rows) {}

    /// One sample of each series.
    void add() {
        auto batch = std::make_shared<sample_batch>();
        for (std::size_t i = 0; i < series; ++i) batch->add(i, name(i), now, static_cast<double>(i));
        batch->group_by_series();
        changes c;
        REQUIRE(samples.stage(c, batch).empty());
        rows.commit(std::move(c));
    }
    [[nodiscard]] std::uint64_t count(std::size_t i) {
        const auto found = samples.query(name(i), 1h, now);
        return found ? found->digest.count() : 0;
    }
    [[nodiscard]] std::size_t logged() const { return rows_of(rows, table::samples, "b", "c").size(); }

    storage rows;
    sample_table samples;
};

std::vector<rocksdb::LiveFileMetaData> files_of(const database& db, table t) {
    std::vector<rocksdb::LiveFileMetaData> out;
    db.rows().GetLiveFilesMetaData(&out);
    std::erase_if(out, [&](const auto& file) { return file.column_family_name != database::name(t); });
    return out;
}

/// Puts what is in no file, or in one of level 0, into small files of that level. Returns these by key.
std::vector<rocksdb::LiveFileMetaData> sink(const std::string& path, int level, const rule_list& how = rules(),
                                            table where = table::samples) {
    database::settings s;
    s.path = path + "/rows";
    s.rules = how;
    const database db(s);
    require(db.rows().SetOptions(db.handle(where), {{"disable_auto_compactions", "true"}}));
    require(db.rows().Flush({}, db.handle(where)));
    std::vector<std::string> fresh;
    for (const auto& file : files_of(db, where))
        if (file.level == 0) fresh.push_back(file.name);
    rocksdb::CompactionOptions options;
    options.output_file_size_limit = 2'000;
    if (level > 0) require(db.rows().CompactFiles(options, db.handle(where), fresh, level));
    auto out = files_of(db, where);
    std::erase_if(out, [&](const auto& file) { return file.level != level; });
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.smallestkey < b.smallestkey; });
    return out;
}

void lose(const std::string& path, const rocksdb::LiveFileMetaData& file) {
    REQUIRE(std::filesystem::remove(path + "/rows" + file.name));
}

} // namespace

TEST_CASE("Batches that are back because the file with their removal is lost do not count again") {
    const directory place;
    {
        opened o(place.path());
        o.add(); // of new series: into their rows at once
        REQUIRE(o.logged() == 0);
        o.add();
        REQUIRE(o.logged() == 1);
    }
    sink(place.path(), 6);
    {
        opened o(place.path());
        REQUIRE(o.logged() == 1);
        o.samples.settle();
        REQUIRE(o.logged() == 0);
    }
    const auto count = [&](bool repair) {
        opened o(place.path(), repair);
        std::vector<std::uint64_t> out(series);
        for (std::size_t i = 0; i < series; ++i) out[i] = o.count(i);
        return out;
    };
    std::vector<std::uint64_t> expected(series, 2);

    SECTION("with what else was in the file, which is lost") {
        const auto files = sink(place.path(), 5);
        REQUIRE(files.size() > 2);
        REQUIRE(files[0].smallestkey.front() == 'b');
        lose(place.path(), files[0]);
        for (std::size_t i = 0; i < series; ++i)
            if ("s" + name(i) <= files[0].largestkey) --expected[i];
        REQUIRE(expected.front() == 1);
        REQUIRE(expected.back() == 2);
    }
    SECTION("and later ones do, also under the same number") {
        const auto files = sink(place.path(), 5);
        {
            opened o(place.path());
            o.add();
            REQUIRE(o.logged() == 1);
        }
        lose(place.path(), files[0]);
        for (std::size_t i = 0; i < series; ++i)
            if ("s" + name(i) > files[0].largestkey) ++expected[i];
        REQUIRE(expected.front() == 2);
        REQUIRE(expected.back() == 3);
    }
    SECTION("but do where all of their samples that were elsewhere went with it") {
        const auto files = sink(place.path(), 0);
        REQUIRE(files.size() == 1);
        lose(place.path(), files[0]);
    }
    SECTION("nor do those that were never elsewhere go with a file that had not removed them") {
        const auto files = sink(place.path(), 5);
        {
            opened o(place.path());
            o.add();
        }
        lose(place.path(), files[1]);
        for (std::size_t i = 0; i < series; ++i)
            if ("s" + name(i) < files[1].smallestkey || "s" + name(i) > files[1].largestkey) ++expected[i];
    }
    CHECK(count(true) == expected);
    CHECK(count(false) == expected);
}

TEST_CASE("Names that are lost with a file come back by a repair, for as long as their series may have samples") {
    const directory place;
    const std::string apart = "a series of states alone"; // comes first
    {
        opened o(place.path());
        o.add();
        for (int second = 0; second < 3; ++second) {
            changes c;
            REQUIRE(o.samples.stage_state(c, apart, now - std::chrono::seconds(second), "node", 1, 1, digest_of(7)));
            o.rows.commit(std::move(c));
        }
    }
    const auto names = [](const opened& o) { return o.samples.names("", "", 2 * series).size(); };
    const auto files = sink(place.path(), 6);
    std::size_t lost = 0;
    for (std::size_t i = 0; i < series; ++i) {
        const std::string key = "n" + name(i);
        if (files[0].smallestkey <= key && key <= files[0].largestkey) ++lost;
    }
    REQUIRE(files[0].smallestkey == "f" + apart);
    REQUIRE(files[0].largestkey.front() == 'n');
    REQUIRE(lost > 100);
    lose(place.path(), files[0]);
    {
        opened o(place.path(), true);
        CHECK(names(o) == series + 1);
        for (std::size_t i = 0; i < series; ++i) REQUIRE(o.count(i) == 1);
        CHECK(o.samples.query(apart, 1h, now)->digest.count() == 3);
    }
    opened o(place.path());
    CHECK(names(o) == series + 1);
    changes c;
    REQUIRE(o.samples.stage_erase(c, apart)); // with all that is beside it
    o.samples.stage_expiry(c, now);
    o.rows.commit(std::move(c));
    CHECK(names(o) == series);
    CHECK(rows_of(o.rows, table::samples, "p", "q").empty());
    o.samples.stage_expiry(c = {}, now + 2h);
    o.rows.commit(std::move(c));
    CHECK(names(o) == 0);
    CHECK(rows_of(o.rows, table::samples).empty());
}

TEST_CASE("A repair of what is sound writes no names") {
    const directory place;
    const auto rows = [&](bool repair) {
        opened o(place.path(), repair);
        if (!repair) o.add();
        return rows_of(o.rows, table::samples, "c");
    };
    const auto before = rows(false);
    REQUIRE(before.size() == 2 * series);
    CHECK(rows(true) == before);
}

TEST_CASE("A lost file brings back what it removed, but for temporary rows, and takes no others along") {
    const directory place;
    rule_list how = appending_rules();
    of(how, table::pages).temporary = "b";
    const std::vector<std::string> keys = {"a1", "b1", "b2", "b3", "c1"};
    {
        storage rows({place.path()}, how);
        for (const std::string& key : keys) put(rows, table::pages, key, "row");
    }
    sink(place.path(), 6, how, table::pages);
    const auto remaining = [&](const std::string& first_removed, const std::string& last_removed) {
        {
            storage rows({place.path()}, how);
            changes c;
            for (const std::string& key : keys)
                if (first_removed <= key && key <= last_removed) c.remove(table::pages, key);
            rows.commit(std::move(c));
        }
        const auto files = sink(place.path(), 5, how, table::pages);
        REQUIRE(files.size() == 1);
        lose(place.path(), files[0]);
        std::vector<std::string> out;
        for (const auto& [key, row] : rows_of(storage({place.path(), storage::sync::commit, true}, how), table::pages))
            out.push_back(key);
        return out;
    };
    SECTION("one") { CHECK(remaining("b2", "b2") == std::vector<std::string>{"a1", "b1", "b3", "c1"}); }
    SECTION("several") { CHECK(remaining("a1", "b2") == std::vector<std::string>{"a1", "b3", "c1"}); }
    SECTION("none, where there are no temporary ones") {
        of(how, table::pages).temporary.clear();
        CHECK(remaining("b2", "c1") == keys);
    }
    SECTION("the last") { CHECK(remaining("b3", "c1") == std::vector<std::string>{"a1", "b1", "b2", "c1"}); }
}
