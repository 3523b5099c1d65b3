// SPDX-License-Identifier: Apache-2.0
// so100_emulator: six servos on a pseudo-terminal, for those who have no arm at hand.
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "command_line.hpp"
#include "commands.hpp"
#include "server.hpp"

namespace so100_hardware::emulator
{
namespace
{
constexpr int kFailed = 1;

using tools::CommandLine;
using tools::parse_number;

const std::string kNotes =
  "Commands of --control and --do (SERVO: an id, #N for the N-th of the chain, or all)\n" +
  Commands::help() + R"(
Example
  so100_emulator --link /tmp/so100 --control /tmp/so100.control &
  python3 - <<'EOF'
  import socket
  control = socket.socket(socket.AF_UNIX)
  control.connect("/tmp/so100.control")
  control.sendall(b"push 2 1500\n")
  print(control.recv(4096).decode(), end="")
  EOF

Exit code: 0 after a clean end, 1 if the port, the socket or a file failed, 2 for wrong options.)";

/// One `[ID=]VALUE`: what it does to a servo's identity, and to which; -1: to all.
struct Setting
{
  int id;
  std::function<void(Identity &)> apply;
};
/// Makes a setting of a value; throws CLI::ValidationError when it is none.
using Reader = std::function<std::function<void(Identity &)>(const std::string & value)>;

bool within(const std::optional<int> & number, int low, int high)
{
  return number && *number >= low && *number <= high;
}

std::function<std::string(const std::string &)> up_to(int highest)
{
  return [highest](const std::string & text) {
    double value = -1.0;
    const char * end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    return error == std::errc() && stop == end && value >= 0.0 && value <= highest
             ? std::string()
             : "must be a number from 0 to " + std::to_string(highest) + ", but is '" + text + "'";
  };
}

void per_servo(
  CommandLine & program, const std::string & name, const std::string & argument,
  const std::string & help, std::vector<Setting> & settings, const Reader & read)
{
  program
    .add_option_function<std::vector<std::string>>(
      name,
      [name, read, &settings](const std::vector<std::string> & values) {
        for (const std::string & text : values) {
          const std::size_t equals = text.find('=');
          const auto id = equals == std::string::npos ? std::optional<int>(-1)
                                                      : parse_number(text.substr(0, equals));
          if (!within(id, equals == std::string::npos ? -1 : 0, feetech::kMaxServoId)) {
            throw CLI::ValidationError(name, "'" + text + "' does not begin with a servo's id");
          }
          settings.push_back(
            {*id, read(equals == std::string::npos ? text : text.substr(equals + 1))});
        }
      },
      help)
    ->type_name(argument)
    ->allow_extra_args(false);
}

const Reader model = [](const std::string & text) {
  const auto number = parse_number(text);
  if (!within(number, 0, 65535)) {
    throw CLI::ValidationError("--model-number", "takes NUMBER or ID=NUMBER, as in 777 or 6=2825");
  }
  return [number](Identity & servo) { servo.model = static_cast<std::uint16_t>(*number); };
};

const Reader firmware = [](const std::string & text) {
  const std::size_t dot = std::min(text.find('.'), text.size());
  const auto major = parse_number(text.substr(0, dot));
  const auto minor = parse_number(text.substr(std::min(dot + 1, text.size())));
  if (!within(major, 0, 255) || !within(minor, 0, 255)) {
    throw CLI::ValidationError(
      "--firmware", "takes MAJOR.MINOR or ID=MAJOR.MINOR, as in 3.10 or 4=3.9");
  }
  return [major, minor](Identity & servo) {
    servo.firmware_major = static_cast<std::uint8_t>(*major);
    servo.firmware_minor = static_cast<std::uint8_t>(*minor);
  };
};

const Reader baud = [](const std::string & text) {
  const int code = code_of_baud(parse_number(text).value_or(0));
  if (code < 0) {
    throw CLI::ValidationError(
      "--baud",
      "takes RATE or ID=RATE; the servos know 1000000, 500000, 250000, 128000, 115200, "
      "57600, 38400 and 19200");
  }
  return [code](Identity & servo) { servo.baud_code = static_cast<std::uint8_t>(code); };
};

/// An option that is a command: `--drop 5` is `drop 5`.
void command_option(
  CommandLine & program, const std::string & name, const std::string & argument,
  const std::string & help, std::vector<std::string> & commands, const std::string & end = "")
{
  program
    .add_option_function<std::vector<std::string>>(
      "--" + name,
      [name, end, &commands](const std::vector<std::string> & values) {
        for (const std::string & value : values) {
          commands.push_back(name == "do" ? value : name + " " + value + end);
        }
      },
      help)
    ->type_name(argument)
    ->allow_extra_args(false)
    ->group(name == "do" ? "Control" : "Faults from the start");
}

int run(int argc, char ** argv)
{
  Options options;
  std::vector<int> ids{1, 2, 3, 4, 5, 6};
  std::vector<Setting> settings;
  std::vector<std::string> commands;
  double gravity = 1.0;
  bool no_timing = false;
  bool torque_on_holds = false;
  bool goal_enables_torque = false;
  CommandLine program(
    "so100_emulator",
    "Serves the six STS3215 servos of an SO-100 on a pseudo-terminal, at wire speed. Its path is "
    "the\nfirst line printed; open it as a serial port at 1000000 baud. Ends on Ctrl-C, SIGTERM or "
    "'quit'.",
    kNotes);
  program.text(
    "--link", "PATH", options.link, "symbolic link to the pseudo-terminal, removed at the end");
  program.add_flag("--no-timing", no_timing, "answer at once instead of at wire speed");
  program.text(
    "--eeprom", "FILE", options.eeprom, "keep the EEPROMs here, so that a calibration survives");
  program.ids(ids, "ids along the chain, as 1-6 or 1,1,2 (default: 1-6)", true);
  per_servo(
    program, "--baud", "[ID=]RATE", "baud rate that the servos listen at (default: 1000000)",
    settings, baud);
  per_servo(
    program, "--model-number", "[ID=]N", "777: STS3215 (default), 2825: STS3250", settings, model);
  per_servo(
    program, "--firmware", "[ID=]X.Y", "firmware version (default: 3.10)", settings, firmware);
  program.add_option("--voltage", options.supply_voltage, "supply")
    ->type_name("VOLTS")
    ->check(up_to(25))
    ->capture_default_str();
  program.add_option("--gravity", gravity, "weight of the arm, 0 for none")
    ->type_name("FACTOR")
    ->check(up_to(3))
    ->capture_default_str();
  program.add_flag(
    "--torque-on-holds", torque_on_holds,
    "torque on makes the present position the goal; else an\nold goal is kept and the joint jumps");
  program.add_flag(
    "--goal-enables-torque", goal_enables_torque, "a written goal switches the torque on");
  command_option(program, "drop", "PERCENT", "lose that share of the replies", commands);
  command_option(program, "corrupt", "PERCENT", "flip one bit in that share", commands);
  command_option(program, "seed", "N", "start of the random faults", commands);
  command_option(program, "silent", "SERVO", "a servo off the line", commands, " on");
  command_option(program, "double", "ID", "a second servo with this id", commands, " on");
  command_option(program, "overload", "SERVO", "latch the overload fault", commands);
  program
    .text(
      "--control", "PATH", options.control,
      "Unix stream socket: a line in, a line out (\"ok\", \"ok DATA\",\n\"error: …\")")
    ->group("Control");
  command_option(
    program, "do", "COMMAND", "a command of below at the start; after the faults", commands);
  if (const auto code = program.read(argc, argv)) {
    return *code;
  }
  options.timing = !no_timing;
  // What is said of one servo wins over what is said of all, in any order.
  std::stable_sort(settings.begin(), settings.end(), [](const Setting & a, const Setting & b) {
    return a.id < 0 && b.id >= 0;
  });
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ServoOptions servo;
    servo.identity.id = static_cast<std::uint8_t>(ids[i]);
    for (const Setting & setting : settings) {
      if (setting.id < 0 || setting.id == ids[i]) {
        setting.apply(servo.identity);
      }
    }
    servo.joint = so100_joint(i, gravity);
    servo.torque_on_holds = torque_on_holds;
    servo.goal_enables_torque = goal_enables_torque;
    options.servos.push_back(servo);
  }

  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  signal(SIGPIPE, SIG_IGN);
  const FileDescriptor signals(signalfd(-1, &ends, SFD_CLOEXEC));
  prctl(PR_SET_TIMERSLACK, 1);  // sleeps end on time, not 50 µs later

  Server server(options);
  if (const std::string error = server.open(); !error.empty()) {
    program.fail(error);
    return kFailed;
  }
  for (const std::string & line : commands) {
    const std::string answer = server.command(line);
    if (answer.rfind("ok", 0) != 0) {
      return program.fail("'" + line + "': " + answer);
    }
  }
  std::cout << server.port() << std::endl;
  server.run(signals.get());
  return tools::kOk;
}
}  // namespace
}  // namespace so100_hardware::emulator

int main(int argc, char ** argv) { return so100_hardware::emulator::run(argc, argv); }
