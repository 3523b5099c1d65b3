// SPDX-License-Identifier: Apache-2.0
#include "scan.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "connection.hpp"
#include "so100_hardware/joints.hpp"
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

// Servos for which `odd` holds, as ids.
template <class Predicate>
std::vector<int> ids_where(const std::vector<ScannedServo> & servos, Predicate odd)
{
  std::vector<int> ids;
  for (const ScannedServo & servo : servos) {
    if (odd(servo)) {
      add_id(ids, servo.id);
    }
  }
  return ids;
}

std::string volts(int raw)
{
  return std::to_string(raw / 10) + "." + std::to_string(raw % 10) + " V";
}

// One notice for all servos that would get the same one.
class Grouped
{
public:
  void add(const ScannedServo & servo, Kind kind, const std::string & text)
  {
    for (Notice & notice : notices_) {
      const std::size_t end = notice.text.size() - text.size();
      if (notice.text.size() > text.size() && notice.text.compare(end, text.size(), text) == 0) {
        notice.text.insert(end, ", " + servo_label(servo.id));
        return;
      }
    }
    notices_.push_back({kind, servo_label(servo.id) + text});
  }
  const std::vector<Notice> & notices() const { return notices_; }

private:
  std::vector<Notice> notices_;
};

// Whether there was something to say.
bool add_supply_notice(const ScannedServo & servo, Grouped & notices)
{
  if (!servo.voltage || !servo.min_voltage || !servo.max_voltage) {
    return false;
  }
  const std::string supply = ": supply " + volts(*servo.voltage);
  if (*servo.voltage < *servo.min_voltage) {
    notices.add(
      servo, Kind::supply,
      supply + ", servo minimum " + volts(*servo.min_voltage) +
        "; switch the power supply on and check its voltage, plug and cable");
  } else if (*servo.voltage > *servo.max_voltage) {
    notices.add(
      servo, Kind::supply,
      supply + ", servo maximum " + volts(*servo.max_voltage) +
        "; take the power off and use the supply of the servo's variant (7.4 V or 12 V)");
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string firmware_text(const ScannedServo & servo)
{
  return servo.firmware_major && servo.firmware_minor
           ? std::to_string(*servo.firmware_major) + "." + std::to_string(*servo.firmware_minor)
           : "";
}

std::vector<Notice> servo_notices(const std::vector<ScannedServo> & servos)
{
  std::vector<Notice> notices;
  const auto doubled = ids_where(servos, [](const auto & servo) { return servo.duplicate; });
  if (!doubled.empty()) {
    notices.push_back(
      {Kind::duplicate, "several servos have the id " + id_list(doubled) +
                          "; connect them one at a time and give each its own with so100_setup"});
  }
  Grouped unreadable;
  for (const ScannedServo & servo : servos) {
    if (!servo.duplicate && (!servo.model || !servo.voltage)) {
      unreadable.add(
        servo, Kind::unreadable,
        ": answers, but not reliably; check its cable, and connect it alone: several servos may "
        "have this id");
    }
  }
  notices.insert(notices.end(), unreadable.notices().begin(), unreadable.notices().end());
  std::vector<std::pair<std::string, std::vector<int>>> versions;
  for (const ScannedServo & servo : servos) {
    const std::string version = firmware_text(servo);
    if (version.empty()) {
      continue;
    }
    auto entry = std::find_if(
      versions.begin(), versions.end(), [&](const auto & v) { return v.first == version; });
    if (entry == versions.end()) {
      entry = versions.insert(versions.end(), {version, {}});
    }
    add_id(entry->second, servo.id);
  }
  if (versions.size() > 1) {
    std::string list;
    for (const auto & [version, ids] : versions) {
      list += (list.empty() ? "" : ", ") + version + " (id " + id_list(ids) + ")";
    }
    notices.push_back(
      {Kind::firmware, "the servos have different firmware: " + list +
                         "; LeRobot refuses such an arm, update it with Feetech's program FD"});
  }
  Grouped models;
  for (const ScannedServo & servo : servos) {
    const std::string problem = servo.model ? feetech::model_problem(*servo.model) : "";
    if (!problem.empty()) {
      models.add(servo, Kind::model, ": " + problem);
    }
  }
  Grouped supply;
  Grouped faults;
  for (const ScannedServo & servo : servos) {
    int status = servo.status.value_or(0);
    if (add_supply_notice(servo, supply)) {
      status &= ~feetech::status_bits::voltage;  // said already, with the numbers
    }
    if (status != 0) {
      const auto bits = static_cast<std::uint8_t>(status);
      const std::string remedy = feetech::status_remedy(bits);
      faults.add(
        servo, Kind::fault,
        ": reports " + feetech::status_text(bits) + (remedy.empty() ? "" : "; " + remedy));
    }
  }
  for (const Grouped * group : {&models, &supply, &faults}) {
    notices.insert(notices.end(), group->notices().begin(), group->notices().end());
  }
  const auto slow = ids_where(servos, [](const auto & servo) { return servo.baud != kUsualBaud; });
  if (!slow.empty()) {
    notices.push_back(
      {Kind::baud, "not at 1000000 baud: id " + id_list(slow) +
                     "; connect one at a time and set id and baud rate with so100_setup"});
  }
  return notices;
}

std::string missing_servos(
  const std::vector<ScannedServo> & servos, const std::vector<int> & expected)
{
  std::string names;
  for (const int id : expected) {
    const bool there = std::any_of(
      servos.begin(), servos.end(), [id](const auto & servo) { return servo.id == id; });
    if (!there) {
      names += (names.empty() ? "" : ", ") + servo_label(id);
    }
  }
  return names;
}

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
    const auto now = feetech::to_state(state.value());
    servo.voltage = now.get(registers::present_voltage);
    servo.temperature = now.get(registers::present_temperature);
    servo.position = now.get(registers::present_position);
    servo.status = now.get(registers::status);
  }
  return {};
}

feetech::Result<PortScan> scan_port(
  const std::string & port, const std::vector<int> & bauds, const std::vector<int> & expected)
{
  PortScan scan;
  for (const int baud : bauds) {
    if (interrupted()) {
      break;
    }
    if (stdout_is_terminal()) {
      std::printf("\r\x1b[K%s: %d baud ...", port.c_str(), baud);
      std::fflush(stdout);
    }
    const auto result = scan_baud(port, baud, expected, scan);
    if (stdout_is_terminal()) {
      std::fputs("\r\x1b[K", stdout);
    }
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
