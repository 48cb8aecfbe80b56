# Stands in for Catch2's own package where its built library does not fit the compiler's settings (32 bits, another
# standard library): builds Catch2 2's main from its header. To be found by -D Catch2_DIR.
file(WRITE ${CMAKE_BINARY_DIR}/catch2_main.cpp "#define CATCH_CONFIG_MAIN\n#include <catch2/catch.hpp>\n")
add_library(catch2_main STATIC ${CMAKE_BINARY_DIR}/catch2_main.cpp)
target_compile_features(catch2_main PUBLIC cxx_std_20)
add_library(Catch2::Catch2WithMain ALIAS catch2_main)
