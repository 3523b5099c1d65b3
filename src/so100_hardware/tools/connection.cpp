// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <chrono>
#include <utility>

#include "so100_hardware/joints.hpp"

namespace so100_hardware::tools
{

using std::chrono::milliseconds;

Connection::Connection(std::unique_ptr<feetech::SerialPort> port, int baud) : port_(std::move(port))
{
  feetech::BusOptions options;
  options.baud = baud;
  options.margin = milliseconds(30);  // an FTDI adapter holds bytes for 16 ms, bridges longer
  options.retries = 3;
  options.budget = milliseconds(400);
  bus_ = std::make_unique<feetech::Bus>(*port_, options);
}

feetech::Result<Connection> Connection::open(const std::string & path, int baud)
{
  auto port = feetech::SerialPort::open(path, baud);
  if (!port) {
    return port.error();
  }
  return Connection(std::move(port.value()), baud);
}

PortChoice choose_port(const std::string & given)
{
  if (!given.empty()) {
    return {given, ""};
  }
  const std::vector<std::string> ports = feetech::list_ports();
  if (ports.size() == 1) {
    return {ports.front(), ""};
  }
  if (ports.empty()) {
    return {
      "", "no serial port found; plug in the USB cable of the arm, or give the port with --port"};
  }
  std::string names;
  for (const std::string & port : ports) {
    names += (names.empty() ? "" : ", ") + port;
  }
  return {"", "several serial ports found; choose one with --port: " + names};
}

std::string servo_label(int id)
{
  const JointInfo * joint = find_joint(id);
  return joint != nullptr ? std::string(joint->name) + " (id " + std::to_string(id) + ")"
                          : "servo " + std::to_string(id);
}

std::string id_list(const std::vector<int> & ids)
{
  std::string text;
  for (const int id : ids) {
    text += (text.empty() ? "" : ", ") + std::to_string(id);
  }
  return text;
}

}  // namespace so100_hardware::tools
