# Shared by the scripts beside it.
cmake_minimum_required(VERSION 3.19...3.30)

# Users' builds take the compiler and the generator of the tests, and nothing else of this environment.
set(ENV{CMAKE_GENERATOR} ${generator})
set(ENV{CXX} ${compiler})
unset(ENV{CXXFLAGS})
unset(ENV{CMAKE_BUILD_TYPE})

# run(command…): the command has to succeed; its output is shown when it does not.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${result}:\n${output}")
  endif()
endfunction()

# expect_headers(dir): dir holds every header of the checkout, and nothing else.
function(expect_headers dir)
  file(GLOB_RECURSE expected RELATIVE ${checkout}/include ${checkout}/include/*)
  file(GLOB_RECURSE found RELATIVE ${dir} ${dir}/*)
  if(NOT found STREQUAL expected)
    message(FATAL_ERROR "expected the headers ${expected}\nfound ${found}")
  endif()
endfunction()

function(expect_files dir)
  foreach(file IN LISTS ARGN)
    if(NOT EXISTS ${dir}/${file})
      message(FATAL_ERROR "${dir} has no ${file}")
    endif()
  endforeach()
endfunction()
