#include "storage/key_file.hpp"

#include "storage/directory_lock.hpp"

#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

namespace qsketch_server {
namespace {

[[noreturn]] void fail(const std::string& file, int error) {
    throw storage_error(file + ": " + std::error_code(error, std::generic_category()).message());
}

/// Whole or not at all, also after a power cut.
void make(const std::string& file) {
    const secret_key key = random_key();
    const std::string fresh = file + ".new";
    const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) fail(fresh, errno);
    const bool written = ::write(fd, key.data(), key.size()) == ssize_t{key.size()} && ::fsync(fd) == 0;
    const int error = errno;
    ::close(fd);
    if (!written) fail(fresh, error);
    if (::rename(fresh.c_str(), file.c_str()) != 0) fail(file, errno);
    if (!sync_directory(std::filesystem::path(file).parent_path())) fail(file, errno);
}

} // namespace

secret_key random_key() {
    secret_key key{};
    if (::getrandom(key.data(), key.size(), 0) != ssize_t{key.size()})
        throw storage_error("the system has no random numbers");
    return key;
}

secret_key key_in(const std::string& file) {
    int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        make(file);
        fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) fail(file, errno);
    std::array<std::byte, sizeof(secret_key) + 1> bytes{};
    struct stat status {};
    const ssize_t size = ::read(fd, bytes.data(), bytes.size());
    const bool open_to_others = ::fstat(fd, &status) == 0 && (status.st_mode & 077) != 0;
    ::close(fd);
    if (size != ssize_t{sizeof(secret_key)}) throw storage_error(file + " must have 16 bytes");
    if (open_to_others) spdlog::warn("{} may be read by others than its owner", file);
    secret_key key;
    std::copy_n(bytes.begin(), key.size(), key.begin());
    return key;
}

} // namespace qsketch_server
