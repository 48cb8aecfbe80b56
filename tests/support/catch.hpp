#pragma once

// Catch2 3 and the Catch2 2 that Debian 12 ships, by one name. Catch::Approx is not for use: version 2 cannot
// compile it under the project's warnings; compare with an explicit tolerance.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
