# The one header that scripts/single-header prints is all that a program needs, and holds every header it was asked for.
include(${CMAKE_CURRENT_LIST_DIR}/support.cmake)

file(REMOVE_RECURSE ${work_dir})
file(MAKE_DIRECTORY ${work_dir}/qsketch)

# single_header(wanted arguments…): prints the header, which has to hold all wanted ones and to name none.
function(single_header wanted)
  set(single ${work_dir}/qsketch/qsketch.hpp)
  execute_process(COMMAND ${checkout}/scripts/single-header ${ARGN} OUTPUT_FILE ${single} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "scripts/single-header ${ARGN} ended with ${result}")
  endif()
  file(STRINGS ${single} left_over REGEX "#include <qsketch/")
  if(left_over)
    message(FATAL_ERROR "the header is not alone: ${left_over}")
  endif()
  file(READ ${single} text)
  foreach(header IN LISTS wanted)
    # By its last declaration, as other lines are in several.
    file(STRINGS ${header} lines REGEX "^(class|struct|using|template|inline|concept|#define QSKETCH_VERSION).*[a-z_]+")
    if(lines)
      list(GET lines -1 last)
      string(FIND "${text}" "${last}" at)
      if(at EQUAL -1)
        message(FATAL_ERROR "${header} is missing: ${last}")
      endif()
    endif()
  endforeach()
endfunction()

file(GLOB_RECURSE all ${checkout}/include/*.hpp)
file(GLOB interchange RELATIVE ${checkout}/include ${checkout}/include/qsketch/interchange/*.hpp)
single_header("${all}" qsketch/qsketch.hpp ${interchange})
run(${compiler} -std=c++20 -fsyntax-only -I${work_dir} ${checkout}/tests/consumer/project/main.cpp)

# Without arguments what qsketch.hpp includes; formats of others, and what only they need, are left out.
file(GLOB wanted ${checkout}/include/qsketch/*.hpp)
single_header("${wanted}")
run(${compiler} -std=c++20 -I${work_dir} ${checkout}/tests/consumer/project/main.cpp -o ${work_dir}/consumer)
run(${work_dir}/consumer)

execute_process(COMMAND ${checkout}/scripts/single-header qsketch/nothing.hpp RESULT_VARIABLE result
                OUTPUT_VARIABLE printed ERROR_VARIABLE error)
if(result EQUAL 0 OR NOT printed STREQUAL "" OR NOT error MATCHES "there is no include/qsketch/nothing.hpp")
  message(FATAL_ERROR "a header that is not there was not refused: ${error}")
endif()
