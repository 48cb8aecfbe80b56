# Compiles SOURCE without and with BAD: the first must succeed, the second must fail at an error in the source.
set(command ${COMPILER} -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I${INCLUDE} ${SOURCE})

execute_process(COMMAND ${command} RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
if(failed)
  message(FATAL_ERROR "does not compile, but should:\n${text}")
endif()

execute_process(COMMAND ${command} -DBAD RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
if(NOT failed)
  message(FATAL_ERROR "compiles with BAD defined")
endif()
if(NOT text MATCHES "error:")
  message(FATAL_ERROR "fails, but not at an error of the compiler:\n${text}")
endif()
