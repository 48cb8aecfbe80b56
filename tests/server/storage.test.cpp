#include "storage/storage.hpp"

#include "support/catch.hpp"
#include "support/directory.hpp"

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace qsketch_server;
using server_test::directory;

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
