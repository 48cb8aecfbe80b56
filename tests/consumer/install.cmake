# Installs the library, moves it, and looks for anything that was left behind or that names the old place.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

file(REMOVE_RECURSE ${work_dir} ${prefix})
run(${CMAKE_COMMAND} -S ${checkout} -B ${work_dir}/build -D QSKETCH_BUILD_TESTS=OFF -D QSKETCH_BUILD_EXAMPLES=OFF -D QSKETCH_BUILD_SERVER=OFF)
run(${CMAKE_COMMAND} --install ${work_dir}/build --prefix ${work_dir}/prefix)
file(RENAME ${work_dir}/prefix ${prefix})

expect_headers(${prefix}/include)
expect_files(${prefix}/share cmake/qsketch/qsketchConfig.cmake cmake/qsketch/qsketchConfigVersion.cmake
             pkgconfig/qsketch.pc licenses/qsketch/LICENSE)
file(GLOB_RECURSE installed ${prefix}/*)
foreach(file IN LISTS installed)
  file(READ ${file} text)
  foreach(place ${work_dir} ${checkout} ${prefix})
    string(FIND "${text}" "${place}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} names ${place}")
    endif()
  endforeach()
endforeach()

# A package of headers that asks for the pointer size of the machine it was made on is refused everywhere else.
foreach(CMAKE_SIZEOF_VOID_P 4 8)
  include(${prefix}/share/cmake/qsketch/qsketchConfigVersion.cmake)
  if(PACKAGE_VERSION_UNSUITABLE)
    message(FATAL_ERROR "refused where pointers have ${CMAKE_SIZEOF_VOID_P} bytes")
  endif()
endforeach()

# The umbrella leaves out none of the public headers.
file(READ ${checkout}/include/qsketch/qsketch.hpp umbrella)
file(GLOB headers RELATIVE ${checkout}/include/qsketch ${checkout}/include/qsketch/*.hpp)
list(REMOVE_ITEM headers qsketch.hpp)
foreach(header IN LISTS headers)
  string(FIND "${umbrella}" "#include <qsketch/${header}>" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "qsketch.hpp does not include ${header}")
  endif()
endforeach()
