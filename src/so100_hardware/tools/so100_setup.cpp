// SPDX-License-Identifier: Apache-2.0
// Gives the one servo that is connected its id, and the usual baud rate.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "command_line.hpp"
#include "connection.hpp"
#include "scan.hpp"
#include "so100_hardware/feetech/eeprom.hpp"
#include "so100_hardware/joints.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

namespace registers = feetech::registers;

constexpr int kBaud = feetech::kBaudRates.front();
constexpr int kBaudCode = 0;

struct Task
{
  std::string port;
  std::vector<int> bauds;  // to search
};

// Finds the servo; nothing, after saying why, when there is not exactly one fit servo.
std::optional<ScannedServo> find_servo(const CommandLine & program, const Task & task, int & code)
{
  const auto scan = scan_port(task.port, task.bauds, *parse_ids("1-6"));
  code = kCouldNot;
  if (!scan) {
    program.fail(scan.error().text());
    return std::nullopt;
  }
  if (interrupted()) {
    program.fail("interrupted; nothing was written");
    return std::nullopt;
  }
  const auto & servos = scan.value().servos;
  if (servos.empty()) {
    program.fail(
      scan.value().notices.empty()
        ? "no servo answered on " + task.port + "; check the power supply and the servo's cable"
        : scan.value().notices.front().text);
    return std::nullopt;
  }
  code = kCheckFailed;
  std::vector<int> ids;
  for (const ScannedServo & servo : servos) {
    ids.push_back(servo.id);
  }
  const ScannedServo & servo = servos.front();
  if (servos.size() > 1 || servo.duplicate) {
    program.fail(
      "several servos answer (id " + id_list(ids) +
      "); connect only the one to set up. Nothing was written");
    return std::nullopt;
  }
  for (const Notice & notice : scan.value().notices) {
    // The baud rate is what is mended here, and a fault is no hindrance to an id.
    if (notice.kind != Notice::Kind::baud && notice.kind != Notice::Kind::fault) {
      program.fail(notice.text + ". Nothing was written");
      return std::nullopt;
    }
  }
  return servo;
}

// Checks at the new rate that the servo is there under its new id, and locks it.
feetech::Result<void> verify(const Task & task, const ScannedServo & old, std::uint8_t id)
{
  auto connection = Connection::open(task.port, kBaud);
  if (!connection) {
    return connection.error();
  }
  feetech::Bus & bus = connection.value().bus();
  // After a change of the baud rate the lock is still open, see feetech/eeprom.hpp.
  const auto locked = bus.write(id, registers::lock, 1);
  if (!locked) {
    return locked.error();
  }
  const auto baud = bus.read(id, registers::baud_rate);
  if (!baud) {
    return baud.error();
  }
  feetech::Error error;
  error.servo = id;
  if (baud.value().value != kBaudCode) {
    error.code = feetech::Errc::not_stored;
    error.address = registers::baud_rate.address;
    error.value = baud.value().value;
    return error;
  }
  if (old.id != id && bus.ping(static_cast<std::uint8_t>(old.id)).ok()) {
    error.code = feetech::Errc::not_stored;
    error.address = registers::id.address;
    error.value = old.id;
    return error;
  }
  return bus.check_unique(id);
}

// The lock was open for a baud rate that the servo did not take over.
void lock_at(const Task & task, int baud, std::uint8_t id)
{
  auto connection = Connection::open(task.port, baud);
  if (connection) {
    static_cast<void>(connection.value().bus().write(id, registers::lock, 1));
  }
}

// `given`: ids of servos that were set up just before.
int set_up(
  const CommandLine & program, const Task & task, int wanted, const std::vector<int> & given = {})
{
  int code = kOk;
  const auto servo = find_servo(program, task, code);
  if (!servo) {
    return code;
  }
  // Enter pressed twice, or a cable forgotten: another id would undo the last step.
  if (servo->id != wanted && std::find(given.begin(), given.end(), servo->id) != given.end()) {
    program.fail(
      servo_label(servo->id) + " is still connected; connect the servo of " + servo_label(wanted) +
      " in its place. If this is that one, set it up with --id " + std::to_string(wanted) +
      ". Nothing was written");
    return kCheckFailed;
  }
  const auto id = static_cast<std::uint8_t>(wanted);
  if (servo->id == wanted && servo->baud == kBaud) {
    std::printf("%s: already set up at %d baud, nothing written\n", servo_label(id).c_str(), kBaud);
    return kOk;
  }
  std::vector<feetech::RegisterValue> values;
  if (servo->id != wanted) {
    values.push_back({registers::id, wanted});
  }
  if (servo->baud != kBaud) {
    values.push_back({registers::baud_rate, kBaudCode});
  }
  feetech::Result<void> result;
  {
    auto connection = Connection::open(task.port, servo->baud);
    result = connection.ok() ? feetech::write_eeprom(
                                 connection.value().bus(), static_cast<std::uint8_t>(servo->id),
                                 values.data(), values.size())
                             : feetech::Result<void>(connection.error());
  }
  if (result.ok()) {
    result = verify(task, *servo, id);
    if (!result && servo->baud != kBaud) {
      lock_at(task, servo->baud, id);
    }
  }
  if (!result) {
    return program.fail(
      result.error().text() + ". Look with so100_scan what was written, then try again");
  }
  std::printf(
    "%s: id %d -> %d, %d -> %d baud, written and read back\n", servo_label(id).c_str(), servo->id,
    wanted, servo->baud, kBaud);
  return kOk;
}

// From the gripper down to the base, as LeRobot does it: one servo after the other.
int set_up_all(const CommandLine & program, const Task & task)
{
  std::vector<int> given;
  for (auto joint = kJoints.rbegin(); joint != kJoints.rend(); ++joint) {
    int code = kCouldNot;
    while (code != kOk) {
      std::printf(
        "Connect only the servo of %s to the board, then press Enter (Ctrl-C ends): ",
        std::string(joint->name).c_str());
      const Input input = wait_for_enter();
      if (input != Input::enter) {
        std::puts("");
        return program.fail(
          input == Input::ended ? "the input has ended before the last servo"
                                : "interrupted; servos already set up keep their ids");
      }
      code = set_up(program, task, joint->id, given);
    }
    given.push_back(joint->id);
  }
  std::puts("All six servos are set up. Connect them in a chain and look with so100_scan.");
  return kOk;
}

int run(int argc, char ** argv)
{
  std::string port;
  std::string joint;
  int id = -1;
  int baud = 0;
  bool all = false;
  CommandLine program(
    "so100_setup",
    "Gives the one connected servo the id of its joint and sets it to 1000000 baud.\n"
    "Connect only this servo to the board; with several it refuses and writes nothing.",
    "Joints and ids: shoulder_pan 1, shoulder_lift 2, elbow_flex 3, wrist_flex 4, wrist_roll 5,\n"
    "gripper 6.\n"
    "\n"
    "Example: so100_setup --port /dev/ttyACM0 --all\n"
    "Returns 0: done. 1: refused, as not exactly one fit servo is connected. 2: it failed.");
  program.text("--port", "PATH", port, kPortHelp);
  program.text("--joint", "NAME", joint, "the joint that the servo is for");
  program.number("--id", "ID", id, 0, feetech::kMaxServoId, "the id, in place of --joint");
  program.add_flag("--all", all, "guide through all six, one after the other");
  program.number(
    "--baud", "RATE", baud, 1, 4000000, "look for the servo at this rate only (default: all)");
  if (const auto code = program.read(argc, argv)) {
    return *code;
  }
  if ((joint.empty() ? 0 : 1) + (id >= 0 ? 1 : 0) + (all ? 1 : 0) != 1) {
    return program.fail("give one of --joint NAME, --id ID and --all (see --help)");
  }
  if (!joint.empty()) {
    const JointInfo * info = find_joint(joint);
    if (info == nullptr) {
      return program.fail("there is no joint '" + joint + "' (see --help)");
    }
    id = info->id;
  }
  const PortChoice choice = choose_port(port);
  if (!choice.error.empty()) {
    return program.fail(choice.error);
  }
  Task task{choice.port, {feetech::kScanBaudRates.begin(), feetech::kScanBaudRates.end()}};
  if (baud != 0) {
    task.bauds = {baud};
  }
  catch_interrupts();
  return all ? set_up_all(program, task) : set_up(program, task, id);
}

}  // namespace
}  // namespace so100_hardware::tools

int main(int argc, char ** argv) { return so100_hardware::tools::run(argc, argv); }
