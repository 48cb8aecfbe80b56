#pragma once

// Replaces new and delete of a program, so that it can tell how much memory something takes. For one source of a
// program without threads.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace support {

inline std::size_t held = 0;
inline std::size_t peak = 0;
inline constexpr std::size_t block_header = __STDCPP_DEFAULT_NEW_ALIGNMENT__;

/// What `act` held at once, beyond what was held before.
template <class Act>
std::size_t memory_of(const Act& act) {
    const std::size_t before = held;
    peak = held;
    act();
    return peak - before;
}

} // namespace support

// Not inlined: compilers take the header in front of a block for an access outside of it.
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    void* block = size > SIZE_MAX - support::block_header ? nullptr : std::malloc(size + support::block_header);
    if (block == nullptr) return nullptr;
    *static_cast<std::size_t*>(block) = size;
    support::held += size;
    support::peak = (std::max)(support::peak, support::held);
    return static_cast<std::byte*>(block) + support::block_header;
}
void* operator new(std::size_t size) {
    if (void* memory = operator new(size, std::nothrow)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    if (memory == nullptr) return;
    void* block = static_cast<std::byte*>(memory) - support::block_header;
    support::held -= *static_cast<std::size_t*>(block);
    std::free(block);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }
