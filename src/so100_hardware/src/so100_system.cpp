// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/so100_system.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "driver_node.hpp"
#include "pluginlib/class_list_macros.hpp"
#include "rclcpp/logging.hpp"
#include "rclcpp/utilities.hpp"
#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware
{
namespace
{

using hardware_interface::return_type;
using CallbackReturn = hardware_interface::CallbackReturn;

constexpr int kThrottleMs = 5000;
/// How far back /diagnostics looks for what happened "lately".
constexpr std::chrono::seconds kLately{10};
/// How long an order waits for the control cycle, and a stop for servos that do not answer.
constexpr std::chrono::milliseconds kOrderTime{300};
constexpr std::chrono::milliseconds kOrderPoll{1};

// Numbers only: an interface of another type would throw in the control cycle. Its type in the
// name makes the check of the names refuse it.
std::vector<std::string> names(const std::vector<hardware_interface::InterfaceInfo> & interfaces)
{
  std::vector<std::string> all;
  for (const auto & info : interfaces) {
    const bool number = info.data_type.empty() || info.data_type == "double";
    all.push_back(number ? info.name : info.name + " of type " + info.data_type);
  }
  return all;
}

SystemDescription description_of(const hardware_interface::HardwareInfo & info)
{
  SystemDescription description;
  description.parameters = info.hardware_parameters;
  for (const auto & joint : info.joints) {
    description.joints.push_back(
      {joint.name, joint.parameters, names(joint.command_interfaces),
       names(joint.state_interfaces)});
  }
  return description;
}

// The interface's lock can only be tried. Outside of the cycle there is time to try again.
bool set_surely(hardware_interface::CommandInterface & interface, double value)
{
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (interface.set_value(value)) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// "text." or "text?": another sentence may follow.
std::string sentence(const std::string & text)
{
  return text.empty() || text.back() == '?' || text.back() == '.' ? text : text + ".";
}

}  // namespace

SO100System::SO100System() = default;
SO100System::~SO100System() = default;

CallbackReturn SO100System::on_init(const InitArgument & argument)
{
  if (hardware_interface::SystemInterface::on_init(argument) != CallbackReturn::SUCCESS) {
    return CallbackReturn::ERROR;
  }
  ParsedConfig parsed = parse_config(description_of(info_));
  if (!log({parsed.errors, {}})) {
    return CallbackReturn::ERROR;
  }
  node_.reset();  // its thread looks at the arm
  arm_ = std::make_unique<So100Arm>(std::move(parsed.config));
  goals_.assign(arm_->size(), std::numeric_limits<double>::quiet_NaN());
  recorder_ = std::make_unique<ArmRecorder>(arm_->size());
  start_node();
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_configure(const rclcpp_lifecycle::State & /*previous_state*/)
{
  if (!find_interfaces()) {
    return CallbackReturn::ERROR;
  }
  const Report report = arm_->connect();
  remember(report.text());
  recorder_->set(*arm_);
  if (!log(report)) {
    return CallbackReturn::ERROR;
  }
  known_faults_.assign(arm_->size(), 0);
  known_misses_.assign(arm_->size(), 0);
  known_goals_.assign(arm_->size(), 0);
  publish_states();
  const bool limp = arm_->config().leader;
  RCLCPP_INFO(
    get_logger(), "%zu servos found on %s%s", arm_->size(), arm_->config().port.c_str(),
    limp ? ", torque off: a leader arm" : "");
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_activate(const rclcpp_lifecycle::State & /*previous_state*/)
{
  const Report report = arm_->activate();
  if (arm_->config().leader) {
    log(report);
    return CallbackReturn::FAILURE;  // it goes on being read
  }
  remember(report.text());
  recorder_->set(*arm_);
  if (!log(report)) {
    return CallbackReturn::ERROR;
  }
  publish_states();
  for (std::size_t i = 0; i < arm_->size(); ++i) {
    // A command of an earlier activation would make the arm jump.
    goals_[i] = arm_->goal(i);
    if (!set_surely(*interfaces_[i].command, goals_[i])) {
      RCLCPP_ERROR(
        get_logger(), "%s: its command interface is in use; stop its controller, then activate",
        arm_->config().joints[i].name.c_str());
      return CallbackReturn::ERROR;
    }
  }
  RCLCPP_INFO(get_logger(), "torque on");
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_deactivate(const rclcpp_lifecycle::State & /*previous_state*/)
{
  RCLCPP_INFO(get_logger(), "%s", arm_->summary().c_str());
  if (!arm_->config().torque_off_on_deactivate) {
    arm_->stop_writing();
    RCLCPP_INFO(get_logger(), "the torque stays on (torque_off_on_deactivate is false)");
    return CallbackReturn::SUCCESS;
  }
  const Report report = arm_->torque_off();
  recorder_->set(*arm_);
  if (!log(report)) {
    return CallbackReturn::ERROR;
  }
  RCLCPP_INFO(get_logger(), "torque off");
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_cleanup(const rclcpp_lifecycle::State & /*previous_state*/)
{
  disconnect();
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_shutdown(const rclcpp_lifecycle::State & /*previous_state*/)
{
  disconnect();
  return CallbackReturn::SUCCESS;
}

CallbackReturn SO100System::on_error(const rclcpp_lifecycle::State & /*previous_state*/)
{
  disconnect();
  return CallbackReturn::SUCCESS;
}

return_type SO100System::read(const rclcpp::Time & /*time*/, const rclcpp::Duration & /*period*/)
{
  if (!arm_->read()) {
    return give_up();
  }
  recorder_->add(*arm_);
  publish_states();
  warn_of_faults();
  return return_type::OK;
}

return_type SO100System::write(const rclcpp::Time & /*time*/, const rclcpp::Duration & /*period*/)
{
  for (std::size_t i = 0; i < goals_.size(); ++i) {
    // Empty while another thread holds the interface: the last command is as good for a cycle.
    const auto command = interfaces_[i].command->get_optional();
    goals_[i] = command ? *command : goals_[i];
  }
  if (!arm_->write(goals_.data())) {
    return give_up();
  }
  warn_of_goals();
  return return_type::OK;
}

void SO100System::start_node()
{
  if (!rclcpp::ok()) {
    return;  // a program that only parses descriptions
  }
  try {
    node_ = std::make_unique<DriverNode>(
      info_.name, arm_->config().port,
      DriverCallbacks{
        [this] { return diagnose(); }, [this] { return stop(); }, [this] { return reset_stop(); }});
  } catch (const std::exception & error) {
    RCLCPP_WARN(get_logger(), "goes on without /diagnostics and ~/stop: %s", error.what());
  }
}

std::vector<Diagnostic> SO100System::diagnose()
{
  const auto now = feetech::Clock::now();
  history_.push_back(with_orders(recorder_->take()));
  while (history_.front().time < now - kLately && history_.size() > 1) {
    history_.pop_front();
  }
  std::string why = failure();
  why = why.empty() ? why : sentence(why) + " Then: " + recovery();
  return describe(arm_->config(), history_.back(), history_.front(), now, why);
}

std::string SO100System::failure()
{
  const std::lock_guard<std::mutex> lock(failure_mutex_);
  return failure_;
}

ArmRecord SO100System::with_orders(ArmRecord record) const
{
  if (arm_->reset_pending() && !record.connected) {
    record.stop = StopPhase::none;
  } else if (arm_->stop_pending()) {
    record.stop = StopPhase::latched;
    record.stop_tries = 0;
  }
  return record;
}

StopOutcome SO100System::stop_outcome(const ArmRecord & record)
{
  return describe_stop(arm_->config(), record, failure());
}

StopOutcome SO100System::stop()
{
  const bool anew = with_orders(recorder_->peek()).stop != StopPhase::latched;
  arm_->stop();
  const auto deadline = std::chrono::steady_clock::now() + kOrderTime;
  StopOutcome outcome;
  do {
    const ArmRecord record = with_orders(recorder_->peek());
    outcome = stop_outcome(record);
    if (outcome.confirmed || !record.connected) {
      break;
    }
    std::this_thread::sleep_for(kOrderPoll);
  } while (std::chrono::steady_clock::now() < deadline);
  if (anew && outcome.confirmed) {
    RCLCPP_WARN(get_logger(), "STOPPED: %s", outcome.text.c_str());
  } else if (anew) {
    RCLCPP_ERROR(get_logger(), "STOPPED, but %s", outcome.text.c_str());
  }
  return outcome;
}

StopOutcome SO100System::reset_stop()
{
  const ArmRecord before = with_orders(recorder_->peek());
  if (before.stop != StopPhase::latched) {
    return {true, "was not stopped"};
  }
  arm_->reset_stop();
  const auto deadline = std::chrono::steady_clock::now() + kOrderTime;
  ArmRecord record = before;
  while (record.stop == StopPhase::latched && record.stop_refusals == before.stop_refusals) {
    if (std::chrono::steady_clock::now() > deadline) {
      arm_->stop();  // nobody counts on the reset any more
      return {false, "the control loop has not come to it: look at the controller manager"};
    }
    std::this_thread::sleep_for(kOrderPoll);
    record = with_orders(recorder_->peek());
  }
  if (record.stop != StopPhase::latched) {
    RCLCPP_INFO(get_logger(), "the stop was reset");
    return {true, record.connected ? "reset" : "reset; the driver is not connected to the arm"};
  }
  const StopOutcome outcome = stop_outcome(record);
  return {
    false,
    outcome.confirmed ? "a servo did not confirm that its torque is on: try again" : outcome.text};
}

void SO100System::remember(const std::string & failure)
{
  std::string line = failure;
  std::replace(line.begin(), line.end(), '\n', ' ');
  const std::lock_guard<std::mutex> lock(failure_mutex_);
  failure_ = line;
}

return_type SO100System::give_up()
{
  const std::string failure = arm_->failure();
  remember(failure);
  RCLCPP_ERROR(
    get_logger(), "%s The arm is given up, its torque goes off. When that is mended: %s",
    sentence(failure).c_str(), recovery().c_str());
  return return_type::ERROR;
}

std::string SO100System::recovery() const
{
  return recovery_commands(info_.name, node_ ? node_->name_space() : "");
}

bool SO100System::find_interfaces()
{
  const auto find = [](const auto & all, const std::string & name) {
    const auto found = std::find_if(
      all.begin(), all.end(), [&name](const auto & one) { return one->get_name() == name; });
    return found == all.end() ? nullptr : *found;
  };
  interfaces_.clear();
  for (const JointConfig & joint : arm_->config().joints) {
    JointInterfaces found;
    for (std::size_t i = 0; i < kMeasurements.size(); ++i) {
      found.measurements[i] = find(joint_states_, joint.name + "/" + kMeasurements[i].interface);
    }
    for (std::size_t i = 0; i < kCounters.size(); ++i) {
      found.counters[i] = find(joint_states_, joint.name + "/" + kCounters[i].name);
    }
    found.command = find(joint_commands_, joint.name + "/position");
    if (found.command == nullptr) {
      RCLCPP_ERROR(get_logger(), "%s: no command interface was exported", joint.name.c_str());
      return false;
    }
    interfaces_.push_back(std::move(found));
  }
  return true;
}

void SO100System::publish_states()
{
  // False while another thread reads the interface: the next cycle brings a newer value.
  const auto set = [](const State & interface, double value) {
    static_cast<void>(interface != nullptr && interface->set_value(value));
  };
  for (std::size_t joint = 0; joint < interfaces_.size(); ++joint) {
    for (std::size_t i = 0; i < kMeasurements.size(); ++i) {
      set(interfaces_[joint].measurements[i], arm_->state(joint).*kMeasurements[i].value);
    }
    for (std::size_t i = 0; i < kCounters.size(); ++i) {
      set(
        interfaces_[joint].counters[i],
        static_cast<double>(arm_->counters(joint).*kCounters[i].value));
    }
  }
}

void SO100System::warn_of_faults()
{
  for (std::size_t i = 0; i < arm_->size(); ++i) {
    const std::uint8_t faults = arm_->state(i).faults();
    if ((faults & ~known_faults_[i]) != 0) {
      RCLCPP_WARN_THROTTLE(
        get_logger(), *get_clock(), kThrottleMs, "%s reports: %s",
        arm_->config().joints[i].label().c_str(), feetech::status_text(faults).c_str());
    }
    known_faults_[i] = faults;

    const JointCounters & counters = arm_->counters(i);
    if (counters.missed_reads != known_misses_[i]) {
      RCLCPP_WARN_THROTTLE(
        get_logger(), *get_clock(), kThrottleMs,
        "%s did not answer, its last state is held (%u in a row, %llu in all)",
        arm_->config().joints[i].label().c_str(), counters.missed_in_a_row,
        static_cast<unsigned long long>(counters.missed_reads));
      known_misses_[i] = counters.missed_reads;
    }
  }
}

void SO100System::warn_of_goals()
{
  for (std::size_t i = 0; i < arm_->size(); ++i) {
    const JointCounters & counters = arm_->counters(i);
    const std::uint64_t odd = counters.clamped_goals + counters.rejected_goals;
    if (odd == known_goals_[i]) {
      continue;
    }
    known_goals_[i] = odd;
    if (std::isfinite(goals_[i])) {
      RCLCPP_WARN_THROTTLE(
        get_logger(), *get_clock(), kThrottleMs,
        "%s: %.3f rad lies outside of its calibrated range and was clamped to %.3f rad",
        arm_->config().joints[i].label().c_str(), goals_[i], arm_->goal(i));
    } else {
      RCLCPP_WARN_THROTTLE(
        get_logger(), *get_clock(), kThrottleMs,
        "%s: a command that is no number was not sent; the last one stays",
        arm_->config().joints[i].label().c_str());
    }
  }
}

bool SO100System::log(const Report & report)
{
  for (const std::string & warning : report.warnings) {
    RCLCPP_WARN(get_logger(), "%s", warning.c_str());
  }
  for (const std::string & error : report.errors) {
    RCLCPP_ERROR(get_logger(), "%s", error.c_str());
  }
  return report.ok();
}

void SO100System::disconnect()
{
  if (arm_ == nullptr || !arm_->connected()) {
    return;
  }
  if (log(arm_->disconnect())) {
    RCLCPP_INFO(get_logger(), "torque off, port closed");
  }
  recorder_->set(*arm_);
}

}  // namespace so100_hardware

PLUGINLIB_EXPORT_CLASS(so100_hardware::SO100System, hardware_interface::SystemInterface)
