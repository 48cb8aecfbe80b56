#pragma once

#include "domain/instant.hpp"
#include "storage/storage.hpp"

#include "http/rate_limit.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace qsketch_server {

/// A flag that is unknown, or broken there or in the environment, or asks for what this build has not. what() is one
/// line.
class bad_option : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

enum class log_format { text, json };

struct options {
    std::string host;
    std::uint16_t port = 0;
    std::string data_dir;
    storage::sync durability = storage::sync::commit;
    bool repair = false;
    std::string node_id;
    std::chrono::milliseconds slice{};
    instant first_slice{};
    std::chrono::milliseconds retention{};
    std::chrono::seconds window_retention{};
    std::size_t threads = 0;
    std::size_t max_connections = 0;
    std::size_t max_body = 0;
    std::size_t max_series = 0;
    std::size_t series_memory = 0;
    bool insecure = false;
    std::string auth_tokens_file;             ///< Empty if it is not given.
    std::string auth_tokens;                  ///< The lines themselves, from QSKETCH_AUTH_TOKENS.
    std::optional<request_limits> rate_limit; ///< Nothing: what fits the address listened on.
    bool demo = false;
    log_format logs = log_format::text;
    bool log_requests = false;
    std::vector<std::string> unknown_environment; ///< Names that look like ours and are none; worth a warning.
};

[[nodiscard]] std::string_view durability_name(storage::sync durability) noexcept;

/// Flags win over the environment, which wins over the defaults. Nothing if --help or --version was answered, on
/// stdout. Throws bad_option.
[[nodiscard]] std::optional<options> parse_options(int argc, const char* const* argv);

} // namespace qsketch_server
