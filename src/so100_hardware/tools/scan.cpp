// SPDX-License-Identifier: Apache-2.0
#include "scan.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "connection.hpp"
#include "so100_hardware/feetech/servo_state.hpp"
#include "terminal.hpp"

namespace so100_hardware::tools
{
namespace
{

namespace registers = feetech::registers;
using feetech::Errc;
using Kind = Notice::Kind;

constexpr int kUsualBaud = feetech::kBaudRates.front();
// Firmware, model, id, baud rate and the limits of the supply lie side by side.
constexpr feetech::Block kIdentityBlock{0, 16};

bool port_failed(const feetech::Error & error)
{
  return error.code == Errc::port_gone || error.code == Errc::io || error.code == Errc::not_open;
}

void add_id(std::vector<int> & ids, int id)
{
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
    ids.push_back(id);
  }
}

feetech::Result<void> scan_baud(
  const std::string & port, int baud, const std::vector<int> & expected, PortScan & scan)
{
  auto connection = Connection::open(port, baud);
  if (!connection) {
    return connection.error();
  }
  feetech::Bus & bus = connection.value().bus();
  const auto found = bus.broadcast_ping();
  if (!found) {
    return found.error();
  }
  std::vector<int> ids;
  for (const feetech::FoundServo & servo : found.value().servos) {
    add_id(ids, servo.id);
  }
  const bool garbled = found.value().damaged > 0;
  if (garbled || !ids.empty() || baud == kUsualBaud) {
    for (const int id : expected) {
      if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
        continue;
      }
      const auto answer = bus.ping(static_cast<std::uint8_t>(id));
      if (answer.ok() || answer.error().code == Errc::bad_checksum) {
        add_id(ids, id);
      } else if (port_failed(answer.error())) {
        return answer.error();
      }
    }
  }
  std::sort(ids.begin(), ids.end());
  for (const int id : ids) {
    ScannedServo servo;
    servo.port = port;
    servo.baud = baud;
    servo.id = id;
    const auto read = read_details(bus, servo);
    if (!read) {
      return read.error();
    }
    scan.servos.push_back(servo);
  }
  // Servos that talk at once garble the broadcast's answers; where all were found, it is harmless.
  if (garbled && ids.empty()) {
    scan.notices.push_back(
      {Kind::garbled, port + ", " + std::to_string(baud) +
                        " baud: something answers, but garbled; check cables and connectors, then "
                        "connect the servos one at a time"});
  }
  return {};
}

}  // namespace

feetech::Result<void> read_details(feetech::Bus & bus, ScannedServo & servo)
{
  const auto id = static_cast<std::uint8_t>(servo.id);
  const auto unique = bus.check_unique(id);
  if (!unique.ok() && port_failed(unique.error())) {
    return unique;
  }
  servo.duplicate = !unique.ok() && unique.error().code == Errc::duplicate_reply;
  if (servo.duplicate) {
    return {};  // two answers at once: what was read would be a mixture
  }
  const auto identity = bus.read_block(id, kIdentityBlock);
  const auto state = bus.read_block(id, feetech::kStateBlock);
  for (const auto * result : {&identity, &state}) {
    if (!result->ok() && port_failed(result->error())) {
      return result->error();
    }
  }
  if (identity.ok()) {
    const auto field = [&identity](const feetech::Register & reg) {
      return feetech::decode(
        reg, identity.value().data.data() + (reg.address - kIdentityBlock.address));
    };
    servo.firmware_major = field(registers::firmware_major);
    servo.firmware_minor = field(registers::firmware_minor);
    servo.model = field(registers::model_number);
    servo.min_voltage = field(registers::min_voltage);
    servo.max_voltage = field(registers::max_voltage);
  }
  if (state.ok()) {
    const auto decoded = feetech::decode_state_block(state.value().data.data());
    servo.voltage = decoded.voltage_dv;
    servo.temperature = decoded.temperature_c;
    servo.position = decoded.position;
    servo.status = decoded.status | state.value().status;
  }
  return {};
}

feetech::Result<PortScan> scan_port(
  const std::string & port, const std::vector<int> & bauds, const std::vector<int> & expected,
  const std::function<void(int baud)> & progress)
{
  PortScan scan;
  for (const int baud : bauds) {
    if (interrupted()) {
      break;
    }
    progress(baud);
    const auto result = scan_baud(port, baud, expected, scan);
    if (!result) {
      return result.error();
    }
  }
  for (const Notice & notice : servo_notices(scan.servos)) {
    scan.notices.push_back(notice);
  }
  return scan;
}

}  // namespace so100_hardware::tools
