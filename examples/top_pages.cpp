// The most requested pages of a web server's log on standard input, in memory that does not grow with it:
//
//     top_pages 10 <access.log
#include <qsketch/top_k.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

namespace {

/// The path in `address - - [time] "GET /path HTTP/1.1" 200 …`; empty if there is none.
std::string_view page_of(std::string_view line) {
    const auto quote = line.find('"');
    if (quote == line.npos) return {};
    line = line.substr(quote + 1, line.find('"', quote + 1) - quote - 1);
    const auto space = line.find(' ');
    if (space == line.npos) return {};
    line.remove_prefix(space + 1);
    return line.substr(0, line.find_first_of(" ?"));
}

} // namespace

int main(int argc, char** argv) {
    const int n = argc > 1 ? std::atoi(argv[1]) : 10;
    if (n < 1 || n > 1000) {
        std::fprintf(stderr, "top_pages: how many must be 1 to 1000\n");
        return 2;
    }
    qsketch::top_k<> pages(static_cast<std::uint32_t>(n));
    for (std::string line; std::getline(std::cin, line);)
        if (const auto page = page_of(line); !page.empty()) pages.add(page);

    for (const auto& page : pages.items())
        std::printf("%8llu to %8llu  %s\n", static_cast<unsigned long long>(page.lower),
                    static_cast<unsigned long long>(page.upper), std::string(page.key).c_str());
}
