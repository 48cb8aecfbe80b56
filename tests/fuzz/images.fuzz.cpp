// The first byte picks one of sketch_types, the others are an image of it whose checksum is put right first: no fuzzer
// would guess it.

#include "support/hostile.hpp"
#include "support/sketch_types.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    support::bytes image(size - 1);
    if (!image.empty()) std::memcpy(image.data(), data + 1, image.size());
    support::seal(image);
    constexpr std::size_t types = std::tuple_size_v<support::sketch_types>;
    [&]<std::size_t... I>(std::index_sequence<I...>) {
        ((data[0] % types == I
              ? static_cast<void>(support::read_and_exercise<std::tuple_element_t<I, support::sketch_types>>(image))
              : void()),
         ...);
    }
    (std::make_index_sequence<types>{});
    return 0;
}
