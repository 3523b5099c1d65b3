// SPDX-License-Identifier: Apache-2.0
// The plugin as ros2_control loads it, against the emulator as a process of its own.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "diagnostic_msgs/msg/diagnostic_array.hpp"
#include "emulator_process.hpp"
#include "hardware_interface/resource_manager.hpp"
#include "lifecycle_msgs/msg/state.hpp"
#include "rclcpp/rclcpp.hpp"
#include "so100_hardware/calibration.hpp"
#include "so100_hardware/conversions.hpp"
#include "so100_hardware/joints.hpp"
#include "std_msgs/msg/bool.hpp"
#include "std_srvs/srv/trigger.hpp"

namespace so100_hardware
{
namespace
{

using hardware_interface::ResourceManager;
using lifecycle_msgs::msg::State;
using test::EmulatorProcess;

const std::chrono::milliseconds kPeriod{10};

std::string with(std::string text, const std::string & from, const std::string & to)
{
  const auto place = text.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  return place == std::string::npos ? text : text.replace(place, from.size(), to);
}

class SO100SystemTest : public ::testing::Test
{
protected:
  void SetUp() override
  {
    std::string name = std::filesystem::temp_directory_path() / "so100_system_XXXXXX";
    folder_ = mkdtemp(name.data());
    for (const JointInfo & joint : kJoints) {
      const bool full = joint.name == kFullTurnJoint;
      calibration_.joints.push_back(
        {std::string(joint.name), joint.id, 0, 10, full ? 0 : 1000, full ? kMaxTick : 3000});
    }
    std::ofstream(folder_ / "arm.json") << to_json(calibration_);
    std::ifstream file(SO100_FIXTURE_URDF);
    urdf_ = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    urdf_ = with(urdf_, "@PORT@", port());
    urdf_ = with(urdf_, "@CALIBRATION@", (folder_ / "arm.json").string());
    // The emulator's servos come from the factory, and it shares the machine with other tests.
    urdf_ = with(
      urdf_, "</hardware>",
      "<param name=\"write_calibration\">true</param>"
      "<param name=\"read_timeout\">0.05</param></hardware>");
  }
  void TearDown() override
  {
    manager_.reset();
    emulator_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string port() const { return (folder_ / "port").string(); }

  void start_emulator()
  {
    emulator_ = std::make_unique<EmulatorProcess>(
      SO100_EMULATOR, (folder_ / "control").string(),
      std::vector<std::string>{"--link", port(), "--gravity", "0"});
    ASSERT_NE(emulator_->port(), "");
  }

  bool load(const std::string & urdf)
  {
    manager_ = std::make_unique<ResourceManager>(
      urdf, std::make_shared<rclcpp::Clock>(RCL_STEADY_TIME), rclcpp::get_logger("test"));
    return manager_->are_components_initialized();
  }

  std::uint8_t state() { return manager_->get_components_status().at("so100").state.id(); }
  bool go_to(std::uint8_t id, const std::string & label)
  {
    rclcpp_lifecycle::State target(id, label);
    manager_->set_component_state("so100", target);
    return state() == id;
  }
  bool configure() { return go_to(State::PRIMARY_STATE_INACTIVE, "inactive"); }
  bool activate() { return go_to(State::PRIMARY_STATE_ACTIVE, "active"); }
  bool unconfigure() { return go_to(State::PRIMARY_STATE_UNCONFIGURED, "unconfigured"); }

  void cycle()
  {
    const auto end = std::chrono::steady_clock::now() + kPeriod;
    const rclcpp::Time now(0, 0, RCL_STEADY_TIME);
    manager_->read(now, rclcpp::Duration(kPeriod));
    manager_->write(now, rclcpp::Duration(kPeriod));
    std::this_thread::sleep_until(end);
  }
  /// Cycles until it is so, at most `limit` times.
  bool cycle_until(const std::function<bool()> & so, int limit)
  {
    for (int i = 0; i < limit && !so(); ++i) {
      cycle();
    }
    return so();
  }

  double value(const std::string & interface)
  {
    return manager_->claim_state_interface(interface).get_optional().value_or(std::nan(""));
  }
  /// "torque" and the like of one servo, as the emulator has it.
  std::string emulated(int id, const std::string & key)
  {
    const std::string shown = emulator_->command("show " + std::to_string(id));
    const std::string name = "\"" + key + "\":";
    const auto from = shown.find(name);
    if (from == std::string::npos) {
      return shown;
    }
    return shown.substr(from + name.size(), shown.find_first_of(",}", from) - from - name.size());
  }
  void expect_torque(const std::string & expected, int except = -1)
  {
    for (const JointInfo & joint : kJoints) {
      if (joint.id != except) {
        EXPECT_EQ(emulated(joint.id, "torque"), expected) << joint.name;
      }
    }
  }

  /// What the driver answers to "stop" or "reset_stop", while the control cycle goes on.
  std_srvs::srv::Trigger::Response order(const std::string & name)
  {
    using std_srvs::srv::Trigger;
    const auto node = std::make_shared<rclcpp::Node>("caller");
    const auto client = node->create_client<Trigger>("/so100_driver/" + name);
    std_srvs::srv::Trigger::Response answer;
    answer.message = "(none)";
    if (!cycle_until([&client] { return client->service_is_ready(); }, 500)) {
      return answer;
    }
    const auto future =
      client->async_send_request(std::make_shared<Trigger::Request>()).future.share();
    const auto answered = [&node, &future] {
      rclcpp::spin_some(node);
      return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    if (cycle_until(answered, 500)) {
      answer = *future.get();
    }
    return answer;
  }

  std::filesystem::path folder_;
  Calibration calibration_;
  std::string urdf_;
  std::unique_ptr<EmulatorProcess> emulator_;
  std::unique_ptr<ResourceManager> manager_;
};

TEST_F(SO100SystemTest, LoadingTouchesNoPort)
{
  ASSERT_TRUE(load(urdf_)) << "the port does not even exist";
  EXPECT_EQ(state(), State::PRIMARY_STATE_UNCONFIGURED);
  EXPECT_FALSE(configure());
  EXPECT_EQ(state(), State::PRIMARY_STATE_UNCONFIGURED);
}

TEST_F(SO100SystemTest, BadDescriptionsAreRefused)
{
  EXPECT_FALSE(load(with(urdf_, "<param name=\"id\">3</param>", ""))) << "joint without id";
  EXPECT_FALSE(load(with(urdf_, port(), "ttyACM0"))) << "bad port";
  EXPECT_FALSE(load(with(
    urdf_, "<param name=\"id\">3</param>",
    "<param name=\"id\">3</param><param name=\"p_cofficient\">16</param>")))
    << "unknown parameter";
  EXPECT_FALSE(load(with(
    urdf_, "<state_interface name=\"status\"/>",
    "<state_interface name=\"status\" data_type=\"uint8\"/>")))
    << "interface that is no number";
  EXPECT_TRUE(load(urdf_));
}

TEST_F(SO100SystemTest, Lifecycle)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure());
  cycle();
  EXPECT_NEAR(value("elbow_flex/voltage"), 12.0, 0.2);
  EXPECT_TRUE(std::isfinite(value("elbow_flex/position")));
  expect_torque("0");

  ASSERT_TRUE(activate());
  expect_torque("1");
  {
    auto command = manager_->claim_command_interface("elbow_flex/position");
    EXPECT_NEAR(command.get_optional().value(), value("elbow_flex/position"), 0.01);
    ASSERT_TRUE(command.set_value(0.5));
    EXPECT_TRUE(
      cycle_until([this] { return std::abs(value("elbow_flex/position") - 0.5) < 0.02; }, 300))
      << value("elbow_flex/position");

    ASSERT_TRUE(command.set_value(std::numeric_limits<double>::quiet_NaN()));
    for (int i = 0; i < 5; ++i) {
      cycle();
    }
    EXPECT_NEAR(value("elbow_flex/position"), 0.5, 0.02);
    // 3.1 rad lies within the URDF's limits, and outside of the calibrated 1000 to 3000 ticks.
    ASSERT_TRUE(command.set_value(3.1));
    cycle();
    EXPECT_EQ(emulated(3, "goal"), "3000");
  }
  EXPECT_EQ(value("elbow_flex/status"), 0.0);
  EXPECT_EQ(state(), State::PRIMARY_STATE_ACTIVE);

  ASSERT_TRUE(configure()) << "active to inactive";
  expect_torque("0");
  ASSERT_TRUE(activate());
  expect_torque("1");
  {
    auto command = manager_->claim_command_interface("elbow_flex/position");
    EXPECT_NEAR(command.get_optional().value(), value("elbow_flex/position"), 0.01)
      << "the command of the first activation must be gone";
  }
  ASSERT_TRUE(configure());
  ASSERT_TRUE(unconfigure());
  expect_torque("0");
}

TEST_F(SO100SystemTest, TorqueMayStayOnWhenDeactivated)
{
  start_emulator();
  ASSERT_TRUE(load(with(
    urdf_, "</hardware>", "<param name=\"torque_off_on_deactivate\">false</param></hardware>")));
  ASSERT_TRUE(configure() && activate() && configure());
  expect_torque("1");
  for (int i = 0; i < 3; ++i) {
    cycle();
  }
  expect_torque("1");
  ASSERT_TRUE(unconfigure());
  expect_torque("0");
}

TEST_F(SO100SystemTest, DestructionSwitchesOff)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  manager_.reset();
  expect_torque("0");
}

TEST_F(SO100SystemTest, SilentServoEndsInErrorAndTorqueOffForTheOthers)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  ASSERT_EQ(emulator_->command("silent 3 on"), "ok");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(cycle_until([this] { return state() != State::PRIMARY_STATE_ACTIVE; }, 30));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(200))
    << "answer_timeout";
  EXPECT_EQ(state(), State::PRIMARY_STATE_UNCONFIGURED);
  expect_torque("0", 3);
  EXPECT_FALSE(configure()) << "the servo is still missing";
  ASSERT_EQ(emulator_->command("silent 3 off"), "ok");
  ASSERT_TRUE(configure() && activate());
  cycle();
  EXPECT_EQ(state(), State::PRIMARY_STATE_ACTIVE);
}

TEST_F(SO100SystemTest, DiagnosticsTellHowTheArmIsAndHowItComesBack)
{
  using diagnostic_msgs::msg::DiagnosticArray;
  using diagnostic_msgs::msg::DiagnosticStatus;
  std::map<std::string, DiagnosticStatus> seen;
  const auto node = std::make_shared<rclcpp::Node>("listener");
  const auto subscription = node->create_subscription<DiagnosticArray>(
    "/diagnostics", 10, [&seen](const DiagnosticArray & message) {
      for (const DiagnosticStatus & status : message.status) {
        seen[status.name] = status;
      }
    });
  const auto published = [&](
                           const std::string & name, std::uint8_t level, const std::string & text) {
    const bool so = cycle_until(
      [&] {
        rclcpp::spin_some(node);
        const DiagnosticStatus & one = seen[name];
        return one.level == level && one.message.find(text) != std::string::npos;
      },
      1000);
    return so ? "" : name + ", " + std::to_string(seen[name].level) + ": " + seen[name].message;
  };
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  EXPECT_EQ(published("so100: bus", DiagnosticStatus::WARN, "not connected"), "");
  ASSERT_TRUE(configure() && activate());
  EXPECT_EQ(published("so100: bus", DiagnosticStatus::OK, "6 servos answer"), "");
  EXPECT_EQ(published("so100: wrist_flex", DiagnosticStatus::OK, " V, "), "");
  EXPECT_EQ(seen["so100: wrist_flex"].hardware_id, port());
  ASSERT_EQ(emulator_->command("temperature 4 66"), "ok");
  EXPECT_EQ(published("so100: wrist_flex", DiagnosticStatus::WARN, "servo maximum 70"), "");
  ASSERT_EQ(emulator_->command("silent 6 on"), "ok");
  EXPECT_EQ(
    published("so100: bus", DiagnosticStatus::ERROR, "gripper (id 6) has not answered"), "");
  EXPECT_NE(
    seen["so100: bus"].message.find("ros2 control set_hardware_component_state so100 active"),
    std::string::npos);
  EXPECT_EQ(published("so100: gripper", DiagnosticStatus::STALE, "not connected"), "");
  ASSERT_EQ(emulator_->command("silent 6 off"), "ok");
  ASSERT_TRUE(activate()) << "from unconfigured at once";
  EXPECT_EQ(published("so100: bus", DiagnosticStatus::OK, "torque on"), "");
  ASSERT_TRUE(order("stop").success);
  EXPECT_EQ(published("so100: bus", DiagnosticStatus::ERROR, "STOPPED: all 6 servos answered"), "");
  ASSERT_EQ(emulator_->command("silent 4 on"), "ok");
  EXPECT_EQ(
    published("so100: bus", DiagnosticStatus::ERROR, "wrist_flex (id 4) did not answer"), "");
}

TEST_F(SO100SystemTest, StopIsConfirmedLatchedAndResetWithoutAJump)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  auto command = manager_->claim_command_interface("elbow_flex/position");
  const double start = value("elbow_flex/position");
  ASSERT_TRUE(command.set_value(start + 1.0));
  ASSERT_TRUE(cycle_until(
    [this, start] { return std::abs(value("elbow_flex/position") - start) > 0.1; }, 100));
  const auto stopped = order("stop");
  EXPECT_TRUE(stopped.success);
  EXPECT_EQ(stopped.message, "all 6 servos answered and hold");
  for (int i = 0; i < 100; ++i) {
    cycle();
  }
  const double held = value("elbow_flex/position");
  EXPECT_LT(std::abs(held - start), 0.8) << "not where the command still is";
  const auto reset = order("reset_stop");
  EXPECT_TRUE(reset.success) << reset.message;
  for (int i = 0; i < 50; ++i) {
    cycle();
  }
  EXPECT_NEAR(value("elbow_flex/position"), held, 0.02) << "the old command is left out";
  expect_torque("1");
  // All joints count; the others have stood still.
  ASSERT_TRUE(command.set_value(held + 0.05));
  EXPECT_TRUE(cycle_until(
    [this, held] { return std::abs(value("elbow_flex/position") - held - 0.05) < 0.02; }, 100));
}

TEST_F(SO100SystemTest, StopNamesASilentServoAndTheResetIsRefused)
{
  start_emulator();
  ASSERT_TRUE(
    load(with(urdf_, "</hardware>", "<param name=\"on_stop\">torque_off</param></hardware>")));
  ASSERT_TRUE(configure() && activate());
  cycle();
  ASSERT_EQ(emulator_->command("silent 3 on"), "ok");
  const auto stopped = order("stop");
  EXPECT_FALSE(stopped.success);
  EXPECT_EQ(stopped.message, "elbow_flex (id 3) did not answer; cut the power");
  expect_torque("0", 3);
  const auto refused = order("reset_stop");
  EXPECT_FALSE(refused.success);
  EXPECT_EQ(refused.message, stopped.message);
  EXPECT_EQ(state(), State::PRIMARY_STATE_ACTIVE) << "it goes on asking";
  ASSERT_EQ(emulator_->command("silent 3 off"), "ok");
  EXPECT_TRUE(cycle_until([this] { return emulated(3, "torque") == "0"; }, 100));
  const auto reset = order("reset_stop");
  EXPECT_TRUE(reset.success) << reset.message;
  expect_torque("1");
}

TEST_F(SO100SystemTest, TheTopicEstopStopsAndHoldsTheReset)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  const auto node = std::make_shared<rclcpp::Node>("button");
  const auto button = node->create_publisher<std_msgs::msg::Bool>("/estop", 10);
  ASSERT_TRUE(cycle_until([&button] { return button->get_subscription_count() > 0; }, 500));
  std_msgs::msg::Bool message;
  message.data = true;
  button->publish(message);
  // The message and the order come on ways of their own.
  std::string answer;
  for (int i = 0; i < 10 && answer.find("/estop says true still") == std::string::npos; ++i) {
    answer = order("reset_stop").message;
  }
  EXPECT_NE(answer.find("/estop says true still"), std::string::npos) << answer;
  message.data = false;
  button->publish(message);
  for (int i = 0; i < 10 && answer.find("/estop") != std::string::npos; ++i) {
    answer = order("reset_stop").message;
  }
  EXPECT_EQ(answer, "reset") << "it had been stopped";
}

TEST_F(SO100SystemTest, StopOfAnUnpluggedArmNamesTheServos)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  EXPECT_EQ(order("stop").message, "the driver is not connected to the arm");
  EXPECT_TRUE(order("reset_stop").success);
  ASSERT_TRUE(configure() && activate());
  cycle();
  ASSERT_EQ(emulator_->command("unplug"), "ok");
  const auto stopped = order("stop");
  EXPECT_FALSE(stopped.success);
  EXPECT_EQ(stopped.message.find("shoulder_pan (id 1), shoulder_lift (id 2)"), 0u)
    << stopped.message;
  EXPECT_NE(stopped.message.find("cut the power"), std::string::npos) << stopped.message;
}

TEST_F(SO100SystemTest, UnpluggedAndPluggedInAgain)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  cycle();
  ASSERT_EQ(emulator_->command("unplug"), "ok");
  EXPECT_TRUE(cycle_until([this] { return state() == State::PRIMARY_STATE_UNCONFIGURED; }, 20));
  EXPECT_FALSE(configure());
  ASSERT_EQ(emulator_->command("plug").substr(0, 2), "ok");
  ASSERT_TRUE(configure() && activate());
  expect_torque("1");
  cycle();
  EXPECT_EQ(state(), State::PRIMARY_STATE_ACTIVE);
}

TEST_F(SO100SystemTest, EmulatorKilled)
{
  start_emulator();
  ASSERT_TRUE(load(urdf_));
  ASSERT_TRUE(configure() && activate());
  cycle();
  emulator_->kill();
  EXPECT_TRUE(cycle_until([this] { return state() == State::PRIMARY_STATE_UNCONFIGURED; }, 20));
}

}  // namespace
}  // namespace so100_hardware

int main(int argc, char ** argv)
{
  ::testing::InitGoogleTest(&argc, argv);
  rclcpp::init(argc, argv);
  const int result = RUN_ALL_TESTS();
  rclcpp::shutdown();
  return result;
}
