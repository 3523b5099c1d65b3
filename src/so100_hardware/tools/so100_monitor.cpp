// SPDX-License-Identifier: Apache-2.0
// Shows what the servos measure and how well the bus works.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "arm.hpp"
#include "command_line.hpp"
#include "connection.hpp"
#include "so100_hardware/calibration_files.hpp"
#include "so100_hardware/joints.hpp"
#include "telemetry.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Settings
{
  bool once = false;
  bool csv = false;
  int count = 0;
  int rate = 20;
};

int watch(const CommandLine & program, Telemetry & telemetry, const Settings & settings)
{
  const auto period = std::chrono::microseconds(1000000 / settings.rate);
  const int count = settings.once ? 1 : settings.count;
  if (settings.csv) {
    std::fputs(Telemetry::csv_header().c_str(), stdout);
  }
  LiveText live;
  auto next = Clock::now();
  for (int i = 0; !interrupted() && (count == 0 || i < count); ++i) {
    const auto read = telemetry.read();
    if (!read) {
      live.finish(settings.csv ? "" : telemetry.table());
      return program.fail(read.error().text());
    }
    if (settings.csv) {
      std::fputs(telemetry.csv().c_str(), stdout);
    } else if (!settings.once) {
      live.show(telemetry.table());
    }
    if (std::fflush(stdout) != 0) {
      return kOk;  // the reader has seen enough, as with `| head`
    }
    // A read that took longer than the period is not caught up.
    next = std::max(next + period, Clock::now());
    if (count == 0 || i + 1 < count) {
      pause(std::chrono::ceil<milliseconds>(next - Clock::now()));
    }
  }
  if (!settings.csv) {
    live.finish(telemetry.table());
  }
  return settings.once && telemetry.faults() ? kCheckFailed : kOk;
}

// The servos of a list; the joints have their names from the calibration, else LeRobot's.
Arm arm_with(const std::vector<int> & ids, const Arm & calibrated)
{
  Arm arm;
  for (const int number : ids) {
    const auto known = std::find_if(
      calibrated.begin(), calibrated.end(), [number](const auto & s) { return s.id == number; });
    const JointInfo * joint = calibrated.empty() ? find_joint(number) : nullptr;
    arm.push_back(
      {known != calibrated.end() ? known->joint
       : joint != nullptr        ? std::string(joint->name)
                                 : "",
       static_cast<std::uint8_t>(number)});
  }
  return arm;
}

int run(int argc, char ** argv)
{
  std::string port;
  std::string id;
  std::vector<int> ids;
  int baud = feetech::kBaudRates.front();
  Settings settings;
  CommandLine program(
    "so100_monitor",
    "Shows position, speed, load, current, voltage, temperature and faults of the servos, and how\n"
    "many answers got lost or damaged. Writes nothing; Ctrl-C ends it.",
    "LOST %: requests without an answer. BAD %: answers that were damaged or not the servo's.\n"
    "With --id the table shows the position in radians as ROS does, and in LeRobot's units\n"
    "(degrees, gripper 0-100).\n"
    "\n"
    "Example: so100_monitor --id my_arm --csv --count 200 > motion.csv\n"
    "Returns 0: done. 1: --once, and a servo is silent or reports a fault. 2: it failed.");
  program.text("--port", "PATH", port, kPortHelp);
  program.text("--id", "NAME", id, "the arm's calibration: LeRobot's name of it, or a path");
  program.ids(ids, "servos, as 1-6 or 1,2,5 (default: 1-6; with --id the file's)");
  program.add_flag("--once", settings.once, "read once, print, end");
  program.add_flag("--csv", settings.csv, "print each read as lines of comma-separated values");
  program.number("--count", "N", settings.count, 1, 1000000000, "end after so many reads");
  program.number("--rate", "HZ", settings.rate, 1, 500, "reads per second")->capture_default_str();
  program.number("--baud", "RATE", baud, 1, 4000000, "baud rate of the bus")->capture_default_str();
  if (const auto code = program.read(argc, argv)) {
    return *code;
  }
  if (ids.size() > feetech::kMaxSyncServos) {
    return program.fail("--ids: up to 32 ids (see --help)");
  }
  LoadedCalibration loaded;
  if (!id.empty()) {
    loaded = find_calibration(id);
    if (!loaded.ok()) {
      return program.fail(loaded.problems.front());
    }
  }
  const Arm calibrated = arm_of(loaded.calibration);
  const Arm arm = !id.empty() && ids.empty()
                    ? calibrated
                    : arm_with(ids.empty() ? *parse_ids("1-6") : ids, calibrated);
  const PortChoice choice = choose_port(port);
  if (!choice.error.empty()) {
    return program.fail(choice.error);
  }
  catch_interrupts();
  auto connection = Connection::open(choice.port, baud);
  if (!connection) {
    return program.fail(connection.error().text());
  }
  Telemetry telemetry(connection.value().bus(), arm, loaded.calibration);
  return watch(program, telemetry, settings);
}

}  // namespace
}  // namespace so100_hardware::tools

int main(int argc, char ** argv) { return so100_hardware::tools::run(argc, argv); }
