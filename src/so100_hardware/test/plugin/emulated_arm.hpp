// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "allocation_counter.hpp"
#include "arm.hpp"
#include "descriptions.hpp"
#include "emulated_bus.hpp"
#include "so100_hardware/calibration.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/joints.hpp"
#include "so100_hardware/so100_arm.hpp"

namespace so100_hardware::test
{

namespace registers = feetech::registers;

/// Six emulated servos in a time of their own, calibrated; nothing sleeps.
class EmulatedArm
{
public:
  /// LeRobot's arm, or `count` joints named PREFIX1, PREFIX2, …
  explicit EmulatedArm(std::size_t count = kJoints.size(), const std::string & prefix = "")
  : calibration(make_calibration(count, prefix)), arm(make_servos(count)), faults(count)
  {
    for (std::size_t i = 0; i < count; ++i) {
      const JointCalibration & joint = calibration.joints[i];
      feetech_set(i, registers::homing_offset, joint.homing_offset);
      feetech_set(i, registers::min_position_limit, joint.range_min);
      feetech_set(i, registers::max_position_limit, joint.range_max);
    }
    char folder[] = "/tmp/so100_plugin_XXXXXX";
    folder_ = mkdtemp(folder);
    std::ofstream(file()) << to_json(calibration);
  }
  ~EmulatedArm() { std::filesystem::remove_all(folder_); }

  std::string file() const { return (folder_ / "arm.json").string(); }

  /// The configuration of this arm, with `parameters` on top.
  SystemConfig config(const Parameters & parameters = {}) const
  {
    SystemDescription description = arm_description();
    description.parameters["calibration_file"] = file();
    for (const auto & [name, value] : parameters) {
      description.parameters[name] = value;
    }
    const ParsedConfig parsed = parse_config(description);
    EXPECT_EQ(parsed.text(), "");
    return parsed.config;
  }

  So100Arm::OpenPort port()
  {
    return [this](
             const std::string & path,
             int baud) -> feetech::Result<std::unique_ptr<feetech::Transport>> {
      ++opened;
      if (!plugged) {
        return feetech::port_error(feetech::Errc::no_such_port, path);
      }
      return std::unique_ptr<feetech::Transport>(std::make_unique<Line>(*this, baud));
    };
  }

  int get(std::size_t joint, const feetech::Register & reg) { return servo(joint).get(reg); }
  void feetech_set(std::size_t joint, const feetech::Register & reg, int value)
  {
    servo(joint).memory().set(reg, value);
  }
  emulator::ServoModel & servo(std::size_t joint) { return arm.unit(joint).servo; }
  void wait(std::chrono::milliseconds time)
  {
    now += time;
    arm.advance_to(now);
  }

  static Calibration make_calibration(std::size_t count, const std::string & prefix)
  {
    Calibration made;
    const std::array<TickRange, 6> ranges{
      {{755, 3327}, {820, 3200}, {900, 3090}, {870, 3210}, {0, 4095}, {2030, 3480}}};
    for (std::size_t i = 0; i < count; ++i) {
      const TickRange range = ranges[std::min(i, std::size_t{4})];
      made.joints.push_back(
        {prefix.empty() ? std::string(kJoints[i].name) : prefix + std::to_string(i + 1),
         static_cast<int>(i) + 1, 0, static_cast<int>(i) * 3 - 7,
         i == 5 && prefix.empty() ? ranges[5].min : range.min,
         i == 5 && prefix.empty() ? ranges[5].max : range.max});
    }
    return made;
  }

  static std::vector<emulator::ServoOptions> make_servos(std::size_t count)
  {
    std::vector<emulator::ServoOptions> servos(count);
    for (std::size_t i = 0; i < servos.size(); ++i) {
      servos[i].identity.id = static_cast<std::uint8_t>(i + 1);
      servos[i].joint.start = 2200.0;
      servos[i].joint.rest = 2200.0;
    }
    return servos;
  }

  Calibration calibration;
  feetech::TimePoint now{std::chrono::seconds(1000)};
  emulator::Arm arm;
  emulator::Faults faults;
  emulator::EmulatedBus bus{arm, faults};
  bool plugged = true;
  int opened = 0;
  /// Every register write that left the host, in order: address of the first byte.
  std::vector<std::pair<int, int>> writes;  ///< (id, address)

private:
  // The host's end of the line.
  class Line : public feetech::Transport
  {
  public:
    Line(EmulatedArm & world, int baud) : world_(world), baud_(baud) {}

    feetech::Result<void> write(const std::uint8_t * bytes, std::size_t size) override
    {
      const PauseCounting pause;
      if (!is_open()) {
        return gone();
      }
      if (size > 5 && (bytes[4] == 0x03 || bytes[4] == 0x83)) {
        world_.writes.emplace_back(bytes[2], bytes[5]);
      }
      world_.bus.receive(bytes, size, baud_, world_.now);
      return {};
    }

    feetech::Result<std::size_t> read(
      std::uint8_t * bytes, std::size_t capacity, feetech::TimePoint deadline) override
    {
      const PauseCounting pause;
      while (is_open() && arrived_.size() < capacity) {
        const auto next = world_.bus.next_arrival();
        if (!next || *next > deadline) {
          break;
        }
        world_.now = std::max(world_.now, *next);
        take();
      }
      if (!is_open()) {
        return gone();
      }
      if (arrived_.size() < capacity) {
        world_.now = std::max(world_.now, deadline);
      }
      const std::size_t count = std::min(capacity, arrived_.size());
      std::copy_n(arrived_.begin(), count, bytes);
      arrived_.erase(arrived_.begin(), arrived_.begin() + static_cast<std::ptrdiff_t>(count));
      return count;
    }

    std::size_t flush_input() override
    {
      const PauseCounting pause;
      take();
      const std::size_t count = arrived_.size();
      arrived_.clear();
      return count;
    }

    bool is_open() const override { return world_.plugged; }
    feetech::TimePoint now() const override { return world_.now; }

  private:
    feetech::Error gone() const
    {
      return feetech::port_error(feetech::Errc::port_gone, "/dev/ttyACM0");
    }
    void take()
    {
      const auto bytes = world_.bus.collect(world_.now);
      arrived_.insert(arrived_.end(), bytes.begin(), bytes.end());
    }

    EmulatedArm & world_;
    int baud_;
    std::deque<std::uint8_t> arrived_;
  };

  std::filesystem::path folder_;
};

/// An arm on emulated servos, and its control cycle.
class ArmTest : public ::testing::Test
{
protected:
  So100Arm & make(const Parameters & parameters = {})
  {
    arm_ = std::make_unique<So100Arm>(world.config(parameters), world.port());
    return *arm_;
  }
  So100Arm & active(const Parameters & parameters = {})
  {
    make(parameters);
    EXPECT_EQ(arm_->connect().text(), "");
    EXPECT_EQ(arm_->activate().text(), "");
    for (std::size_t i = 0; i < goals.size(); ++i) {
      goals[i] = arm_->goal(i);
    }
    return *arm_;
  }
  /// One cycle of 10 ms.
  bool cycle()
  {
    const auto end = world.now + std::chrono::milliseconds(10);
    const bool good = arm_->read() && arm_->write(goals.data());
    if (world.now < end) {
      world.wait(std::chrono::duration_cast<std::chrono::milliseconds>(end - world.now));
    }
    return good;
  }

  EmulatedArm world;
  std::unique_ptr<So100Arm> arm_;
  std::array<double, 6> goals{};
};

}  // namespace so100_hardware::test
