# SPDX-License-Identifier: Apache-2.0
# Installs the libraries with headers, so that find_package(so100_hardware) gives
# so100_hardware::feetech and so100_hardware::calibration, with ROS or without.
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS ${so100_libraries}
  EXPORT export_so100_hardware
  ARCHIVE DESTINATION lib
  LIBRARY DESTINATION lib
  RUNTIME DESTINATION bin)

if(ament_cmake_FOUND)
  ament_export_targets(export_so100_hardware HAS_LIBRARY_TARGET)
  if(TARGET so100_hardware_plugin)
    ament_export_dependencies(${plugin_packages})
  endif()
  ament_package()
  return()
endif()

include(CMakePackageConfigHelpers)
set(config_dir share/so100_hardware/cmake)
install(EXPORT export_so100_hardware NAMESPACE so100_hardware:: DESTINATION ${config_dir})
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/so100_hardwareConfig.cmake
  "include(\${CMAKE_CURRENT_LIST_DIR}/export_so100_hardware.cmake)\n")
write_basic_package_version_file(
  ${CMAKE_CURRENT_BINARY_DIR}/so100_hardwareConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/so100_hardwareConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/so100_hardwareConfigVersion.cmake
  DESTINATION ${config_dir})
