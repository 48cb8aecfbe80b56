#pragma once

#include "support/directory.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <string>

namespace server_test {

/// A filesystem of that many bytes, if the system lets us mount one.
class small_disk {
public:
    explicit small_disk(std::size_t bytes) {
        const std::string size = "size=" + std::to_string(bytes);
        mounted_ = ::mount("tmpfs", place_.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
    }
    ~small_disk() {
        if (mounted_) ::umount2(place_.path().c_str(), MNT_DETACH);
    }
    small_disk(const small_disk&) = delete;
    small_disk& operator=(const small_disk&) = delete;

    [[nodiscard]] bool mounted() const noexcept { return mounted_; }
    [[nodiscard]] std::string path() const { return place_.path(); }

    /// Takes all the room but for that many bytes.
    void fill(std::size_t but = 0) const {
        const int fd = ::open(filler().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        const std::array<char, 4096> chunk{};
        off_t size = 0;
        for (ssize_t n = 0; (n = ::write(fd, chunk.data(), chunk.size())) > 0;) size += n;
        if (::ftruncate(fd, size - static_cast<off_t>(but)) != 0) ::unlink(filler().c_str());
        ::close(fd);
    }
    void empty() const { ::unlink(filler().c_str()); }

private:
    [[nodiscard]] std::string filler() const { return path() + "/filler"; }

    directory place_;
    bool mounted_ = false;
};

} // namespace server_test
