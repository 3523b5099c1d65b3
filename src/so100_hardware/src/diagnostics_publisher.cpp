// SPDX-License-Identifier: Apache-2.0
#include "diagnostics_publisher.hpp"

#include <cctype>
#include <chrono>
#include <exception>
#include <utility>

#include "diagnostic_msgs/msg/diagnostic_status.hpp"
#include "diagnostic_msgs/msg/key_value.hpp"
#include "rclcpp/logging.hpp"
#include "rclcpp/node_options.hpp"
#include "rclcpp/utilities.hpp"

namespace so100_hardware
{
namespace
{

constexpr std::chrono::seconds kPeriod{1};

// A component may have any name, a node may not.
std::string node_name(const std::string & component)
{
  std::string name;
  for (const char letter : component) {
    name += std::isalnum(static_cast<unsigned char>(letter)) != 0 ? letter : '_';
  }
  if (name.empty() || std::isdigit(static_cast<unsigned char>(name.front())) != 0) {
    name.insert(0, "arm_");
  }
  return name + "_diagnostics";
}

// Nobody spins the node, so it offers nothing that would have to answer. Its own name comes first:
// a launch file that names the controller manager gives all nodes of the process that name.
rclcpp::NodeOptions node_options(const std::string & name)
{
  return rclcpp::NodeOptions()
    .arguments({"--ros-args", "-r", "__node:=" + name})
    .start_parameter_services(false)
    .start_parameter_event_publisher(false)
    .enable_rosout(false);
}

}  // namespace

DiagnosticsPublisher::DiagnosticsPublisher(
  const std::string & component, const std::string & hardware, Describe describe)
: node_(std::make_shared<rclcpp::Node>(node_name(component), node_options(node_name(component)))),
  publisher_(node_->create_publisher<diagnostic_msgs::msg::DiagnosticArray>("/diagnostics", 10)),
  hardware_(hardware),
  describe_(std::move(describe))
{
  const std::string name_space = node_->get_namespace();
  prefix_ = (name_space == "/" ? "" : name_space.substr(1) + "/") + component + ": ";
  thread_ = std::thread([this] { run(); });
}

DiagnosticsPublisher::~DiagnosticsPublisher()
{
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    end_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void DiagnosticsPublisher::run()
{
  std::unique_lock<std::mutex> lock(mutex_);
  while (!ended_.wait_for(lock, kPeriod, [this] { return end_; })) {
    try {
      publish();
    } catch (const std::exception & error) {
      // The arm goes on without; most often the process is about to end.
      if (rclcpp::ok()) {
        RCLCPP_WARN(node_->get_logger(), "no diagnostics this time: %s", error.what());
      }
    }
  }
}

void DiagnosticsPublisher::publish()
{
  if (!rclcpp::ok()) {
    return;
  }
  diagnostic_msgs::msg::DiagnosticArray message;
  message.header.stamp = node_->now();
  for (Diagnostic & one : describe_()) {
    diagnostic_msgs::msg::DiagnosticStatus status;
    status.level = static_cast<decltype(status.level)>(one.level);
    status.name = prefix_ + one.subject;
    status.message = std::move(one.message);
    status.hardware_id = hardware_;
    for (auto & [key, value] : one.values) {
      diagnostic_msgs::msg::KeyValue pair;
      pair.key = key;
      pair.value = std::move(value);
      status.values.push_back(std::move(pair));
    }
    message.status.push_back(std::move(status));
  }
  publisher_->publish(std::move(message));
}

}  // namespace so100_hardware
