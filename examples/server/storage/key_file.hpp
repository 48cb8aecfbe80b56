#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace qsketch_server {

using secret_key = std::array<std::byte, 16>;

/// Throws storage_error if the system has no random numbers.
[[nodiscard]] secret_key random_key();

/// The key in that file, which is made, with a random key and for the owner's eyes only, if there is none. Throws
/// storage_error, naming the file.
[[nodiscard]] secret_key key_in(const std::string& file);

} // namespace qsketch_server
