// SPDX-License-Identifier: Apache-2.0
#include "driver_node.hpp"

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
  return name + "_driver";
}

// Its own name comes first: a launch file that names the controller manager gives all nodes of the
// process that name.
rclcpp::NodeOptions node_options(const std::string & name)
{
  return rclcpp::NodeOptions()
    .arguments({"--ros-args", "-r", "__node:=" + name})
    .start_parameter_services(false)
    .start_parameter_event_publisher(false)
    .enable_rosout(false);
}

void answer(const StopOutcome & outcome, std_srvs::srv::Trigger::Response & response)
{
  response.success = outcome.confirmed;
  response.message = outcome.text;
}

}  // namespace

DriverNode::DriverNode(
  const std::string & component, const std::string & hardware, DriverCallbacks callbacks)
: node_(std::make_shared<rclcpp::Node>(node_name(component), node_options(node_name(component)))),
  publisher_(node_->create_publisher<diagnostic_msgs::msg::DiagnosticArray>("/diagnostics", 10)),
  hardware_(hardware),
  callbacks_(std::move(callbacks))
{
  const std::string name_space = node_->get_namespace();
  prefix_ = (name_space == "/" ? "" : name_space.substr(1) + "/") + component + ": ";
  timer_ = node_->create_wall_timer(kPeriod, [this] { publish(); });
  stop_ = node_->create_service<Trigger>(
    "~/stop", [this](const Trigger::Request::SharedPtr, const Trigger::Response::SharedPtr done) {
      answer(callbacks_.stop(), *done);
    });
  reset_ = node_->create_service<Trigger>(
    "~/reset_stop",
    [this](const Trigger::Request::SharedPtr, const Trigger::Response::SharedPtr done) {
      reset(*done);
    });
  estop_ = node_->create_subscription<std_msgs::msg::Bool>(
    "estop", 10, [this](const std_msgs::msg::Bool & message) { on_estop(message.data); });
  executor_.add_node(node_);
  thread_ = std::thread([this, end = end_.get_future().share()] { run(end); });
}

DriverNode::~DriverNode()
{
  end_.set_value();
  executor_.cancel();
  thread_.join();
}

void DriverNode::run(const std::shared_future<void> & end)
{
  while (rclcpp::ok() && end.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    try {
      executor_.spin_until_future_complete(end);
    } catch (const std::exception & error) {
      // The arm goes on without; most often the process is about to end.
      if (rclcpp::ok()) {
        RCLCPP_WARN(node_->get_logger(), "%s", error.what());
      }
    }
  }
}

void DriverNode::on_estop(bool pressed)
{
  if (pressed && !pressed_) {
    callbacks_.stop();
  }
  pressed_ = pressed;
}

void DriverNode::reset(Trigger::Response & response)
{
  if (pressed_) {
    response.success = false;
    response.message =
      std::string(estop_->get_topic_name()) + " says true still: release the button first";
    return;
  }
  answer(callbacks_.reset(), response);
}

void DriverNode::publish()
{
  diagnostic_msgs::msg::DiagnosticArray message;
  message.header.stamp = node_->now();
  for (Diagnostic & one : callbacks_.describe()) {
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
