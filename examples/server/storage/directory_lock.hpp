#pragma once

#include "storage/storage.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace qsketch_server {

/// Makes what has been made, renamed or removed in it outlast a power cut. False if the system refuses.
inline bool sync_directory(const std::filesystem::path& directory) {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool done = fd >= 0 && ::fsync(fd) == 0;
    if (fd >= 0) ::close(fd);
    return done;
}

/// A directory that one server at a time works in, however the one before it ended.
class directory_lock {
public:
    /// Makes the directory if there is none. Throws storage_error, naming it, if that or the lock is refused.
    explicit directory_lock(const std::string& path) {
        std::error_code error;
        if (std::filesystem::create_directories(path, error))
            for (auto at = std::filesystem::absolute(path); at.has_relative_path(); at = at.parent_path())
                sync_directory(at.parent_path());
        if (error) throw storage_error(path + " must be a directory to write to: " + error.message());
        fd_ = ::open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd_ < 0) throw storage_error(path + " must be a directory to write to: " + message_of(errno));
        if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
        const int refused = errno;
        ::close(fd_);
        throw storage_error(path + (refused == EWOULDBLOCK ? " is in use by another server"
                                                           : " cannot be locked: " + message_of(refused)));
    }
    ~directory_lock() { ::close(fd_); }
    directory_lock(const directory_lock&) = delete;
    directory_lock& operator=(const directory_lock&) = delete;

private:
    [[nodiscard]] static std::string message_of(int error) {
        return std::error_code(error, std::generic_category()).message();
    }

    int fd_ = -1;
};

} // namespace qsketch_server
