import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeToolchain
from conan.tools.files import copy, load, rmdir


class Qsketch(ConanFile):
    name = "qsketch"
    description = "Mergeable streaming sketches for C++20"
    license = "MIT"
    topics = ("sketch", "t-digest", "hyperloglog", "count-min", "quantiles", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*"
    no_copy_source = True

    def set_version(self):
        text = load(self, os.path.join(self.recipe_folder, "include", "qsketch", "version.hpp"))
        self.version = ".".join(re.findall(r"#define QSKETCH_VERSION_\w+ (\d+)", text))

    def validate(self):
        if self.settings.get_safe("compiler.cppstd"):
            check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["QSKETCH_BUILD_TESTS"] = False
        toolchain.cache_variables["QSKETCH_BUILD_EXAMPLES"] = False
        toolchain.cache_variables["QSKETCH_BUILD_SERVER"] = False
        toolchain.generate()

    def package(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # Conan writes its own package files from package_info().
        rmdir(self, os.path.join(self.package_folder, "share"))

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_file_name", "qsketch")
        self.cpp_info.set_property("cmake_target_name", "qsketch::qsketch")
        self.cpp_info.set_property("pkg_config_name", "qsketch")
