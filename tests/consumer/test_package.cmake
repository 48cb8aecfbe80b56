# Builds and runs what Conan builds to try the package, with the installed one.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

file(REMOVE_RECURSE ${work_dir})
run(${CMAKE_COMMAND} -S ${checkout}/test_package -B ${work_dir} -D CMAKE_PREFIX_PATH=${prefix}
    -D CMAKE_FIND_USE_PACKAGE_REGISTRY=OFF)
run(${CMAKE_COMMAND} --build ${work_dir})
run(${work_dir}/test_package)
