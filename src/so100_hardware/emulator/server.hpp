// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "arm.hpp"
#include "commands.hpp"
#include "emulated_bus.hpp"
#include "ports.hpp"

namespace so100_hardware::emulator
{

/// What the command line asks for.
struct Options
{
  std::vector<ServoOptions> servos;
  double supply_voltage = 12.0;
  bool timing = true;
  std::string link;
  std::string control;
  std::string eeprom;
};

/// The running emulator: one thread that waits for the port, the control socket and signals, and
/// sends each reply when its last bit would have arrived.
class Server
{
public:
  explicit Server(const Options & options);

  /// Opens everything. Returns what went wrong, else an empty text.
  std::string open();
  /// Serves until `signal_fd` (a signalfd) becomes readable or a client asks to quit.
  void run(int signal_fd);

  const std::string & port() const { return terminal_.path(); }
  /// Runs a control command, as the socket does.
  std::string command(const std::string & line) { return commands_.run(line); }

private:
  void take_input();
  void send_due();
  /// Waits for something to do; false when the signal came.
  bool wait(int signal_fd);
  void save_eeprom();

  Options options_;
  Arm arm_;
  Faults faults_;
  EmulatedBus bus_;
  EepromFile eeprom_;
  PseudoTerminal terminal_;
  ControlSocket control_;
  Commands commands_;
  bool quit_ = false;
  std::string eeprom_error_;
};

}  // namespace so100_hardware::emulator
