// SPDX-License-Identifier: Apache-2.0
// Lists the servos on the ports of this machine.
#include <cstddef>
#include <cstdio>
#include <vector>

#include "command_line.hpp"
#include "connection.hpp"
#include "scan.hpp"
#include "so100_hardware/joints.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

std::string or_unknown(const std::string & text) { return text.empty() ? "?" : text; }

void add_row(TextTable & table, const ScannedServo & servo)
{
  const JointInfo * joint = find_joint(servo.id);
  const std::string status = servo.duplicate ? "several servos"
                             : servo.status
                               ? feetech::status_text(static_cast<std::uint8_t>(*servo.status))
                               : "?";
  table.add(
    {servo.port, std::to_string(servo.baud), std::to_string(servo.id),
     joint != nullptr ? std::string(joint->name) : "",
     servo.model ? feetech::model_name(*servo.model) : "?", or_unknown(firmware_text(servo)),
     servo.voltage ? fixed(*servo.voltage / 10.0, 1) : "?",
     servo.temperature ? std::to_string(*servo.temperature) : "?",
     servo.position ? std::to_string(*servo.position) : "?", status});
}

int run(int argc, char ** argv)
{
  std::string port;
  std::vector<int> ids;
  int baud = 0;
  CommandLine program(
    "so100_scan",
    "Lists the servos on the serial ports of this machine: id, model, firmware, supply voltage,\n"
    "temperature, position and faults. Writes nothing.",
    "Example: so100_scan --port /dev/ttyACM0 --baud 1000000\n"
    "Returns 0: all servos are there and well. 1: one is missing, or something needs attention.\n"
    "2: no port could be scanned.");
  program.text("--port", "PATH", port, "scan this port only (default: all)");
  program.number(
    "--baud", "RATE", baud, 1, 4000000, "scan this rate only (default: all, 1 s each)");
  program.ids(
    ids, "servos that must be there on each port, as 1-6 or 1,2,5 (default: 1-6, an SO-100's)");
  if (const auto code = program.read(argc, argv)) {
    return *code;
  }
  const std::vector<int> expected = ids.empty() ? *parse_ids("1-6") : ids;
  std::vector<std::string> ports =
    port.empty() ? feetech::list_ports() : std::vector<std::string>{port};
  if (ports.empty()) {
    return program.fail(choose_port("").error);
  }
  std::vector<int> bauds(feetech::kScanBaudRates.begin(), feetech::kScanBaudRates.end());
  if (baud != 0) {
    bauds = {baud};
  }
  catch_interrupts();

  TextTable table(
    {"PORT", ">BAUD", ">ID", "JOINT", "MODEL", "FIRMWARE", ">VOLT", ">TEMP", ">POSITION",
     "STATUS"});
  std::vector<std::string> warnings;
  std::vector<std::string> notes;
  int servos = 0;
  std::size_t scanned = 0;
  for (const std::string & path : ports) {
    const auto scan = scan_port(path, bauds, expected);
    if (!scan) {
      program.fail(scan.error().text());
      continue;
    }
    ++scanned;
    for (const ScannedServo & servo : scan.value().servos) {
      add_row(table, servo);
      ++servos;
    }
    for (const Notice & notice : scan.value().notices) {
      warnings.push_back(notice.text);
    }
    const std::string absent = missing_servos(scan.value().servos, expected);
    if (scan.value().servos.empty() && scan.value().notices.empty()) {
      warnings.push_back(
        path +
        ": no servo answered; check the power supply, the cable to the first servo and, on "
        "the driver board, the jumpers for USB");
    } else if (!scan.value().servos.empty() && !absent.empty()) {
      warnings.push_back(
        path + ": not there: " + absent +
        "; check its cable and the one before it, and its id (so100_setup)" +
        (ids.empty() ? "; for servos with other ids name them with --ids" : ""));
    }
    const std::string latency = feetech::latency_hint(path);
    if (!latency.empty()) {
      notes.push_back(latency);
    }
  }
  if (scanned == 0) {
    return kCouldNot;
  }
  if (servos > 0) {
    std::fputs(table.text().c_str(), stdout);
  }
  for (const std::string & line : notes) {
    std::printf("Note: %s\n", line.c_str());
  }
  for (const std::string & line : warnings) {
    std::printf("Warning: %s\n", line.c_str());
  }
  if (interrupted()) {
    return program.fail("interrupted");
  }
  return servos > 0 && warnings.empty() && scanned == ports.size() ? kOk : kCheckFailed;
}

}  // namespace
}  // namespace so100_hardware::tools

int main(int argc, char ** argv) { return so100_hardware::tools::run(argc, argv); }
