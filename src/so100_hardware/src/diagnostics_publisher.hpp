// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "diagnostic_msgs/msg/diagnostic_array.hpp"
#include "rclcpp/node.hpp"
#include "rclcpp/publisher.hpp"
#include "so100_hardware/diagnostics.hpp"

namespace so100_hardware
{

/// Publishes on /diagnostics at 1 Hz, from a node and a thread of its own: neither the control
/// cycle nor the executor of the controller manager waits for it, and every version of ros2_control
/// has what it needs.
class DiagnosticsPublisher
{
public:
  using Describe = std::function<std::vector<Diagnostic>()>;

  /// `component`: its entries are "NAMESPACE/COMPONENT: SUBJECT"; `hardware`: their hardware_id;
  /// `describe` is called in the thread. Throws what rclcpp::Node throws.
  DiagnosticsPublisher(
    const std::string & component, const std::string & hardware, Describe describe);
  ~DiagnosticsPublisher();
  DiagnosticsPublisher(const DiagnosticsPublisher &) = delete;
  DiagnosticsPublisher & operator=(const DiagnosticsPublisher &) = delete;

  /// Of the node, and so of the controller manager: "/" or "/left".
  std::string name_space() const { return node_->get_namespace(); }

private:
  void run();
  void publish();

  rclcpp::Node::SharedPtr node_;
  rclcpp::Publisher<diagnostic_msgs::msg::DiagnosticArray>::SharedPtr publisher_;
  std::string prefix_;
  std::string hardware_;
  Describe describe_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace so100_hardware
