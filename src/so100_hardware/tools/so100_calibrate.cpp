// SPDX-License-Identifier: Apache-2.0
// Calibrates the arm as LeRobot does, compares a calibration with the servos, or writes it to them.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <system_error>
#include <vector>

#include "arm.hpp"
#include "calibration_procedure.hpp"
#include "command_line.hpp"
#include "connection.hpp"
#include "so100_hardware/calibration_files.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// Between two looks at the arm while it is moved.
constexpr milliseconds kSweepPeriod{10};

constexpr const char * kNotes =
  "NAME is LeRobot's --robot.id; the file is looked for and written where LeRobot has it\n"
  "(~/.cache/huggingface/lerobot/calibration/robots/so_follower/NAME.json, or as the variables\n"
  "HF_LEROBOT_CALIBRATION and HF_LEROBOT_HOME say). A text with '/' or '.json' is a path.\n"
  "\n"
  "Calibrating: the torque goes off. Bring the arm to the middle of all its ranges, press Enter,\n"
  "move each joint but wrist_roll to both of its ends, press Enter. Ctrl-C ends it at any time;\n"
  "the servos then get back what they had, and the torque stays off.\n"
  "\n"
  "Example: so100_calibrate --port /dev/ttyACM0 --id my_arm\n"
  "Returns 0: done, or no difference. 1: --check found differences. 2: it failed.";

void print_lines(const char * label, const std::vector<std::string> & lines)
{
  for (const std::string & line : lines) {
    std::printf("%s%s\n", label, line.c_str());
  }
}

// Says all problems on stderr. Returns kCouldNot.
int fail_all(const CommandLine & program, const std::vector<std::string> & problems)
{
  for (const std::string & problem : problems) {
    program.fail(problem);
  }
  return kCouldNot;
}

// The folder is made and tried before anybody moves an arm for nothing.
std::string check_writable(const fs::path & file)
{
  std::error_code error;
  const fs::path folder = fs::absolute(file, error).parent_path();
  fs::create_directories(folder, error);
  if (error) {
    return folder.string() + ": cannot be made: " + error.message();
  }
  if (fs::is_directory(file, error)) {
    return file.string() + ": is a folder; give the name of a file";
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    return folder.string() + ": no permission to write there; give another path with --id";
  }
  return "";
}

int check(const CommandLine & program, feetech::Bus & bus, const Calibration & calibration)
{
  std::vector<std::string> differences;
  for (const JointCalibration & joint : calibration.joints) {
    const auto servo = read_joint_eeprom(bus, static_cast<std::uint8_t>(joint.id));
    if (!servo) {
      return program.fail(joint.joint + ": " + servo.error().text());
    }
    for (std::string & line : calibration_differences(joint, servo.value())) {
      differences.push_back(std::move(line));
    }
  }
  print_lines("", differences);
  if (differences.empty()) {
    std::puts("The servos hold this calibration.");
    return kOk;
  }
  std::puts(
    "The servos hold another calibration. Write the file's with --from-file, or calibrate again.");
  return kCheckFailed;
}

int write_to_servos(
  const CommandLine & program, feetech::Bus & bus, const Calibration & calibration)
{
  const Arm arm = arm_of(calibration);
  const auto before = read_eeprom(bus, arm);
  if (!before) {
    return program.fail(before.error().text() + "; nothing was written");
  }
  ArmEeprom values;
  for (const ArmServo & servo : arm) {
    values.push_back(to_eeprom(*calibration.find(servo.joint)));
  }
  if (values == before.value()) {
    std::puts("The servos hold this calibration already, nothing was written.");
    return kOk;
  }
  std::puts("The torque goes off, as the positions get another meaning.");
  const auto off = torque_off(bus, arm);
  if (!off) {
    return program.fail(off.error().text() + "; nothing was written");
  }
  const auto written = write_eeprom(bus, arm, values);
  if (!written) {
    const auto restored = write_eeprom(bus, arm, before.value());
    return program.fail(
      written.error().text() + (restored.ok()
                                  ? "; the servos have got back what they had"
                                  : "; some servos hold the new values, some the old: try again"));
  }
  int changed = 0;
  for (std::size_t i = 0; i < arm.size(); ++i) {
    changed += values[i] != before.value()[i] ? 1 : 0;
  }
  std::printf(
    "Written to the servos and read back: %d of %zu had other values.\n", changed, arm.size());
  return kOk;
}

// Ends the procedure: the servos get back what they had.
int give_up(
  const CommandLine & program, CalibrationProcedure & procedure, const std::string & reason)
{
  const Step restored = procedure.restore();
  if (!restored.ok()) {
    return program.fail(
      reason + "; and the servos could not be restored: " + restored.problem +
      ". Write a calibration to them with --from-file, or calibrate again");
  }
  return program.fail(reason + "; the servos have got back what they had, no file was written");
}

std::string stopped(Input input)
{
  return input == Input::ended ? "the input has ended" : "interrupted";
}

int calibrate(const CommandLine & program, feetech::Bus & bus, const fs::path & file)
{
  const std::string unwritable = check_writable(file);
  if (!unwritable.empty()) {
    return program.fail(unwritable);
  }
  const auto on = torque_on(bus, lerobot_arm());
  if (!on) {
    return program.fail(on.error().text());
  }
  if (on.value()) {
    std::puts("The torque is on. Hold the arm, then press Enter to switch it off (Ctrl-C ends).");
    const Input input = wait_for_enter();
    if (input != Input::enter) {
      return program.fail(stopped(input) + "; nothing was written");
    }
  }
  CalibrationProcedure procedure(bus, lerobot_arm());
  Step step = procedure.begin();
  if (!step.ok()) {
    return give_up(program, procedure, step.problem);
  }
  std::puts("Move every joint to the middle of its range, then press Enter (Ctrl-C ends).");
  std::fflush(stdout);
  while (true) {
    const Input input = wait_for_enter();
    if (input != Input::enter) {
      return give_up(program, procedure, stopped(input));
    }
    step = procedure.home();
    if (step.ok()) {
      break;
    }
    if (!step.again) {
      return give_up(program, procedure, step.problem);
    }
    std::printf("%s (Ctrl-C ends).\n", step.problem.c_str());
  }
  std::puts(
    "Move every joint but wrist_roll slowly to both of its ends, then press Enter (Ctrl-C ends).");
  std::fflush(stdout);
  LiveText live;
  while (true) {
    const Input input = wait_for_enter(kSweepPeriod);
    if (input == Input::ended || input == Input::interrupted) {
      live.finish(procedure.table());
      return give_up(program, procedure, stopped(input));
    }
    if (input == Input::enter) {
      live.entered();
    }
    step = procedure.sweep();
    if (!step.ok()) {
      live.finish(procedure.table());
      return give_up(program, procedure, step.problem);
    }
    if (input == Input::none) {
      live.show(procedure.table());
      continue;
    }
    live.finish(procedure.table());
    const auto unmoved = procedure.unmoved();
    if (unmoved.empty()) {
      break;
    }
    std::string names;
    for (const std::string & name : unmoved) {
      names += (names.empty() ? "" : ", ") + name;
    }
    std::printf(
      "Not moved to both ends yet: %s. Move there, then press Enter; what is stopped earlier by "
      "something on the arm, move to both of its ends once more.\n",
      names.c_str());
    std::fflush(stdout);
  }
  step = procedure.store();
  if (!step.ok()) {
    return give_up(program, procedure, step.problem);
  }
  const SavedCalibration saved = save_calibration(file, procedure.calibration());
  if (!saved.ok()) {
    // The servos are right already; the values must not get lost with the file.
    std::printf("%s\n", to_json(procedure.calibration()).c_str());
    return program.fail(
      saved.error + "; the servos are calibrated, so put the text above into the file yourself");
  }
  print_lines("Note: ", calibration_notes(procedure.calibration()));
  std::printf("Written to the servos and to:\n  %s\n", saved.file.c_str());
  if (!saved.backup.empty()) {
    std::printf("The file that was there is kept as:\n  %s\n", saved.backup.c_str());
  }
  return kOk;
}

int run(int argc, char ** argv)
{
  std::string port;
  std::string id;
  std::string from_file;
  bool check_only = false;
  int baud = feetech::kBaudRates.front();
  CommandLine program(
    "so100_calibrate",
    "Calibrates the arm with LeRobot's procedure and writes LeRobot's file and the servos; or\n"
    "compares a file with the servos (--check); or writes a file to the servos (--from-file).",
    kNotes);
  program.text("--port", "PATH", port, kPortHelp);
  program.text("--id", "NAME", id, "the arm's name, or the path of its calibration file");
  program.add_flag(
    "--check", check_only, "compare the file of --id with the servos, write nothing");
  program.text(
    "--from-file", "NAME", from_file, "write this calibration to the servos (the torque goes off)");
  program.number("--baud", "RATE", baud, 1, 4000000, "baud rate of the bus")->capture_default_str();
  if (const auto code = program.read(argc, argv)) {
    return *code;
  }
  if (id.empty() == from_file.empty() || (check_only && id.empty())) {
    return program.fail(
      "give --id NAME to calibrate, --check --id NAME to compare, or --from-file NAME to write "
      "(see --help)");
  }
  LoadedCalibration loaded;
  std::optional<fs::path> file;
  if (check_only || !from_file.empty()) {
    loaded = find_calibration(check_only ? id : from_file);
    if (!loaded.ok()) {
      return fail_all(program, loaded.problems);
    }
    print_lines("Note: ", loaded.notes);
    std::printf("Calibration: %s\n", loaded.file.c_str());
  } else {
    file = calibration_path(id);
    if (!file) {
      return program.fail("no home folder to keep the calibration in; give a path with --id");
    }
  }
  const PortChoice choice = choose_port(port);
  if (!choice.error.empty()) {
    return program.fail(choice.error);
  }
  catch_interrupts();
  auto connection = Connection::open(choice.port, baud);
  if (!connection) {
    return program.fail(connection.error().text());
  }
  feetech::Bus & bus = connection.value().bus();
  if (check_only) {
    return check(program, bus, loaded.calibration);
  }
  const ArmCheck arm = check_arm(bus, file ? lerobot_arm() : arm_of(loaded.calibration));
  if (!arm.problems.empty()) {
    return fail_all(program, arm.problems);
  }
  print_lines("Warning: ", arm.warnings);
  return file ? calibrate(program, bus, *file) : write_to_servos(program, bus, loaded.calibration);
}

}  // namespace
}  // namespace so100_hardware::tools

int main(int argc, char ** argv) { return so100_hardware::tools::run(argc, argv); }
