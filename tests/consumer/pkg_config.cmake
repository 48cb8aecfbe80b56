# Compiles and runs the consumer with nothing but a compiler and pkg-config.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

find_program(pkg_config NAMES pkg-config pkgconf REQUIRED)
set(ENV{PKG_CONFIG_PATH} ${prefix}/share/pkgconfig)
run(${pkg_config} --exact-version=${version} qsketch)
execute_process(COMMAND ${pkg_config} --cflags --libs qsketch OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE)
separate_arguments(flags UNIX_COMMAND "${flags}")

file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir})
run(${compiler} -std=c++20 ${CMAKE_CURRENT_LIST_DIR}/project/main.cpp ${flags} -o ${work_dir}/consumer)
run(${work_dir}/consumer)
