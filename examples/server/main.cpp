#include "application.hpp"
#include "demo.hpp"
#include "http/answer.hpp"
#include "http/server.hpp"
#include "options.hpp"
#include "storage/key_file.hpp"
#include "storage/storage.hpp"
#include "unhurried.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <jemalloc/jemalloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

/// What many large requests took goes back to the system a second after the last of them. Huge pages, which a system
/// may give to all programs, would make memory of what is only reserved.
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,thp:never";

namespace {

using namespace qsketch_server;

/// A message as a JSON string.
class json_message final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& line, const std::tm&, spdlog::memory_buf_t& out) override {
        const std::string text = json_string({line.payload.data(), line.payload.size()});
        out.append(text.data(), text.data() + text.size());
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<json_message>(); }
};

void log_to_stderr(log_format format) {
    auto pattern = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    pattern->add_flag<json_message>('*').set_pattern(
        format == log_format::json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%*})"
                                   : "%Y-%m-%dT%H:%M:%S.%eZ %l %v");
    auto log = std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    log->set_formatter(std::move(pattern));
    log->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(log));
}

/// As many descriptors as the system allows, and no more connections than those; some are for other uses.
std::size_t connections_within_limits(std::size_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    constexpr std::size_t other_uses = 192;
    return (std::min)(wanted, limit.rlim_cur > 2 * other_uses ? limit.rlim_cur - other_uses : other_uses);
}

void let_in(access_control& access, const options& opts) {
    try {
        if (!opts.auth_tokens_file.empty()) access.use_file(opts.auth_tokens_file);
        if (!opts.auth_tokens.empty()) access.use_lines(opts.auth_tokens);
    } catch (const std::exception& e) {
        throw std::runtime_error((opts.auth_tokens.empty() ? "--auth-tokens-file: " : "QSKETCH_AUTH_TOKENS: ") +
                                 std::string(e.what()));
    }
}

/// A file that cannot be used changes nothing.
void reload_tokens(access_control& access, bool asked) {
    try {
        if (access.reload(asked)) spdlog::info("--auth-tokens-file read again: {} tokens", access.current()->size());
    } catch (const std::exception& e) {
        spdlog::error("the tokens stay as they were; --auth-tokens-file: {}", e.what());
    }
}

/// Whatever happens, no request is worked on afterwards.
struct closing_time {
    explicit closing_time(gate& g) : doors(g) {}
    ~closing_time() { doors.stop({}); }
    closing_time(const closing_time&) = delete;
    closing_time& operator=(const closing_time&) = delete;
    gate& doors;
};

int serve(const options& opts, const sigset_t& signals) {
    using namespace std::chrono_literals;
    const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
    // Two large requests for each processor, as one may wait for the disk: more would push each other out of its
    // caches.
    const gate_limits room{opts.threads, 2 * cores, (std::min)(opts.threads, cores),
                           connections_within_limits(opts.max_connections), opts.max_body};
    std::optional<responder> answers; // there before the doors open
    gate doors(
        room, [&](exchange& x) { return answers->respond(x); },
        [&](const exchange& x) { return answers->wants_body_of(x); });
    application app(
        opts, [] { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); },
        [&] { return doors.has_unserved(); });
    answers.emplace(app);
    const closing_time at_last(doors); // before the application goes
    app.connections = [&] { return doors.figures(); };
    let_in(app.access, opts);
    const auto [fd, url, loopback] = doors.bind(opts.host, opts.port, opts.insecure || app.access.current());
    const request_limits limits = opts.rate_limit.value_or(loopback ? request_limits{} : request_limits{1000, 5000});
    if (limits != request_limits{})
        app.limiter = std::make_unique<rate_limiter>(limits, qsketch::sip_hash(random_key()));
    for (const std::string& name : opts.unknown_environment)
        spdlog::warn("{} is in the environment, but there is no such option", name);
    doors.start();
    std::printf("listening on %s\n", url.c_str());
    std::fflush(stdout);
    if (opts.durability == storage::sync::none)
        spdlog::info("listening on {}, {} threads, state in memory only", url, opts.threads);
    else
        spdlog::info("listening on {}, {} threads, data in {}", url, opts.threads, opts.data_dir);
    std::optional<demo> load;
    if (opts.demo) load.emplace(app);
    constexpr timespec pause{0, 250'000'000};
    int signal = -1;
    for (auto next_expiry = std::chrono::steady_clock::now() + 10s; signal < 0;) {
        signal = ::sigtimedwait(&signals, nullptr, &pause);
        reload_tokens(app.access, signal == SIGHUP);
        if (signal == SIGHUP) signal = -1;
        doors.sweep();
        unhurried([&] { app.trim(); }, [&] { return app.is_wanted(); });
        if (std::chrono::steady_clock::now() < next_expiry) continue;
        app.expire();
        next_expiry = std::chrono::steady_clock::now() + 10s;
    }
    spdlog::info("{}: finishing the requests of {} connections", signal == SIGTERM ? "SIGTERM" : "SIGINT",
                 doors.figures().open);
    app.draining = true;
    load.reset();
    doors.stop(3s);
    spdlog::info("done");
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    try {
        const auto opts = parse_options(argc, argv);
        if (!opts) return 0;
        // Before any thread is there to inherit another mask: the signals are for sigtimedwait alone.
        sigset_t signals;
        sigemptyset(&signals);
        for (const int number : {SIGTERM, SIGINT, SIGHUP})
            if (number != SIGHUP || !opts->auth_tokens_file.empty()) sigaddset(&signals, number);
        pthread_sigmask(SIG_BLOCK, &signals, nullptr);
        log_to_stderr(opts->logs);
        return serve(*opts, signals);
    } catch (const storage_error& e) {
        std::fprintf(stderr, "qsketch-server: --data-dir: %s\n", e.what());
        return 2;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "qsketch-server: %s\n", e.what());
        return 2;
    }
}
