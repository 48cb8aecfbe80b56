#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace server_test {

/// A child process with its output caught: the server unless it is told otherwise, which without a flag or variable
/// that says otherwise keeps nothing on disk.
class process {
public:
    explicit process(std::vector<std::string> arguments, const std::vector<std::string>& environment = {},
                     const std::string& program = QSKETCH_SERVER_PROGRAM) {
        std::array<int, 2> out{};
        if (::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe");
        out_ = out[0];
        errors_ = ::memfd_create("errors", MFD_CLOEXEC);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        ::posix_spawn_file_actions_adddup2(&actions, errors_, 2);
        arguments.insert(arguments.begin(), program);
        std::vector<char*> argv;
        for (std::string& a : arguments) argv.push_back(a.data());
        argv.push_back(nullptr);
        std::vector<std::string> variables = environment;
        if (std::none_of(variables.begin(), variables.end(),
                         [](const std::string& v) { return v.starts_with("QSKETCH_DURABILITY="); }))
            variables.emplace_back("QSKETCH_DURABILITY=none");
        // Where sanitizers report to is the business of who runs the tests.
        for (const char* name : {"ASAN_OPTIONS", "TSAN_OPTIONS"})
            if (const char* const value = std::getenv(name)) variables.push_back(std::string(name) + '=' + value);
        std::vector<char*> envp;
        for (std::string& v : variables) envp.push_back(v.data());
        envp.push_back(nullptr);
        const int failed = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), envp.data());
        ::posix_spawn_file_actions_destroy(&actions);
        ::close(out[1]);
        if (failed != 0) throw std::runtime_error("cannot start " + program);
    }
    ~process() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::close(out_);
        ::close(errors_);
    }
    process(const process&) = delete;
    process& operator=(const process&) = delete;

    /// The next line on stdout; empty if none comes within a minute or ever.
    std::string line() {
        std::string text;
        for (pollfd ready{out_, POLLIN, 0}; ::poll(&ready, 1, 60'000) == 1;) {
            char c = 0;
            if (::read(out_, &c, 1) != 1 || c == '\n') break;
            text += c;
        }
        return text;
    }

    /// Everything on stderr so far.
    [[nodiscard]] std::string errors() const {
        std::string text;
        std::array<char, 4096> buffer{};
        for (ssize_t n = 0; (n = ::pread(errors_, buffer.data(), buffer.size(), static_cast<off_t>(text.size()))) > 0;)
            text.append(buffer.data(), static_cast<std::size_t>(n));
        return text;
    }

    void signal(int number) const { ::kill(pid_, number); }

    /// The exit status, or nothing if the process did not exit by itself within the time.
    std::optional<int> wait(std::chrono::milliseconds patience) {
        for (const auto end = std::chrono::steady_clock::now() + patience; std::chrono::steady_clock::now() < end;) {
            int status = 0;
            if (::waitpid(pid_, &status, WNOHANG) == pid_) {
                pid_ = -1;
                if (!WIFEXITED(status)) return {};
                return WEXITSTATUS(status);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return {};
    }

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// A figure of /proc/…/status, such as VmHWM, the most memory that there ever was.
    [[nodiscard]] long kib(const std::string& figure) const {
        std::ifstream in("/proc/" + std::to_string(pid_) + "/status");
        std::string word;
        while (in >> word && word != figure + ":") {
        }
        long found = -1;
        in >> found;
        return found;
    }

private:
    pid_t pid_ = -1;
    int out_ = -1;
    int errors_ = -1;
};

/// A server that serves, on a port of its own.
class server : public process {
public:
    explicit server(std::vector<std::string> arguments = {}, const std::vector<std::string>& environment = {})
        : process(with_any_port(std::move(arguments)), environment) {
        const std::string first = line();
        const std::string expected = "listening on http://127.0.0.1:";
        if (first.rfind(expected, 0) != 0) throw std::runtime_error("the server says: " + first + errors());
        port_ = static_cast<std::uint16_t>(std::stoi(first.substr(expected.size())));
    }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }

private:
    static std::vector<std::string> with_any_port(std::vector<std::string> arguments) {
        arguments.insert(arguments.end(), {"--port", "0"});
        return arguments;
    }
    std::uint16_t port_ = 0;
};

} // namespace server_test
