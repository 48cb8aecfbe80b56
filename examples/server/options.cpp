#include "options.hpp"

#include "domain/text.hpp"

#include <qsketch/version.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace qsketch_server {
namespace {

[[noreturn]] void refuse(std::string_view rule) { throw bad_option(std::string(rule)); }

/// A whole number of `unit`s: "35d" is 35, "d".
[[nodiscard]] std::pair<std::int64_t, std::string_view> number_and_unit(std::string_view text) {
    std::int64_t n = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{}) return {-1, {}};
    return {n, text.substr(static_cast<std::size_t>(end - text.data()))};
}

[[nodiscard]] std::int64_t whole(std::string_view text, std::int64_t from, std::int64_t to) {
    const auto [n, unit] = number_and_unit(text);
    if (!unit.empty() || n < from || n > to) refuse(fmt::format("must be a whole number from {} to {}", from, to));
    return n;
}

[[nodiscard]] std::chrono::seconds duration(std::string_view text, std::chrono::seconds from, std::chrono::seconds to) {
    struct unit_seconds {
        std::string_view unit;
        std::int64_t seconds;
    };
    constexpr std::array<unit_seconds, 4> units = {{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}};
    const auto [n, unit] = number_and_unit(text);
    for (const auto& known : units)
        if (unit == known.unit && n >= 0 && n <= to.count() / known.seconds && n * known.seconds >= from.count())
            return std::chrono::seconds(n * known.seconds);
    refuse(
        fmt::format("must be a whole number with a unit of s, m, h or d, from {}s to {}s", from.count(), to.count()));
}

[[nodiscard]] std::size_t bytes(std::string_view text) {
    struct unit_bytes {
        std::string_view unit;
        std::int64_t bytes;
    };
    constexpr std::array<unit_bytes, 4> units = {{{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}};
    const auto [n, unit] = number_and_unit(text);
    for (const auto& known : units)
        if (unit == known.unit && n > 0 && n <= (std::int64_t{1} << 30) / known.bytes)
            return static_cast<std::size_t>(n * known.bytes);
    refuse("must be a positive number of bytes up to 1GiB, as in 16MiB");
}

[[nodiscard]] bool on_or_off(std::string_view text) {
    if (text == "true" || text == "1") return true;
    if (text == "false" || text == "0") return false;
    refuse("must be true or false");
}

[[nodiscard]] std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

constexpr std::string_view off = "off";
constexpr std::string_view durabilities[] = {"commit", "async", "none"}; // as storage::sync
constexpr std::string_view by_address = "1000,5000; 0 on loopback";

void refuse_unless_off(options&, std::string_view value) {
    if (value != off) refuse("is not available in this build yet");
}

/// One row a flag: the flag, its environment name, --help and its page in the documentation come from here.
struct flag {
    std::string_view name;
    std::string_view fallback; ///< Shown by --help; set() understands it.
    std::string_view help;
    void (*set)(options&, std::string_view);
    bool is_switch = false;

    [[nodiscard]] std::string environment() const {
        std::string out = "QSKETCH_";
        for (const char c : name.substr(2)) out += c == '-' ? '_' : static_cast<char>(c - 'a' + 'A');
        return out;
    }
};

using namespace std::chrono_literals;

constexpr flag flags[] = {
    {"--host", "127.0.0.1", "Address or name to listen on; one that other machines reach needs --insecure",
     [](options& o, std::string_view v) {
         if (v.empty()) refuse("must not be empty");
         o.host = v;
     }},
    {"--port", "8080", "TCP port; 0 picks a free one",
     [](options& o, std::string_view v) { o.port = static_cast<std::uint16_t>(whole(v, 0, 65535)); }},
    {"--grpc-port", off, "Port for gRPC; not available in this build yet", refuse_unless_off},
    {"--data-dir", "./qsketch-data", "Directory for what outlives the process; created if need be",
     [](options& o, std::string_view v) {
         if (v.empty()) refuse("must not be empty");
         o.data_dir = v;
     }},
    {"--durability", "commit",
     "What an answer to a change means: commit (it is on disk), async (it is within 0.1 s), none (it ends with the "
     "process)",
     [](options& o, std::string_view v) {
         const auto known = std::find(std::begin(durabilities), std::end(durabilities), v);
         if (known == std::end(durabilities)) refuse("must be commit, async or none");
         o.durability = static_cast<storage::sync>(known - std::begin(durabilities));
     }},
    {"--repair", "false", "Save what can be saved of a damaged data directory, then serve",
     [](options& o, std::string_view v) { o.repair = on_or_off(v); }, true},
    {"--node-id", "host name", "Name of this node in /analytics/perworker",
     [](options& o, std::string_view v) {
         o.node_id = v == "host name" ? host_name() : std::string(v);
         if (o.node_id.empty() || o.node_id.size() > 128 || !is_utf8(v) || has_control_characters(v) ||
             v.find(',') != v.npos)
             refuse("must be 1 to 128 bytes of UTF-8 without commas and control characters");
     }},
    {"--slice", "1h", "Length of a slice of the audience counts",
     [](options& o, std::string_view v) { o.slice = duration(v, 1s, 24h * 366); }},
    {"--first-slice", "1970-01-01T00:00:00Z", "Start of slice 0",
     [](options& o, std::string_view v) {
         const auto t = parse_instant(v);
         if (!t) refuse(instant_rule);
         // Nanoseconds, in which the clock's own time would be compared, end in the year 2262.
         if (*t > std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()))
             refuse("must not be in the future");
         o.first_slice = *t;
     }},
    {"--retention", "35d", "How long audience counts are kept; older events are refused",
     [](options& o, std::string_view v) { o.retention = duration(v, 1s, 24h * 3660); }},
    {"--window-retention", "24h", "How long samples are kept, and the longest window",
     [](options& o, std::string_view v) { o.window_retention = duration(v, 1s, 24h * 366); }},
    {"--threads", "64", "Requests that may wait for the disk or take long at once; one thread each",
     [](options& o, std::string_view v) { o.threads = static_cast<std::size_t>(whole(v, 1, 1024)); }},
    {"--max-connections", "10000", "Connections held at once; more are turned away with 503",
     [](options& o, std::string_view v) { o.max_connections = static_cast<std::size_t>(whole(v, 1, 1000000)); }},
    {"--max-body", "16MiB", "Largest request body", [](options& o, std::string_view v) { o.max_body = bytes(v); }},
    {"--max-series", "100000", "Sample keys, and series of metrics, held at once; more are refused with 429",
     [](options& o, std::string_view v) { o.max_series = static_cast<std::size_t>(whole(v, 1, 1000000000)); }},
    {"--series-memory", "1GiB",
     "Memory for windows of samples and metrics; beyond it they are read from the data directory",
     [](options& o, std::string_view v) { o.series_memory = bytes(v); }},
    {"--insecure", "false", "Listen where other machines can reach it, though nobody is asked for a token",
     [](options& o, std::string_view v) { o.insecure = on_or_off(v); }, true},
    {"--auth-tokens-file", off,
     "File of the tokens of which clients must have one; or the lines in QSKETCH_AUTH_TOKENS",
     [](options& o, std::string_view v) {
         if (v.empty()) refuse("must not be empty");
         if (v != off) o.auth_tokens_file = v;
     }},
    {"--rate-limit", by_address,
     "Requests a minute of one token or address; a second number after a comma for the endpoints between nodes",
     [](options& o, std::string_view v) {
         if (v == by_address) return;
         const std::size_t comma = (std::min)(v.find(','), v.size());
         const auto of_clients = static_cast<std::uint32_t>(whole(v.substr(0, comma), 0, 100'000));
         o.rate_limit = {of_clients, 5 * of_clients};
         if (comma < v.size()) (*o.rate_limit)[1] = static_cast<std::uint32_t>(whole(v.substr(comma + 1), 0, 500'000));
     }},
    {"--cluster", off, "URL of the cluster to join; not available in this build yet", refuse_unless_off},
    {"--demo", "false", "Feed itself the load of a shop that does not exist, and its last day",
     [](options& o, std::string_view v) { o.demo = on_or_off(v); }, true},
    {"--log-format", "text", "Log lines on stderr: text or json",
     [](options& o, std::string_view v) {
         if (v != "text" && v != "json") refuse("must be text or json");
         o.logs = v == "json" ? log_format::json : log_format::text;
     }},
    {"--log-requests", "false", "One log line a request",
     [](options& o, std::string_view v) { o.log_requests = on_or_off(v); }, true},
};

constexpr const char* tokens_variable = "QSKETCH_AUTH_TOKENS";

/// A misspelt name is a setting that does nothing. But container platforms put names of their own there, such as
/// QSKETCH_SERVICE_HOST, so it is no error.
[[nodiscard]] std::vector<std::string> unknown_environment() {
    std::vector<std::string> out;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::string_view name = text.substr(0, text.find('='));
        if (name.starts_with("QSKETCH_") && name != tokens_variable &&
            std::none_of(std::begin(flags), std::end(flags), [&](const flag& f) { return f.environment() == name; }))
            out.emplace_back(name);
    }
    return out;
}

} // namespace

std::string_view durability_name(storage::sync durability) noexcept {
    return durabilities[static_cast<std::size_t>(durability)];
}

std::optional<options> parse_options(int argc, const char* const* argv) {
    CLI::App app("Audience counts and sliding-window quantiles over HTTP, from mergeable sketches.", "qsketch-server");
    std::array<std::string, std::size(flags)> values;
    for (std::size_t i = 0; i < std::size(flags); ++i) {
        const flag& f = flags[i];
        values[i] = f.fallback;
        const std::string help = fmt::format("{} (default: {})", f.help, f.fallback);
        // As options that may come without a value: a CLI11 flag would read its environment name as a count.
        CLI::Option* option = app.add_option(std::string(f.name), values[i], help);
        option->envname(f.environment())->type_name(f.is_switch ? "" : "VALUE");
        if (f.is_switch) option->expected(0, 1);
    }
    app.set_version_flag("--version", fmt::format("qsketch-server {}.{}.{}", QSKETCH_VERSION_MAJOR,
                                                  QSKETCH_VERSION_MINOR, QSKETCH_VERSION_PATCH));
    // CLI11 would take the next argument for the value.
    for (int i = 1; i < argc; ++i)
        if (const std::string_view text(argv[i]); text.starts_with("--") && text.find('=') == text.size() - 1)
            throw bad_option(fmt::format("{} is given without a value", text));
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& e) { // --help, --version
        app.exit(e);
        return {};
    } catch (const CLI::ParseError& e) {
        std::string line = e.what();
        std::replace(line.begin(), line.end(), '\n', ' ');
        throw bad_option(line);
    }
    options out;
    out.unknown_environment = unknown_environment();
    if (const char* const lines = std::getenv(tokens_variable)) out.auth_tokens = lines;
    for (std::size_t i = 0; i < std::size(flags); ++i) {
        const bool bare_switch =
            flags[i].is_switch && app.get_option(std::string(flags[i].name))->count() > 0 && values[i].empty();
        const std::string value = bare_switch ? "true" : values[i];
        try {
            flags[i].set(out, value);
        } catch (const bad_option& e) {
            const std::string_view rule = e.what();
            if (rule.starts_with("is not available"))
                throw bad_option(bare_switch ? fmt::format("{} {}", flags[i].name, rule)
                                             : fmt::format("{}={} {}", flags[i].name, value, rule));
            throw bad_option(fmt::format("{} {}, got {}", flags[i].name, rule, in_quotes(value)));
        }
    }
    if (!out.auth_tokens.empty() && !out.auth_tokens_file.empty())
        throw bad_option(fmt::format("--auth-tokens-file and {} exclude each other", tokens_variable));
    return out;
}

} // namespace qsketch_server
