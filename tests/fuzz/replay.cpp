// Runs the body of a fuzzer over files and the files in directories, without libFuzzer: what it once found stays found.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int count, char** arguments) {
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < count; ++i)
        if (std::filesystem::is_directory(arguments[i]))
            for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) files.push_back(entry.path());
        else
            files.emplace_back(arguments[i]);
    std::sort(files.begin(), files.end());
    bool all_passed = !files.empty();
    for (const auto& path : files) {
        std::ifstream file(path, std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        const std::vector<std::uint8_t> data(text.begin(), text.end());
        try {
            LLVMFuzzerTestOneInput(data.data(), data.size());
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s: %s\n", path.string().c_str(), error.what());
            all_passed = false;
        }
    }
    std::printf("%zu inputs\n", files.size());
    return all_passed ? 0 : 1;
}
