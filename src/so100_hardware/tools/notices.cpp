// SPDX-License-Identifier: Apache-2.0
#include "notices.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "connection.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/joints.hpp"

namespace so100_hardware::tools
{
namespace
{

using Kind = Notice::Kind;

constexpr int kUsualBaud = feetech::kBaudRates.front();

void add_id(std::vector<int> & ids, int id)
{
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
    ids.push_back(id);
  }
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

std::string model_name(int model)
{
  // LeRobot's list of Feetech models.
  constexpr std::pair<int, const char *> kModels[] = {
    {feetech::kModelSts3215, "STS3215"}, {2825, "STS3250"}, {11272, "SM8512BL"}, {1284, "SCS0009"}};
  for (const auto & [number, name] : kModels) {
    if (number == model) {
      return name;
    }
  }
  return std::to_string(model);
}

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
  for (const ScannedServo & servo : servos) {
    if (servo.model && *servo.model != feetech::kModelSts3215) {
      notices.push_back(
        {Kind::model, servo_label(servo.id) + ": model " + model_name(*servo.model) +
                        " is no STS3215; this package is made for that one"});
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
  for (const Grouped * group : {&supply, &faults}) {
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

}  // namespace so100_hardware::tools
