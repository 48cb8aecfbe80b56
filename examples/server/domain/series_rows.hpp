#pragma once

#include "domain/sample_records.hpp"
#include "storage/storage.hpp"
#include "unhurried.hpp"

#include <qsketch/exp_window.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// The clock of a series' window: whole seconds, of which the window is always told.
struct event_clock {
    using duration = std::chrono::seconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::sys_seconds;
    static constexpr bool is_steady = false;
    static time_point now() { return std::chrono::floor<duration>(std::chrono::system_clock::now()); }
};

template <class Sketch>
using series_window = qsketch::exp_window<Sketch, event_clock>;

/// A series in the store. A row, or an operand on it, is a list of records behind a byte that says so, or the image of
/// a window. Few samples are cheaper as records: to write, and to put behind others.
template <class Sketch>
class series_rows {
public:
    using window = series_window<Sketch>;
    using level = typename window::level;

    /// Rows beyond this become windows: about as many bytes as a window of so many seconds with one sample each.
    static constexpr std::size_t max_record_row = 4096;
    /// So do operands: what the store combines before it folds is all of a busy series for a minute.
    static constexpr std::size_t max_record_operand = 128 * max_record_row;

    explicit series_rows(std::vector<level> levels) : levels_(std::move(levels)) {}

    [[nodiscard]] window empty_window() const { return window(levels_); }

    /// An operand to put records into.
    [[nodiscard]] static std::string empty_operand() { return std::string(1, records_mark); }

    /// Throws qsketch::format_error for anything but a row or an operand.
    [[nodiscard]] window read(std::string_view row) const {
        if (row.empty() || row.front() != records_mark) {
            window stored = window::deserialize(std::as_bytes(std::span(row)));
            // Written when other options asked for another retention.
            return std::ranges::equal(stored.levels(), levels_) ? std::move(stored) : stored.under(levels_);
        }
        window out = empty_window();
        add_records(out, row);
        return out;
    }

    /// Both leave out what would make a sketch count beyond its limit.
    template <class Values>
    static void add(window& to, std::int64_t second, const Values& values) {
        within_limits([&] { to.add_at(std::chrono::sys_seconds(std::chrono::seconds(second)), values); });
    }

    static void add(Sketch& to, std::span<const double> values) {
        within_limits([&] { to.add(values); });
    }

    /// Adds those of a row or an operand that is a list of them. Throws qsketch::format_error.
    static void add_records(window& to, std::string_view row) {
        pauses pause(added_at_a_stretch);
        read_records(
            row.substr(1),
            [&](std::int64_t second, std::span<const double> values) {
                add(to, second, values);
                pause.after(values.size());
            },
            [&](std::int64_t second, std::span<const std::byte> image) {
                add(to, second, Sketch::deserialize(image));
            });
    }

    /// For table_rules.
    [[nodiscard]] std::string fold(std::optional<std::string_view> existing,
                                   std::span<const std::string_view> operands) const {
        std::vector<std::string_view> parts;
        if (existing) parts.push_back(*existing);
        parts.insert(parts.end(), operands.begin(), operands.end());
        return joined(parts, max_record_row);
    }
    [[nodiscard]] std::optional<std::string> combine(std::span<const std::string_view> operands) const {
        return joined(operands, max_record_operand);
    }

private:
    static constexpr std::size_t added_at_a_stretch = 2048;
    static constexpr char records_mark = 'r'; // images begin with a Q

    /// In memory as in the store: else no row with a sketch beyond its limit could be read.
    template <class Change>
    static void within_limits(Change change) {
        try {
            change();
        } catch (const qsketch::incompatible_error&) {
        }
    }

    [[nodiscard]] std::string joined(std::span<const std::string_view> parts, std::size_t max_records) const {
        std::size_t size = 1;
        bool records = true;
        for (const std::string_view part : parts) {
            records = records && part.starts_with(records_mark);
            size += part.size() - 1;
        }
        if (records && size <= max_records) {
            std::string out = empty_operand();
            out.reserve(size);
            for (const std::string_view part : parts) out.append(part.substr(1));
            return out;
        }
        window all = read(parts.front());
        for (const std::string_view part : parts.subspan(1)) {
            if (part.starts_with(records_mark)) {
                add_records(all, part);
            } else {
                const window other = read(part); // of the same levels
                within_limits([&] { all.merge(other); });
            }
        }
        const auto image = all.serialize();
        return {reinterpret_cast<const char*>(image.data()), image.size()};
    }

    std::vector<level> levels_;
};

} // namespace qsketch_server
