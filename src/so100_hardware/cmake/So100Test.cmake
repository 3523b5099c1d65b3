# SPDX-License-Identifier: Apache-2.0
# so100_add_gtest(<name> <sources>... [LIBRARIES <targets>...] [ARGS <args>...] [TIMEOUT <s>])
# A GoogleTest program as one ctest; its result file lands in <build>/test_results.
function(so100_add_gtest name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LIBRARIES;ARGS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gtest_main)
  add_test(
    NAME ${name}
    COMMAND ${name} --gtest_output=xml:${CMAKE_BINARY_DIR}/test_results/${name}.gtest.xml
            ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
endfunction()
