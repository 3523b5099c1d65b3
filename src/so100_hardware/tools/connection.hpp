// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/serial_port.hpp"

namespace so100_hardware::tools
{

/// A port and the bus on it, patient with slow adapters, as no control loop waits.
class Connection
{
public:
  static feetech::Result<Connection> open(const std::string & path, int baud);

  feetech::Bus & bus() { return *bus_; }

private:
  Connection(std::unique_ptr<feetech::SerialPort> port, int baud);

  std::unique_ptr<feetech::SerialPort> port_;  // outlives the bus
  std::unique_ptr<feetech::Bus> bus_;
};

/// The port that was given or, with none given, the only one of this machine.
struct PortChoice
{
  std::string port;
  std::string error;  ///< why there is none, in one line
};
PortChoice choose_port(const std::string & given);

/// What --port means.
inline constexpr const char * kPortHelp = "serial port (default: the only one there is)";

/// "elbow_flex (id 3)", or "servo 9" for an id that is not LeRobot's.
std::string servo_label(int id);

/// "1, 2, 5"
std::string id_list(const std::vector<int> & ids);

}  // namespace so100_hardware::tools
