#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace interchange_test {

/// A Redis of our own behind a socket in a directory of our own, without files and without a port.
class redis_server {
public:
    /// Nothing if the program is not installed.
    [[nodiscard]] static std::unique_ptr<redis_server> start() {
        std::unique_ptr<redis_server> made(new redis_server);
        if (!made->spawn()) return nullptr;
        made->connect();
        return made;
    }

    redis_server(const redis_server&) = delete;
    redis_server& operator=(const redis_server&) = delete;

    ~redis_server() {
        if (socket_ >= 0) ::close(socket_);
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    /// The answer: the bytes of a string, the digits of a number, the text of a status. Throws what Redis calls an
    /// error, and std::runtime_error if it does not answer.
    std::string operator()(const std::vector<std::string>& words) {
        std::string request = "*" + std::to_string(words.size()) + "\r\n";
        for (const std::string& word : words) request += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
        for (std::size_t sent = 0; sent < request.size();) {
            const ssize_t n = ::send(socket_, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
            if (n <= 0) throw std::runtime_error("redis does not listen");
            sent += static_cast<std::size_t>(n);
        }
        const std::string head = line();
        const std::string rest = head.substr(1);
        if (head[0] == '-') throw std::runtime_error(rest);
        if (head[0] != '$' || rest == "-1") return rest;
        std::string text = take(std::stoul(rest));
        static_cast<void>(take(2));
        return text;
    }

private:
    redis_server() {
        std::string pattern = (std::filesystem::temp_directory_path() / "qsketch-redis-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a directory");
        directory_ = pattern;
    }

    bool spawn() {
        std::vector<std::string> words{"redis-server", "--port", "0",     "--unixsocket", path(), "--save", "",
                                       "--appendonly", "no",     "--dir", directory_};
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        // One program that goes by what it is called; this name comes without a service, in Debian's redis-tools.
        const int failed = ::posix_spawnp(&pid_, "redis-check-rdb", &actions, nullptr, argv.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (failed == ENOENT) return false;
        if (failed != 0) throw std::runtime_error("cannot start redis-server");
        return true;
    }

    void connect() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path().c_str());
        for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
             std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(10))) {
            socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
            ::close(socket_);
            socket_ = -1;
        }
        throw std::runtime_error("redis-server does not answer");
    }

    [[nodiscard]] std::string path() const { return directory_ + "/socket"; }

    std::string take(std::size_t size) {
        while (received_.size() < size) {
            char buffer[4096];
            const ssize_t n = ::recv(socket_, buffer, sizeof buffer, 0);
            if (n <= 0) throw std::runtime_error("redis does not answer");
            received_.append(buffer, static_cast<std::size_t>(n));
        }
        std::string taken = received_.substr(0, size);
        received_.erase(0, size);
        return taken;
    }

    std::string line() {
        std::string text;
        while (!text.ends_with("\r\n")) text += take(1);
        return text.substr(0, text.size() - 2);
    }

    std::string directory_;
    std::string received_;
    pid_t pid_ = -1;
    int socket_ = -1;
};

} // namespace interchange_test
