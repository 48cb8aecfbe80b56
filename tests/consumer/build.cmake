# Builds and runs the project beside this file, which gets the library in the given way.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

set(configure ${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/project -B ${work_dir}
              -D CONSUME=${way} -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_FIND_USE_PACKAGE_REGISTRY=OFF -D QSKETCH_CHECKOUT=${checkout}
              -D FETCHCONTENT_SOURCE_DIR_QSKETCH=${checkout} -D FETCHCONTENT_FULLY_DISCONNECTED=ON)

file(REMOVE_RECURSE ${work_dir})
run(${configure})
run(${CMAKE_COMMAND} --build ${work_dir})
run(${work_dir}/consumer)

if(way STREQUAL "find_package")
  string(REGEX REPLACE "\\.[0-9]+$" "" minor_version ${version})
  run(${configure} -D WANTED_VERSION=${minor_version})
  foreach(wanted 9.0 0.0)
    execute_process(COMMAND ${configure} -D WANTED_VERSION=${wanted} RESULT_VARIABLE result
                    OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(result EQUAL 0 OR NOT output MATCHES "compatible with requested version|version: ${version}")
      message(FATAL_ERROR "version ${wanted} was not refused for what it is:\n${output}")
    endif()
  endforeach()
else()
  # It adds nothing to what the project around it installs.
  run(${CMAKE_COMMAND} --install ${work_dir} --prefix ${work_dir}/prefix)
  file(GLOB_RECURSE installed ${work_dir}/prefix/*)
  if(installed)
    message(FATAL_ERROR "as a subproject it installed ${installed}")
  endif()
endif()
