#include "http/dispatch.hpp"

#include "application.hpp"
#include "domain/text.hpp"
#include "http/compression.hpp"
#include "http/framing.hpp"
#include "routes.hpp"
#include "unhurried.hpp"

#include <qsketch/hash.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace qsketch_server {
namespace {

constexpr std::size_t quick_body = 16 * 1024;    // bytes; a larger body takes long whatever is done with it
constexpr std::size_t large_body = 128 * 1024;   // takes so long that a thread can be made for it
constexpr std::size_t large_packed = quick_body; // may be that large when it is unpacked
constexpr std::size_t least_packed = 1024;       // bytes of an answer that is worth it

[[nodiscard]] scope scope_of(const route* row) noexcept { return row == nullptr ? scope::any : row->needs; }

/// What is said to whom more than its share is not given; nothing to others.
[[nodiscard]] std::optional<answer> slowed_down(application& app, const request& rq, asker who, error_style style) {
    // No token has a name with an @ in it.
    const std::string key = rq.client.empty() ? "@" + network_of(rq.peer) : rq.client;
    const auto wait = app.limiter->take(who, key, rate_limiter::clock::now());
    if (wait <= wait.zero()) return {};
    const std::uint32_t limit = app.limiter->limit_of(who);
    const instant next = app.now() + std::chrono::ceil<std::chrono::milliseconds>(wait);
    answer out = error_answer(429, "RATE_LIMIT_EXCEEDED", fmt::format("more than {} requests a minute", limit), style,
                              fmt::format(R"({{"limit":{},"window":{},"reset_at":"{}"}})", limit,
                                          rate_limiter::window.count(), iso_time(next)));
    out.headers.emplace_back("Retry-After", fmt::format("{}", std::chrono::ceil<std::chrono::seconds>(wait).count()));
    return out;
}

/// What is said to who may not come in; nothing to others.
[[nodiscard]] std::optional<answer> turned_away(application& app, request& rq, scope needed, asker who,
                                                error_style style) {
    if (needed == scope::open) return {};
    const access_control::tokens tokens = app.access.current();
    token_list::finding found;
    if (tokens) found = tokens->find(rq.authorization, needed, app.now());
    rq.client = found.name;
    if (app.limiter)
        if (auto out = slowed_down(app, rq, who, style)) return out;
    if (found.refusal.empty()) return {};
    const bool known = !found.name.empty();
    answer out = error_answer(known ? 403 : 401, found.refusal, style);
    std::string challenge = R"(Bearer realm="qsketch")";
    if (!found.error.empty())
        challenge += fmt::format(R"(, error="{}", error_description="{}")", found.error, found.refusal);
    if (known) challenge += fmt::format(R"(, scope="{}")", name_of(needed));
    out.headers.emplace_back("WWW-Authenticate", std::move(challenge));
    return out;
}

/// What may be changed twice by mistake.
[[nodiscard]] bool takes_key(const route& r) noexcept {
    return r.needs == scope::write && (r.method == "POST" || r.method == "PUT");
}

[[nodiscard]] std::uint64_t fingerprint_of(const request& rq, std::string_view query) {
    std::uint64_t h = 0;
    for (const std::string_view part :
         {std::string_view(rq.path_rest), query, std::string_view(rq.content_type), rq.body})
        h = qsketch::hash(h)(part);
    return h;
}

[[nodiscard]] answer handled_once(application& app, request& rq, const route& r, std::string_view query) {
    if (!rq.idempotency_key || !takes_key(r)) return r.handler(app, rq);
    if (rq.step_aside) rq.step_aside(load::slow); // the first of two equal requests may be under way
    repeats::turn turn(app.answered, fmt::format("{}\n{} {}", rq.client, r.method, r.pattern), *rq.idempotency_key,
                       fingerprint_of(rq, query));
    if (auto& known = turn.known()) return *std::move(known);
    rq.turn = &turn;
    answer out = r.handler(app, rq);
    rq.turn = nullptr;
    try {
        if (out.status < 300) turn.finish(out);
    } catch (const storage_error&) { // What was changed is kept, and that it came under this key.
    }
    return out;
}

/// Counts a request among the small ones until it is about to wait.
class small_request {
public:
    small_request(std::atomic<std::size_t>& count, request& rq)
        : count_(&count), rq_(rq), step_aside_(std::move(rq.step_aside)) {
        ++*count_;
        rq_.step_aside = [this](load what) {
            leave();
            return go_aside(what);
        };
    }
    ~small_request() {
        leave();
        rq_.step_aside = std::move(step_aside_);
    }
    small_request(const small_request&) = delete;
    small_request& operator=(const small_request&) = delete;

    /// For one that goes on at once, if it may. Counts on, as whoever takes over its lane may be given the core first.
    [[nodiscard]] bool go_aside(load what) const { return !step_aside_ || step_aside_(what); }

private:
    void leave() noexcept {
        if (count_ != nullptr) --*std::exchange(count_, nullptr);
    }

    std::atomic<std::size_t>* count_;
    request& rq_;
    std::function<bool(load)> step_aside_;
};

/// `counted` may be empty.
[[nodiscard]] answer handled_in_time(application& app, request& rq, const route& r, std::string_view query,
                                     std::optional<small_request>& counted) {
    if (rq.body.size() <= large_body) {
        if (!counted) counted.emplace(app.small_requests, rq);
        return handled_once(app, rq, r, query);
    }
    return unhurried([&] { return handled_once(app, rq, r, query); }, [&app] { return app.is_wanted(); });
}

/// Calls the handler, with the body as it was before it was packed.
[[nodiscard]] answer handled(application& app, request& rq, const route& r, std::string_view query) {
    const bool packed = !rq.body.empty() && !rq.content_encoding.empty() && rq.content_encoding != "identity";
    const bool waits = takes_key(r) && (rq.idempotency_key || !rq.later);
    std::optional<small_request> counted;
    if (!packed && rq.body.size() <= large_body) counted.emplace(app.small_requests, rq);
    if (r.takes == pace::slow || packed || rq.body.size() > quick_body || waits) {
        rq.later = false; // a thread of its own may as well wait
        const load what = rq.body.size() > (packed ? large_packed : large_body) ? load::large : load::slow;
        rq.unfinished = counted ? !counted->go_aside(what) : rq.step_aside && !rq.step_aside(what);
        if (rq.unfinished) return {};
    }
    if (!packed) return handled_in_time(app, rq, r, query, counted);
    const auto how = coding_of(rq.content_encoding);
    if (!how) {
        answer out = error_answer(
            415, "a body may be compressed by gzip or deflate, and not by " + in_quotes(rq.content_encoding), r.errors);
        out.headers.emplace_back("Accept-Encoding", "gzip, deflate");
        return out;
    }
    const unpacked_body unpacked(rq.body, *how, {app.opts.max_body, bodies_together(app.opts.max_body)},
                                 app.unpacked_bytes);
    rq.body = unpacked.text();
    return handled_in_time(app, rq, r, query, counted);
}

/// For what is at no row of the table: OPTIONS, another method, another path.
[[nodiscard]] answer unrouted(const request& rq, std::string_view path) {
    const std::string allow = allowed_at(path);
    const error_style style = error_style_at(path);
    if (allow.empty()) return error_answer(404, "there is nothing at " + in_quotes(path), style);
    answer out = rq.method == "OPTIONS"
                     ? empty_answer(204)
                     : error_answer(405, in_quotes(rq.method) + " is not among what is allowed here: " + allow, style);
    out.headers.emplace_back("Allow", allow);
    return out;
}

[[nodiscard]] answer routed(application& app, request& rq, std::string_view query) {
    const std::string path = percent_decoded(rq.path, false);
    const route* const row = row_of(rq.method, path);
    if (row == nullptr) {
        if (auto refusal = turned_away(app, rq, scope::any, asker::client, error_style_at(path)))
            return *std::move(refusal);
        return unrouted(rq, path);
    }
    rq.route = static_cast<std::size_t>(row - routes().data());
    if (auto refusal = turned_away(app, rq, row->needs, row->who, row->errors)) return *std::move(refusal);
    rq.query = parse_query(query);
    rq.path_rest = rest_of(*row, path);
    return handled(app, rq, *row, query);
}

/// Packs what gets much smaller, for those who take it.
void pack(const request& rq, answer& out) {
    if (out.body.size() < least_packed || out.content_type == "application/octet-stream") return;
    out.headers.emplace_back("Vary", "Accept-Encoding");
    if (!takes_gzip(rq.accept_encoding)) return;
    std::string packed = gzipped(out.body);
    if (packed.size() >= out.body.size()) return;
    out.body = std::move(packed);
    out.headers.emplace_back("Content-Encoding", "gzip");
}

} // namespace

std::string_view path_of(std::string_view target) noexcept {
    return target.substr(0, (std::min)(target.find('?'), target.size()));
}

bool may_send_body(const application& app, std::string_view method, std::string_view target,
                   const std::optional<std::string>& authorization) {
    const access_control::tokens tokens = app.access.current();
    if (!tokens) return true;
    const scope needed = scope_of(row_of(method, path_of(target)));
    return needed == scope::open || tokens->find(authorization, needed, app.now()).refusal.empty();
}

answer dispatch(application& app, request& rq, std::string_view target) {
    rq.path = path_of(target);
    try {
        const std::string_view query = target.substr((std::min)(rq.path.size() + 1, target.size()));
        answer out = rq.unfinished ? handled(app, rq, routes()[*rq.route], query) : routed(app, rq, query);
        pack(rq, out);
        return out;
    } catch (...) {
        return exception_answer(std::current_exception(), rq, error_style_at(rq.path));
    }
}

} // namespace qsketch_server
