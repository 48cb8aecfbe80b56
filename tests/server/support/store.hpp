#pragma once

#include "storage/storage.hpp"

#include <array>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace server_test {

using qsketch_server::changes;
using qsketch_server::storage;
using qsketch_server::storage_error;
using qsketch_server::table;
using qsketch_server::table_count;
using qsketch_server::table_rules;

using rule_list = std::array<table_rules, table_count>;
using row_list = std::vector<std::pair<std::string, std::string>>;

inline table_rules& of(rule_list& rules, table t) { return rules[static_cast<std::size_t>(t)]; }

/// The table `audience` appends its operands, and stumbles over "bad".
inline rule_list appending_rules() {
    rule_list out;
    of(out, table::audience).fold = [](std::optional<std::string_view> existing,
                                       std::span<const std::string_view> operands) {
        std::string row(existing.value_or(""));
        for (const std::string_view o : operands) {
            if (o == "bad") throw std::runtime_error("a bad operand");
            row += o;
        }
        return row;
    };
    return out;
}

inline row_list rows_of(const storage& store, table where, std::string_view from = {}, std::string_view until = {}) {
    row_list out;
    store.scan(where, from, until, [&](std::string_view key, std::string_view row) {
        out.emplace_back(key, row);
        return true;
    });
    return out;
}

inline void put(storage& store, table where, std::string_view key, std::string_view row) {
    changes c;
    c.put(where, key, row);
    store.commit(std::move(c));
}

inline void merge(storage& store, std::string_view key, std::string_view operand) {
    changes c;
    c.merge(table::audience, key, operand);
    store.commit(std::move(c));
}

/// Bytes that do not compress.
inline std::string noise(std::size_t size, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    std::string out;
    out.reserve(size + 8);
    while (out.size() < size) {
        const std::uint64_t word = random();
        out.append(reinterpret_cast<const char*>(&word), sizeof word);
    }
    out.resize(size);
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

} // namespace server_test
