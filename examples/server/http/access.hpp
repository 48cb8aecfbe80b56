#pragma once

#include "domain/instant.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qsketch_server {

/// What a token has to be good for. `open` asks for no token, `any` for one whatever its scopes.
enum class scope : std::uint8_t { open, any, read, write, admin };

[[nodiscard]] std::string_view name_of(scope s) noexcept;

/// The tokens that are let in: of each the SHA-256, a name, scopes, and perhaps when it ends. Tokens themselves are
/// nowhere kept.
class token_list {
public:
    static constexpr std::size_t max_tokens = 1000;

    /// One token a line: name, scopes separated by commas, 64 hexadecimal digits, and perhaps the time from which on it
    /// counts no more. Fields are separated by spaces or tabs; empty lines and what follows a # mean nothing. Lines of
    /// one name are one client. `line_ends` are the characters that end a line.
    /// Throws std::invalid_argument, naming line, rule and value, and if there is no token at all.
    explicit token_list(std::string_view text, std::string_view line_ends = "\n");

    struct finding {
        /// Empty if the token was let in; else what to tell the client.
        std::string_view refusal;
        /// As in WWW-Authenticate; empty if no token was sent.
        std::string_view error;
        /// Of the token, if it is one of the list and has not ended.
        std::string_view name;
    };

    /// `authorization` is the value of the header, if it was sent. Takes the same time for any two tokens of equal
    /// length that it does not know, whatever they have in common with those it knows.
    [[nodiscard]] finding find(const std::optional<std::string>& authorization, scope needed, instant now) const;

    [[nodiscard]] std::size_t size() const noexcept { return tokens_.size(); }

private:
    using digest = std::array<unsigned char, 32>;
    struct token {
        digest hash;
        std::string name;
        unsigned scopes; // a bit each
        std::optional<instant> ends;
    };

    [[nodiscard]] static digest sha256(std::string_view text);
    [[nodiscard]] static token parsed(std::string_view line);

    std::vector<token> tokens_;
};

/// A token_list that is read again when its file changes.
class access_control {
public:
    using tokens = std::shared_ptr<const token_list>;

    /// Null while everybody is let in. What it points to stays as it is.
    [[nodiscard]] tokens current() const {
        const std::lock_guard lock(mutex_);
        return tokens_;
    }

    /// Lets in whom the lines say; separated by newlines or semicolons. Throws std::invalid_argument.
    void use_lines(std::string_view lines) { use(std::make_shared<const token_list>(lines, "\n;")); }
    /// Throws std::runtime_error if the file cannot be read, std::invalid_argument if it is not well-formed.
    void use_file(const std::string& path);

    /// Reads the file again if it is another one than before, or `always`; whether it did. What it cannot use it throws
    /// as use_file() does, and the tokens stay as they are; it says so once for each state of the file.
    /// To be called from one thread.
    bool reload(bool always);

private:
    /// Enough of a file to tell it from what it was.
    struct file_state {
        std::uint64_t inode = 0;
        std::int64_t size = -1;
        std::int64_t seconds = 0;
        std::int64_t nanoseconds = 0;
        bool operator==(const file_state&) const = default;
    };
    [[nodiscard]] static file_state state_of(const std::string& path) noexcept;

    void use(tokens next) {
        const std::lock_guard lock(mutex_);
        tokens_ = std::move(next);
    }

    std::string path_;
    file_state seen_;
    mutable std::mutex mutex_;
    tokens tokens_;
};

} // namespace qsketch_server
