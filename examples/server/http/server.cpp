#include "http/server.hpp"

#include "application.hpp"
#include "http/dispatch.hpp"
#include "routes.hpp"

#include <fmt/format.h>
#include <httplib.h>
#include <spdlog/spdlog.h>

#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

namespace qsketch_server {
namespace {

constexpr std::size_t max_id_bytes = 128;

/// The client's request id, if it is one that may safely be repeated in headers and logs; else a new one.
[[nodiscard]] std::string request_id(std::string_view sent) {
    const bool sane = !sent.empty() && sent.size() <= max_id_bytes && std::all_of(sent.begin(), sent.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
               c == '.' || c == ':';
    });
    if (sane) return std::string(sent);
    static const std::uint32_t process = [] {
        std::uint32_t bits = 0;
        return ::getrandom(&bits, sizeof bits, 0) == sizeof bits ? bits : 0;
    }();
    static std::atomic<std::uint64_t> count = 0;
    return fmt::format("{:08x}-{:x}", process, ++count);
}

/// The value of a field, if it was sent, in lower case.
[[nodiscard]] std::string lower(std::optional<std::string>& field) {
    if (!field) return {};
    std::transform(field->begin(), field->end(), field->begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return *std::move(field);
}

[[nodiscard]] std::string media_type(std::string value) {
    value.resize((std::min)(value.find(';'), value.size()));
    while (!value.empty() && value.back() == ' ') value.pop_back();
    return value;
}

/// The head goes in, the answer comes out. Some of the members are virtual only in some versions of cpp-httplib,
/// so none says override.
class memory_stream final : public httplib::Stream {
public:
    explicit memory_stream(std::string head) : head_(std::move(head)) {}

    bool is_readable() const { return true; }
    bool is_writable() const { return true; }
    bool wait_readable() const { return true; }
    bool wait_writable() const { return true; }
    ssize_t read(char* out, std::size_t size) {
        const std::size_t n = (std::min)(size, head_.size() - read_);
        std::memcpy(out, head_.data() + read_, n);
        read_ += n;
        return static_cast<ssize_t>(n);
    }
    ssize_t write(const char* bytes, std::size_t size) {
        written.append(bytes, size);
        return static_cast<ssize_t>(size);
    }
    void get_remote_ip_and_port(std::string&, int&) const {}
    void get_local_ip_and_port(std::string&, int&) const {}
    socket_t socket() const { return INVALID_SOCKET; }
    time_t duration() const { return 0; }

    std::string written;

private:
    std::string head_;
    std::size_t read_ = 0;
};

// process_request has gained parameters: 4 until cpp-httplib 0.17, 8 from 0.18, 9 from 0.33. One of these fits.
using setup = std::function<void(httplib::Request&)>;
using process_4 = bool (httplib::Server::*)(httplib::Stream&, bool, bool&, const setup&);
using process_8 = bool (httplib::Server::*)(httplib::Stream&, const std::string&, int, const std::string&, int, bool,
                                            bool&, const setup&);
using process_9 = bool (httplib::Server::*)(httplib::Stream&, const std::string&, int, const std::string&, int, bool,
                                            bool&, const setup&, bool*);

[[maybe_unused]] bool process(httplib::Server& s, process_4 p, httplib::Stream& stream, bool last, bool& closed) {
    return (s.*p)(stream, last, closed, nullptr);
}
[[maybe_unused]] bool process(httplib::Server& s, process_8 p, httplib::Stream& stream, bool last, bool& closed) {
    return (s.*p)(stream, {}, 0, {}, 0, last, closed, nullptr);
}
[[maybe_unused]] bool process(httplib::Server& s, process_9 p, httplib::Stream& stream, bool last, bool& closed) {
    return (s.*p)(stream, {}, 0, {}, 0, last, closed, nullptr, nullptr);
}

// cpp-httplib's handlers see its own request; this is ours, while it is at work on it.
thread_local exchange* current = nullptr;

void set_answer(httplib::Response& out, answer&& a) {
    out.status = a.status;
    for (const auto& [name, value] : a.headers) out.set_header(name, value);
    if (!a.content_type.empty()) {
        out.body = std::move(a.body);
        out.set_header("Content-Type", a.content_type);
    }
}

} // namespace

class responder::engine : public httplib::Server {
public:
    explicit engine(application& app) : app_(app) {
        set_pre_routing_handler([this](const httplib::Request&, httplib::Response& out) {
            handle(out);
            return HandlerResponse::Handled;
        });
        set_post_routing_handler([](const httplib::Request&, httplib::Response& out) {
            // What cpp-httplib adds on its own account, and differently from version to version.
            for (const char* name : {"Accept-Ranges", "Keep-Alive", "Connection"}) out.headers.erase(name);
            out.set_header("Connection", current->keep_alive ? "keep-alive" : "close");
            if (out.status == 204) out.headers.erase("Content-Length");
        });
        // Should cpp-httplib refuse what the gate has let through, the answer has the common form all the same.
        set_error_handler([](const httplib::Request&, httplib::Response& out) {
            if (out.has_header("X-Request-Id")) return;
            out.set_header("X-Request-Id", request_id({}));
            set_answer(out, error_answer(400, "the request is not understood", error_style::envelope));
        });
        set_exception_handler([](const httplib::Request&, httplib::Response& out, const std::exception_ptr&) {
            set_answer(out, error_answer(500, "internal error", error_style::envelope));
        });
    }

    std::string run_on(exchange& x) {
        // What is asked is not cpp-httplib's business: the routes read it from the exchange.
        const bool head_only = !x.refused && x.head.method == "HEAD";
        memory_stream stream(head_only ? "HEAD / HTTP/1.1\r\n\r\n" : "GET / HTTP/1.1\r\n\r\n");
        current = &x;
        bool closed = false;
        const bool done = process(*this, &engine::process_request, stream, !x.keep_alive, closed);
        current = nullptr;
        x.keep_alive = x.keep_alive && done && !closed;
        return std::move(stream.written);
    }

private:
    /// What the exchange asks for, or what is left of it where it comes again.
    [[nodiscard]] request request_of(exchange& x) const {
        if (const auto left = std::static_pointer_cast<request>(std::exchange(x.unfinished, nullptr))) {
            left->body = x.body;
            return std::move(*left);
        }
        request rq;
        rq.route = x.failed;
        rq.id = request_id(x.head.request_id.value_or(""));
        if (x.refused || x.failed) return rq;
        rq.method = x.head.method;
        rq.body = x.body;
        rq.content_type = media_type(lower(x.head.content_type));
        rq.accept = lower(x.head.accept);
        rq.accept_encoding = lower(x.head.accept_encoding);
        rq.content_encoding = lower(x.head.content_encoding);
        rq.authorization = std::move(x.head.authorization);
        rq.idempotency_key = std::move(x.head.idempotency_key);
        rq.peer = x.peer;
        rq.step_aside = x.step_aside;
        rq.later = x.step_aside && !app_.opts.log_requests;
        return rq;
    }

    void handle(httplib::Response& out) {
        exchange& x = *current;
        request rq = request_of(x);
        out.set_header("X-Request-Id", rq.id);
        answer made;
        if (x.refused) {
            made = error_answer(x.refused->status, x.refused->message, error_style_at(path_of(x.head.target)));
        } else if (x.failed) {
            made = exception_answer(std::make_exception_ptr(storage_error("")), rq, routes()[*x.failed].errors);
        } else {
            made = dispatch(app_, rq, x.head.target);
        }
        if (rq.unfinished) {
            x.unfinished = std::make_shared<request>(std::move(rq));
            return;
        }
        if (made.unsaved) {
            answer_later(x, made, rq);
            set_answer(out, std::move(made));
            return;
        }
        const auto took = std::chrono::steady_clock::now() - rq.begin;
        app_.requests.record(rq.route.value_or(routes().size()), made, took);
        set_answer(out, std::move(made));
        if (app_.opts.log_requests) {
            spdlog::info("{} {} {} {} {} us, request {}{}{}", x.peer, rq.method, rq.path, out.status,
                         std::chrono::duration_cast<std::chrono::microseconds>(took).count(), rq.id,
                         rq.client.empty() ? "" : ", client ", rq.client);
        }
    }

    /// Once the changes are durable; if they cannot be, another answer.
    void answer_later(exchange& x, answer& made, const request& rq) {
        answer facts; // for the metrics
        facts.status = made.status;
        x.later = [this, unsaved = std::move(made.unsaved), facts, route = *rq.route, id = rq.id, begin = rq.begin,
                   keep_alive = x.keep_alive](const auto& send) {
            const auto done = [=, this](const std::string& error) {
                const auto took = std::chrono::steady_clock::now() - begin;
                app_.commit_times.record(took);
                if (error.empty()) {
                    app_.requests.record(route, facts, took);
                    return send({});
                }
                exchange failed;
                failed.failed = route;
                failed.keep_alive = keep_alive;
                failed.head.request_id = id;
                send(run_on(failed));
            };
            app_.rows.commit_later(std::move(*unsaved), done);
        };
    }

    application& app_;
};

responder::responder(application& app) : app_(app), engine_(std::make_unique<engine>(app)) {}
responder::~responder() = default;

bool responder::wants_body_of(const exchange& x) const {
    return may_send_body(app_, x.head.method, x.head.target, x.head.authorization);
}

std::string responder::respond(exchange& x) { return engine_->run_on(x); }

} // namespace qsketch_server
