# SPDX-License-Identifier: Apache-2.0
# The arm without ROS as a library, and the ros2_control plugin where ros2_control is.
add_library(so100_hardware_arm STATIC
  src/diagnostics.cpp
  src/servo_setup.cpp
  src/so100_arm.cpp
  src/system_config.cpp)
add_library(so100_hardware::arm ALIAS so100_hardware_arm)
target_compile_features(so100_hardware_arm PUBLIC cxx_std_17)
target_include_directories(so100_hardware_arm PUBLIC
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(so100_hardware_arm PUBLIC so100_hardware_calibration so100_hardware_feetech)
set_target_properties(so100_hardware_arm PROPERTIES EXPORT_NAME arm)
list(APPEND so100_libraries so100_hardware_arm)

add_subdirectory(bench)

set(plugin_packages hardware_interface pluginlib rclcpp rclcpp_lifecycle diagnostic_msgs std_msgs
  std_srvs)
set(missing "")
foreach(package ament_cmake ${plugin_packages})
  # Message packages look for what they need as REQUIRED, so not before the rest is there.
  if(package MATCHES "_(msgs|srvs)$" AND missing)
    continue()
  endif()
  find_package(${package} QUIET)
  if(NOT ${package}_FOUND)
    list(APPEND missing ${package})
  endif()
endforeach()
if(missing)
  list(JOIN missing ", " missing)
  message(STATUS "so100_hardware: the ros2_control plugin is left out, as these packages were not "
                 "found: ${missing}. The library, the tools and the emulator are built.")
  return()
endif()
# Kilted's first release; Jazzy has the same interface from 4.28 on.
if(hardware_interface_VERSION VERSION_LESS 4.28)
  message(STATUS "so100_hardware: the ros2_control plugin is left out, as hardware_interface is "
                 "${hardware_interface_VERSION} and it needs 4.28 or newer (Jazzy, Kilted).")
  return()
endif()
message(STATUS "so100_hardware: the ros2_control plugin is built for hardware_interface "
               "${hardware_interface_VERSION}.")

add_library(so100_hardware_plugin SHARED src/driver_node.cpp src/so100_system.cpp)
target_include_directories(so100_hardware_plugin PUBLIC
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(so100_hardware_plugin PUBLIC
  so100_hardware_arm
  hardware_interface::hardware_interface
  ${diagnostic_msgs_TARGETS}
  ${std_msgs_TARGETS}
  ${std_srvs_TARGETS}
  pluginlib::pluginlib
  rclcpp::rclcpp
  rclcpp_lifecycle::rclcpp_lifecycle)
set_target_properties(so100_hardware_plugin PROPERTIES EXPORT_NAME plugin)
pluginlib_export_plugin_description_file(hardware_interface so100_hardware.xml)
list(APPEND so100_libraries so100_hardware_plugin)
