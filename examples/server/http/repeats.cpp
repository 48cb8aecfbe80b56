#include "http/repeats.hpp"

#include "domain/text.hpp"

#include <qsketch/detail/endian.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace qsketch_server {
namespace {

constexpr std::string_view field = "Idempotency-Key";

// A row: when it ends (ms, u64), fingerprint (u64), status (u16, 0 while the answer is not known), length of the
// content type (u16), content type, body. All little-endian.
constexpr std::size_t head_bytes = 20;

template <class Integer>
[[nodiscard]] Integer number_at(std::string_view row, std::size_t at) {
    return qsketch::detail::load_little_endian<Integer>(row.data() + at);
}

template <class Integer>
void put_number(std::string& row, Integer value) {
    std::array<char, sizeof(Integer)> bytes;
    qsketch::detail::store_little_endian(bytes.data(), value);
    row.append(bytes.data(), bytes.size());
}

[[nodiscard]] std::uint64_t millis(instant t) noexcept {
    return static_cast<std::uint64_t>(t.time_since_epoch().count());
}

[[nodiscard]] bool ended(std::string_view row, instant now) {
    return row.size() < head_bytes || number_at<std::uint64_t>(row, 0) <= millis(now);
}

} // namespace

table_rules repeats::rules(wall_clock now) {
    table_rules out;
    out.expired = [now = std::move(now)](std::string_view, std::string_view row) { return ended(row, now()); };
    return out;
}

repeats::turn::turn(repeats& all, std::string_view place, const std::string& key, std::uint64_t fingerprint)
    : all_(all), fingerprint_(fingerprint) {
    const auto visible = [](char c) { return c > ' ' && c < '\x7f'; };
    if (key.empty() || key.size() > max_key_bytes || !std::all_of(key.begin(), key.end(), visible))
        throw invalid_fields(
            problem{std::string(field),
                    fmt::format("must be 1 to {} characters of visible ASCII, got {}", max_key_bytes, in_quotes(key))});
    key_.append(place).append("\n").append(key);
    std::unique_lock lock(all_.mutex_);
    all_.over_.wait(lock, [&] { return all_.under_way_.insert(key_).second; });
    lock.unlock();
    try {
        look_up();
    } catch (...) {
        leave();
        throw;
    }
}

repeats::turn::~turn() { leave(); }

void repeats::turn::leave() noexcept {
    {
        const std::lock_guard lock(all_.mutex_);
        all_.under_way_.erase(key_);
    }
    all_.over_.notify_all();
}

void repeats::turn::look_up() {
    const auto row = all_.rows_.get(table::requests, key_);
    if (!row || ended(*row, all_.now_())) return;
    if (number_at<std::uint64_t>(*row, 8) != fingerprint_)
        throw key_used_before(problem{std::string(field), "has come before with another request"});
    const auto status = number_at<std::uint16_t>(*row, 16);
    known_ = empty_answer(status == 0 ? 200 : status);
    known_->content_type = row->substr(head_bytes, number_at<std::uint16_t>(*row, 18));
    known_->body = row->substr(head_bytes + known_->content_type.size());
    known_->headers.emplace_back("Idempotency-Replayed", "true");
}

std::string repeats::turn::row(const answer* acknowledged) const {
    std::string out;
    put_number(out, millis(all_.now_() + remembered));
    put_number(out, fingerprint_);
    if (acknowledged == nullptr) {
        put_number(out, std::uint32_t{0});
        return out;
    }
    put_number(out, static_cast<std::uint16_t>(acknowledged->status));
    put_number(out, static_cast<std::uint16_t>(acknowledged->content_type.size()));
    out += acknowledged->content_type;
    if (acknowledged->body.size() <= max_body_bytes) out += acknowledged->body;
    return out;
}

void repeats::turn::join(changes& what, const answer* acknowledged) {
    what.put(table::requests, key_, row(acknowledged));
    kept_ = acknowledged != nullptr;
}

void repeats::turn::finish(const answer& acknowledged) {
    if (kept_) return;
    changes what;
    join(what, &acknowledged);
    all_.rows_.commit(std::move(what));
}

} // namespace qsketch_server
