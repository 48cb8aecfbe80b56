#include "http/access.hpp"

#include "domain/text.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace qsketch_server {
namespace {

constexpr std::string_view blanks = " \t\r";
constexpr std::size_t max_name_bytes = 64;
constexpr std::array<scope, 3> grantable = {scope::read, scope::write, scope::admin};

[[nodiscard]] constexpr unsigned bit(scope s) noexcept { return 1U << static_cast<unsigned>(s); }

/// Takes what comes before the next of `separators` out of `text`; empty only at the end.
[[nodiscard]] std::string_view next_of(std::string_view& text, std::string_view separators) {
    text.remove_prefix((std::min)(text.find_first_not_of(separators), text.size()));
    const std::string_view found = text.substr(0, text.find_first_of(separators));
    text.remove_prefix(found.size());
    return found;
}

[[nodiscard]] unsigned scopes_of(std::string_view list) {
    unsigned found = 0;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view word = next_of(rest, ",");
        const auto known =
            std::find_if(grantable.begin(), grantable.end(), [&](scope s) { return name_of(s) == word; });
        if (known == grantable.end())
            throw std::invalid_argument("scopes must be of read, write and admin, got " + in_quotes(list));
        found |= bit(*known);
    }
    return found;
}

/// The token of "Bearer <token>", or empty.
[[nodiscard]] std::string_view bearer(const std::optional<std::string>& authorization) noexcept {
    constexpr std::string_view scheme = "bearer";
    std::string_view text = authorization ? std::string_view(*authorization) : std::string_view();
    const bool named =
        text.size() > scheme.size() && text[scheme.size()] == ' ' &&
        std::equal(scheme.begin(), scheme.end(), text.begin(), [](char a, char b) { return a == (b | 0x20); });
    if (!named) return {};
    text.remove_prefix(scheme.size());
    text.remove_prefix((std::min)(text.find_first_not_of(' '), text.size()));
    return text;
}

} // namespace

std::string_view name_of(scope s) noexcept {
    switch (s) {
    case scope::open:
        return "open";
    case scope::any:
        return "any";
    case scope::read:
        return "read";
    case scope::write:
        return "write";
    default:
        return "admin";
    }
}

token_list::token_list(std::string_view text, std::string_view line_ends) {
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t end = (std::min)(text.find_first_of(line_ends), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix((std::min)(end + 1, text.size()));
        line = line.substr(0, line.find('#'));
        if (line.find_first_not_of(blanks) == line.npos) continue;
        try {
            tokens_.push_back(parsed(line));
            if (tokens_.size() > max_tokens)
                throw std::invalid_argument(fmt::format("there must be at most {} tokens", max_tokens));
            if (std::any_of(tokens_.begin(), tokens_.end() - 1,
                            [&](const token& t) { return t.hash == tokens_.back().hash; }))
                throw std::invalid_argument("every token must be there once, and this one was there before");
        } catch (const std::invalid_argument& e) {
            throw std::invalid_argument(fmt::format("line {}: {}", number, e.what()));
        }
    }
    if (tokens_.empty()) throw std::invalid_argument("there must be a token");
}

token_list::token token_list::parsed(std::string_view line) {
    const std::string_view name = next_of(line, blanks);
    if (name.size() > max_name_bytes || name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                               "0123456789_.-") != name.npos)
        throw std::invalid_argument(fmt::format("a name must be 1 to {} letters, digits, '_', '.' or '-', got {}",
                                                max_name_bytes, in_quotes(name)));
    token out{{}, std::string(name), scopes_of(next_of(line, blanks)), {}};
    const std::string_view hash = next_of(line, blanks);
    // A token put here by mistake must not end up in a log, so its text is not shown.
    if (hash.size() != 2 * out.hash.size() || hash.find_first_not_of("0123456789abcdefABCDEF") != hash.npos)
        throw std::invalid_argument(fmt::format(
            "name and scopes must be followed by the SHA-256 of the token, 64 hexadecimal digits, got {} bytes",
            hash.size()));
    for (std::size_t i = 0; i < out.hash.size(); ++i)
        std::from_chars(hash.data() + 2 * i, hash.data() + 2 * i + 2, out.hash[i], 16);
    if (const std::string_view ends = next_of(line, blanks); !ends.empty()) {
        out.ends = parse_instant(ends);
        if (!out.ends) throw std::invalid_argument(fmt::format("its end {}, got {}", instant_rule, in_quotes(ends)));
    }
    if (line.find_first_not_of(blanks) != line.npos)
        throw std::invalid_argument("there must be nothing behind the end of the token, got " + in_quotes(line));
    return out;
}

token_list::digest token_list::sha256(std::string_view text) {
    digest out;
    if (::EVP_Digest(text.data(), text.size(), out.data(), nullptr, ::EVP_sha256(), nullptr) != 1)
        throw std::runtime_error("SHA-256 is not to be had");
    return out;
}

token_list::finding token_list::find(const std::optional<std::string>& authorization, scope needed, instant now) const {
    const std::string_view sent = bearer(authorization);
    if (sent.empty()) return {"a token is needed: Authorization: Bearer <token>", {}, {}};
    const digest hash = sha256(sent);
    const token* found = nullptr;
    for (const token& t : tokens_)
        if (::CRYPTO_memcmp(hash.data(), t.hash.data(), hash.size()) == 0) found = &t;
    if (found == nullptr) return {"the token is not known", "invalid_token", {}};
    if (found->ends && *found->ends <= now) return {"the token has expired", "invalid_token", {}};
    if (needed != scope::any && (found->scopes & bit(needed)) == 0)
        return {"the token is not good for this", "insufficient_scope", found->name};
    return {{}, {}, found->name};
}

access_control::file_state access_control::state_of(const std::string& path) noexcept {
    struct ::stat s {};
    if (::stat(path.c_str(), &s) != 0) return {};
    return {s.st_ino, s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec};
}

void access_control::use_file(const std::string& path) {
    path_ = path;
    reload(true);
}

bool access_control::reload(bool always) {
    if (path_.empty()) return false;
    const file_state now = state_of(path_);
    if (now == seen_ && !always) return false;
    seen_ = now;
    std::ifstream in(path_, std::ios::binary);
    if (!in) throw std::runtime_error(path_ + ": " + std::generic_category().message(errno));
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    try {
        use(std::make_shared<const token_list>(text));
    } catch (const std::invalid_argument& e) {
        throw std::invalid_argument(path_ + ": " + e.what());
    }
    return true;
}

} // namespace qsketch_server
