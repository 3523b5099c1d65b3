// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "diagnostic_msgs/msg/diagnostic_array.hpp"
#include "rclcpp/executors/single_threaded_executor.hpp"
#include "rclcpp/node.hpp"
#include "so100_hardware/diagnostics.hpp"
#include "std_msgs/msg/bool.hpp"
#include "std_srvs/srv/trigger.hpp"

namespace so100_hardware
{

/// What the node asks of the arm; called in its thread.
struct DriverCallbacks
{
  std::function<std::vector<Diagnostic>()> describe;
  std::function<StopOutcome()> stop;   ///< stop, and what came of it
  std::function<StopOutcome()> reset;  ///< release the stop; `confirmed`: it is released
};

/// The node of an arm, COMPONENT_driver: /diagnostics at 1 Hz, ~/stop, ~/reset_stop, and the topic
/// `estop`, where `true` stops as ~/stop does. It has a thread of its own: neither the control
/// cycle nor the executor of the controller manager waits for it, and every version of
/// ros2_control has what it needs.
class DriverNode
{
public:
  /// `component`: its entries are "NAMESPACE/COMPONENT: SUBJECT"; `hardware`: their hardware_id.
  /// Throws what rclcpp::Node throws.
  DriverNode(
    const std::string & component, const std::string & hardware, DriverCallbacks callbacks);
  ~DriverNode();
  DriverNode(const DriverNode &) = delete;
  DriverNode & operator=(const DriverNode &) = delete;

  /// Of the node, and so of the controller manager: "/" or "/left".
  std::string name_space() const { return node_->get_namespace(); }

private:
  using Trigger = std_srvs::srv::Trigger;

  void run(const std::shared_future<void> & end);
  void publish();
  void on_estop(bool pressed);
  void reset(Trigger::Response & response);

  rclcpp::Node::SharedPtr node_;
  rclcpp::Publisher<diagnostic_msgs::msg::DiagnosticArray>::SharedPtr publisher_;
  rclcpp::TimerBase::SharedPtr timer_;
  rclcpp::Service<Trigger>::SharedPtr stop_;
  rclcpp::Service<Trigger>::SharedPtr reset_;
  rclcpp::Subscription<std_msgs::msg::Bool>::SharedPtr estop_;
  std::string prefix_;
  std::string hardware_;
  DriverCallbacks callbacks_;
  bool pressed_ = false;  ///< what the topic said last
  rclcpp::executors::SingleThreadedExecutor executor_;
  std::promise<void> end_;
  std::thread thread_;
};

}  // namespace so100_hardware
