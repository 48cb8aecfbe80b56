# The presets are read by CMake, and each has the three that belong together.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

foreach(kind configure build test)
  execute_process(COMMAND ${CMAKE_COMMAND} --list-presets=${kind} WORKING_DIRECTORY ${checkout} RESULT_VARIABLE result
                  OUTPUT_VARIABLE text ERROR_VARIABLE text)
  string(REGEX MATCHALL "\"[a-z]+\"" ${kind}_presets "${text}")
  if(NOT result EQUAL 0 OR NOT ${kind}_presets STREQUAL configure_presets OR NOT "\"release\"" IN_LIST ${kind}_presets)
    message(FATAL_ERROR "presets to ${kind}, where ${configure_presets} are configured:\n${text}")
  endif()
endforeach()
