#include "application.hpp"
#include "demo.hpp"
#include "domain/audience.hpp"
#include "domain/series.hpp"
#include "http/answer.hpp"
#include "http/server.hpp"
#include "options.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

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

/// A key for this process only: what it hashes cannot be looked up by anybody who has not been in it.
qsketch::sip_hash random_key() {
    std::array<std::byte, 16> key{};
    if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size()))
        throw std::runtime_error("the system has no random numbers");
    return qsketch::sip_hash(key);
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

/// Makes the directory if need be. Throws unless files can be made in it, found out by making one: permissions alone
/// do not tell.
void make_data_dir(const std::string& path) {
    const auto fail = [&](const std::string& why) {
        throw std::runtime_error("--data-dir=" + path + " must be a directory to write to: " + why);
    };
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) fail(error.message());
    std::string probe = (std::filesystem::path(path) / ".qsketch-XXXXXX").string();
    const int file = ::mkstemp(probe.data());
    if (file < 0) fail(std::error_code(errno, std::generic_category()).message());
    ::close(file);
    ::unlink(probe.c_str());
}

int serve(const options& opts, const sigset_t& end_signals) {
    using namespace std::chrono_literals;
    auto views_kept = std::make_shared<traffic_store::horizons>();
    std::array<table_rules, table_count> rules;
    traffic_store::add_rules(rules, views_kept);
    auto rows = std::make_unique<storage>(storage::settings{opts.data_dir, storage::sync::none}, rules);
    storage& r = *rows;
    application app{opts,
                    [] { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); },
                    std::move(rows),
                    std::make_unique<memory_audience>(random_key()),
                    std::make_unique<memory_series>(opts.window_retention, opts.max_series),
                    std::make_unique<traffic_store>(r, views_kept, opts.window_retention, window_clock::now())};
    responder answers(app);
    gate doors({opts.threads, connections_within_limits(opts.max_connections), opts.max_body},
               [&](exchange& x) { return answers.respond(x); });
    const std::string url = doors.bind(opts.host, opts.port, opts.insecure);
    if (!opts.data_dir.empty()) make_data_dir(opts.data_dir);
    for (const std::string& name : opts.unknown_environment)
        spdlog::warn("{} is in the environment, but there is no such option", name);
    doors.start();
    std::printf("listening on %s\n", url.c_str());
    std::fflush(stdout);
    spdlog::info("listening on {}, {} threads, state in memory only", url, opts.threads);
    std::optional<demo> load;
    if (opts.demo) load.emplace(app);
    constexpr timespec pause{0, 250'000'000};
    int signal = -1;
    for (auto next_expiry = std::chrono::steady_clock::now() + 10s; signal < 0;) {
        signal = ::sigtimedwait(&end_signals, nullptr, &pause);
        doors.sweep();
        if (std::chrono::steady_clock::now() < next_expiry) continue;
        app.expire();
        next_expiry = std::chrono::steady_clock::now() + 10s;
    }
    spdlog::info("{}: finishing the requests of {} connections", signal == SIGTERM ? "SIGTERM" : "SIGINT",
                 doors.connections());
    app.draining = true;
    load.reset();
    doors.stop(3s);
    spdlog::info("done");
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    // Before any thread is there to inherit another mask: the signals are for sigtimedwait alone.
    sigset_t end_signals;
    sigemptyset(&end_signals);
    sigaddset(&end_signals, SIGTERM);
    sigaddset(&end_signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end_signals, nullptr);
    try {
        const auto opts = parse_options(argc, argv);
        if (!opts) return 0;
        log_to_stderr(opts->logs);
        return serve(*opts, end_signals);
    } catch (const std::exception& e) {
        std::fprintf(stderr, "qsketch-server: %s\n", e.what());
        return 2;
    }
}
