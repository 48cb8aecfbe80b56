#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

// For the programs that `check fragments` makes of documents.

inline int different = 0;

inline void shows(const char* line, double shown, double tolerance, double given) {
    if (std::abs(given - shown) <= tolerance) return;
    std::printf("%s gives %g\n", line, given);
    different = 1;
}

inline void shows(const char* line, const std::string& shown, const std::string& given) {
    if (given == shown) return;
    std::printf("%s gives %s\n", line, given.c_str());
    different = 1;
}
