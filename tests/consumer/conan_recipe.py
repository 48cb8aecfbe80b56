"""Runs conanfile.py with stand-ins for Conan's modules, on a copy of what it exports and with the real CMake.

It cannot tell whether Conan likes the recipe, but it tells whether the recipe has fallen behind the checkout: every
header, the licence, nothing else. At the end the recipe is made to forget a header, and that has to be noticed.
"""

import fnmatch
import importlib.util
import shutil
import subprocess
import sys
import types
from pathlib import Path

checkout = Path(__file__).resolve().parents[2]


class CMakeToolchain:
    def __init__(self, recipe):
        self.recipe, self.cache_variables = recipe, {}

    def generate(self):
        self.recipe.definitions = [f"-D{name}={value}" for name, value in self.cache_variables.items()]


class CMake:
    def __init__(self, recipe):
        self.recipe = recipe

    def configure(self):
        self.call("-S", self.recipe.source_folder, "-B", self.recipe.build_folder, *self.recipe.definitions)

    def install(self):
        self.call("--install", self.recipe.build_folder, "--prefix", self.recipe.package_folder)

    def call(self, *arguments):
        subprocess.run(["cmake", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


class CppInfo(types.SimpleNamespace):
    def set_property(self, name, value):
        setattr(self, name, value)


def copy(recipe, pattern, source, destination):
    Path(destination).mkdir(parents=True, exist_ok=True)
    for file in Path(source).glob(pattern):
        shutil.copy(file, destination)


def stand_in(name, **members):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)


stand_in("conan", ConanFile=object)
stand_in("conan.tools")
stand_in("conan.tools.build", check_min_cppstd=None)
stand_in("conan.tools.cmake", CMake=CMake, CMakeToolchain=CMakeToolchain)
stand_in("conan.tools.files", copy=copy, load=lambda recipe, path: Path(path).read_text(),
         rmdir=lambda recipe, path: shutil.rmtree(path))


def load_recipe():
    spec = importlib.util.spec_from_file_location("conanfile", checkout / "conanfile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Qsketch()


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def make_package(recipe, work, exports):
    shutil.rmtree(work, ignore_errors=True)
    for pattern in exports:
        top = checkout / pattern.split("/")[0]
        candidates = [top] if top.is_file() else top.rglob("*")
        for file in candidates:
            name = file.relative_to(checkout)
            if file.is_file() and fnmatch.fnmatch(name.as_posix(), pattern):
                (work / "source" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, work / "source" / name)
    recipe.recipe_folder = checkout
    recipe.source_folder = work / "source"
    recipe.build_folder = work / "build"
    recipe.package_folder = work / "package"
    recipe.set_version()
    recipe.generate()
    recipe.package()
    return files_in(recipe.package_folder)


def main(work):
    wanted = {f"include/{name}" for name in files_in(checkout / "include")} | {"licenses/LICENSE"}

    recipe = load_recipe()
    found = make_package(recipe, work, recipe.exports_sources)
    assert found == wanted, f"missing {wanted - found}, not wanted {found - wanted}"

    assert recipe.version == sys.argv[2], f"the recipe says version {recipe.version}"
    recipe.cpp_info = CppInfo()
    recipe.package_info()
    assert recipe.cpp_info.cmake_file_name == recipe.cpp_info.pkg_config_name == "qsketch"
    assert recipe.cpp_info.cmake_target_name == "qsketch::qsketch"
    assert recipe.cpp_info.bindirs == recipe.cpp_info.libdirs == []

    cleared = []
    recipe.info = types.SimpleNamespace(clear=lambda: cleared.append(True))
    recipe.package_id()
    assert cleared, "a header-only package has one id for all settings"

    forgetful = [pattern.replace("include/*", "include/qsketch/[!h]*") for pattern in recipe.exports_sources]
    assert make_package(load_recipe(), work, forgetful) != wanted, "a missing header went unnoticed"


main(Path(sys.argv[1]))
