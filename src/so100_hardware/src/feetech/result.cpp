// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/result.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/feetech/serial_port.hpp"

namespace so100_hardware::feetech
{
namespace
{

std::string join(const std::vector<std::string> & parts)
{
  std::string text;
  for (const std::string & part : parts) {
    text += text.empty() ? "" : ", ";
    text += part;
  }
  return text;
}

/// "Present_Position" or "address 50".
std::string register_text(int address)
{
  const Register * reg = find_register(address);
  return reg != nullptr ? reg->name : "address " + std::to_string(address);
}

/// "servo 3, Present_Position: "
std::string subject(const Error & error)
{
  std::string text;
  if (error.servo >= 0) {
    text = "servo " + std::to_string(error.servo);
  }
  if (error.address >= 0) {
    text += (text.empty() ? "" : ", ") + register_text(error.address);
  }
  return text.empty() ? text : text + ": ";
}

std::string ports_text()
{
  const std::vector<std::string> ports = list_ports();
  return ports.empty() ? "no serial port was found; check that the USB cable is plugged in"
                       : "these exist: " + join(ports);
}

std::string bauds_text()
{
  std::vector<std::string> bauds;
  for (const int baud : kScanBaudRates) {
    bauds.push_back(std::to_string(baud));
  }
  return join(bauds);
}

std::string system_text(int sys) { return sys != 0 ? std::strerror(sys) : "unknown reason"; }

std::string range_text(const Error & error)
{
  const Register * reg = find_register(error.address);
  if (reg == nullptr) {
    return "the request is not valid (" + std::to_string(error.value) + ")";
  }
  if (reg->read_only) {
    return "this register can only be read";
  }
  return "cannot hold " + std::to_string(error.value) + "; it takes " +
         std::to_string(min_value(*reg)) + " to " + std::to_string(max_value(*reg));
}

}  // namespace

std::string Error::text() const
{
  const std::string path = port[0] != '\0' ? std::string(port.data()) : "the port";
  switch (code) {
    case Errc::ok:
      return "no error";
    case Errc::timeout:
      return subject(*this) + "no answer; check its cable, its id and the power supply";
    case Errc::bad_checksum:
      return subject(*this) +
             "damaged answer (wrong checksum); check the cables, and scan for two servos with one "
             "id";
    case Errc::wrong_id:
      return subject(*this) + "servo " + std::to_string(value) +
             " answered instead; scan the bus for the ids in use";
    case Errc::wrong_length:
      return subject(*this) + "answered with " + std::to_string(value) +
             " bytes, not as many as asked for; is it an STS3215?";
    case Errc::not_open:
      return path + " is not open";
    case Errc::port_gone:
      return path + " is gone; plug the USB cable in again and check its power, then reconnect";
    case Errc::port_busy:
      return path + " is in use by another program; close that one ('fuser -v " +
             (port[0] != '\0' ? path : "PORT") + "' names it)";
    case Errc::no_permission:
      return "no permission to open " + path +
             "; add yourself to the group dialout ('sudo usermod -aG dialout $USER'), log out and "
             "in again";
    case Errc::no_such_port:
      return path + " does not exist; " + ports_text();
    case Errc::not_a_port:
      return path + " is not a serial port; " + ports_text();
    case Errc::bad_baud:
      return path + " cannot run at " + std::to_string(value) +
             " baud; the servos know: " + bauds_text() + " (1000000 from the factory)";
    case Errc::io:
      return subject(*this) + "input/output error on " + path + ": " + system_text(sys);
    case Errc::invalid_argument:
      return subject(*this) + range_text(*this);
    case Errc::duplicate_reply:
      return subject(*this) +
             "answered twice; two servos have this id: connect them one at a time and give each "
             "its own";
    case Errc::not_stored:
      return subject(*this) + "reads back as " + std::to_string(value) +
             " after writing; the value was not stored";
    case Errc::id_in_use:
      return subject(*this) + "another servo has the id " + std::to_string(value) +
             " already; disconnect that one first, or choose another id";
  }
  return "unknown error";
}

Error port_error(Errc code, std::string_view path, int sys, int value)
{
  Error error;
  error.code = code;
  error.sys = sys;
  error.value = value;
  const std::size_t size = std::min(path.size(), error.port.size() - 1);
  std::copy_n(path.data(), size, error.port.begin());
  return error;
}

}  // namespace so100_hardware::feetech
