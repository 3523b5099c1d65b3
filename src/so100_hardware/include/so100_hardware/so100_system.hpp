// SPDX-License-Identifier: Apache-2.0
// The arm as a ros2_control hardware component: lifecycle, interfaces and log lines over So100Arm.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hardware_interface/hardware_info.hpp"
#include "hardware_interface/system_interface.hpp"
#include "hardware_interface/types/hardware_interface_return_values.hpp"
#include "rclcpp/duration.hpp"
#include "rclcpp/time.hpp"
#include "rclcpp_lifecycle/state.hpp"
#include "so100_hardware/diagnostics.hpp"
#include "so100_hardware/so100_arm.hpp"
#include "so100_hardware/system_config.hpp"
#include "so100_hardware/telemetry.hpp"

// Kilted, and Jazzy from 4.33 on, hand on_init() a struct; older releases the HardwareInfo alone.
#if __has_include("hardware_interface/types/hardware_component_interface_params.hpp")
#define SO100_HARDWARE_INIT_WITH_PARAMS
#endif

namespace so100_hardware
{

class DriverNode;

/// Lifecycle:
/// - on_init checks the parameters and touches neither port nor files;
/// - on_configure opens the port and checks the servos; from then on read() gives states, with the
///   torque off;
/// - on_activate writes the settings, makes the present position the goal, switches the torque on;
/// - on_deactivate switches it off (torque_off_on_deactivate), and so do cleanup, shutdown, error
///   and the destructor in every case.
///
/// After an error the component is unconfigured: configure and activate bring it back, also after
/// the cable was out. /diagnostics has the state of each servo all the time. A stop (see So100Arm)
/// is ordered through the node, in every state.
class SO100System : public hardware_interface::SystemInterface
{
public:
#ifdef SO100_HARDWARE_INIT_WITH_PARAMS
  using InitArgument = hardware_interface::HardwareComponentInterfaceParams;
#else
  using InitArgument = hardware_interface::HardwareInfo;
#endif
  using CallbackReturn = hardware_interface::CallbackReturn;

  SO100System();
  ~SO100System() override;

  CallbackReturn on_init(const InitArgument & argument) override;
  CallbackReturn on_configure(const rclcpp_lifecycle::State & previous_state) override;
  CallbackReturn on_activate(const rclcpp_lifecycle::State & previous_state) override;
  CallbackReturn on_deactivate(const rclcpp_lifecycle::State & previous_state) override;
  CallbackReturn on_cleanup(const rclcpp_lifecycle::State & previous_state) override;
  CallbackReturn on_shutdown(const rclcpp_lifecycle::State & previous_state) override;
  CallbackReturn on_error(const rclcpp_lifecycle::State & previous_state) override;

  hardware_interface::return_type read(
    const rclcpp::Time & time, const rclcpp::Duration & period) override;
  hardware_interface::return_type write(
    const rclcpp::Time & time, const rclcpp::Duration & period) override;

private:
  using State = hardware_interface::StateInterface::SharedPtr;
  /// The interfaces of one joint that the URDF names; the others are empty.
  struct JointInterfaces
  {
    std::array<State, kMeasurements.size()> measurements;
    std::array<State, kCounters.size()> counters;
    hardware_interface::CommandInterface::SharedPtr command;
  };

  void start_node();
  // In the thread of the node.
  std::vector<Diagnostic> diagnose();
  StopOutcome stop();
  StopOutcome reset_stop();
  StopOutcome stop_outcome(const ArmRecord & record);
  /// Where the stop stands, also where no cycle has come to an order yet.
  ArmRecord with_orders(ArmRecord record) const;
  std::string failure();

  /// Keeps why the arm is not there, for the diagnostics; empty when it is.
  void remember(const std::string & failure);
  /// Logs why read() or write() ends the arm, and how it comes back.
  hardware_interface::return_type give_up();
  std::string recovery() const;

  bool find_interfaces();
  void publish_states();
  void warn_of_faults();
  void warn_of_goals();
  /// Logs the report; true when it has no error.
  bool log(const Report & report);
  void disconnect();

  std::unique_ptr<So100Arm> arm_;
  std::vector<JointInterfaces> interfaces_;
  std::vector<double> goals_;               ///< rad, as last commanded
  std::vector<std::uint8_t> known_faults_;  ///< fault bits that were logged
  std::vector<std::uint64_t> known_misses_;
  std::vector<std::uint64_t> known_goals_;  ///< clamped and rejected goals that were logged

  std::unique_ptr<ArmRecorder> recorder_;
  std::deque<ArmRecord> history_;  ///< of the thread that publishes
  std::mutex failure_mutex_;
  std::string failure_;
  std::unique_ptr<DriverNode> node_;  ///< last: its thread uses what is above
};

}  // namespace so100_hardware
