// SPDX-License-Identifier: Apache-2.0
#include "arm.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

namespace so100_hardware::emulator
{
namespace
{
constexpr std::chrono::milliseconds kStep{1};
constexpr double kStepSeconds = 0.001;
constexpr std::chrono::seconds kLongestPause{10};
/// Cable and plugs from the supply to the servos, Ω.
constexpr double kCable = 0.15;

// Shares of the stall torque and limp poses of an SO-100 that folds onto its base.
constexpr std::array<Joint, 6> kSo100{{
  {0.0, 2048.0, 2048.0},
  {0.20, 900.0, 2048.0},
  {0.15, 3050.0, 2048.0},
  {0.06, 2800.0, 2048.0},
  {0.0, 2048.0, 2048.0},
  {0.0, 2048.0, 2048.0},
}};

using Json = nlohmann::ordered_json;
constexpr const char * kServos = "servos";
}  // namespace

Joint so100_joint(std::size_t index, double gravity)
{
  Joint joint = index < kSo100.size() ? kSo100[index] : Joint{};
  joint.gravity *= gravity;
  return joint;
}

Arm::Arm(const std::vector<ServoOptions> & servos, double supply_voltage) : supply_(supply_voltage)
{
  for (const ServoOptions & options : servos) {
    add(options);
  }
}

void Arm::add(const ServoOptions & options) { units_.push_back(std::make_unique<Unit>(options)); }

void Arm::remove(std::size_t index)
{
  units_.erase(units_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Arm::step()
{
  double current = 0.0;
  for (const auto & unit : units_) {
    current += unit->servo.dynamics().current();
  }
  for (const auto & unit : units_) {
    unit->servo.step(kStepSeconds, supply_ - kCable * current);
  }
}

void Arm::advance_to(TimePoint now)
{
  if (!started_) {
    started_ = true;
    time_ = now - kStep;
  }
  if (now - time_ > kLongestPause) {
    time_ = now - kLongestPause;
  }
  while (now - time_ >= kStep) {
    step();
    time_ += kStep;
  }
}

unsigned EepromFile::revision(const Arm & arm) const
{
  unsigned sum = 0;
  for (std::size_t i = 0; i < std::min(servos_, arm.size()); ++i) {
    sum += arm.unit(i).servo.memory().revision();
  }
  return sum;
}

std::string EepromFile::load(Arm & arm)
{
  std::ifstream file(path_);
  if (!file) {
    if (errno == ENOENT) {
      saved_revision_ = revision(arm);
      return "";
    }
    return "cannot read the EEPROM file '" + path_ + "': " + std::strerror(errno);
  }
  const Json root = Json::parse(file, nullptr, false);
  if (root.is_discarded() || !root.is_object() || !root.value(kServos, Json()).is_array()) {
    return "'" + path_ + "' is no EEPROM file of this program; move it away or name another file";
  }
  const Json & list = root[kServos];
  for (std::size_t i = 0; i < std::min({servos_, arm.size(), list.size()}); ++i) {
    ServoModel & servo = arm.unit(i).servo;
    for (const feetech::Register & entry : feetech::registers::all) {
      if (list[i].is_object() && list[i].contains(entry.name)) {
        const Json & value = list[i][entry.name];
        if (!value.is_number_integer()) {
          return "'" + path_ + "': " + entry.name + " of servo " + std::to_string(i + 1) +
                 " is no integer";
        }
        servo.memory().restore(entry, value.get<int>());
      }
    }
    servo.power_cycle();
  }
  saved_revision_ = revision(arm);
  return "";
}

std::string EepromFile::save(const Arm & arm)
{
  const unsigned now = revision(arm);
  if (now == saved_revision_) {
    return "";
  }
  Json list = Json::array();
  for (std::size_t i = 0; i < std::min(servos_, arm.size()); ++i) {
    Json servo = Json::object();
    for (const feetech::Register & entry : feetech::registers::all) {
      if (entry.eeprom) {
        servo[entry.name] = arm.unit(i).servo.memory().stored(entry);
      }
    }
    list.push_back(servo);
  }
  // A new file takes the old one's place whole, so that a kill leaves one or the other.
  const std::string fresh = path_ + ".new";
  std::ofstream file(fresh);
  file << Json{{kServos, list}}.dump(2) << '\n';
  file.close();
  if (!file || std::rename(fresh.c_str(), path_.c_str()) != 0) {
    return "cannot write the EEPROM file '" + path_ + "': " + std::strerror(errno);
  }
  saved_revision_ = now;
  return "";
}

}  // namespace so100_hardware::emulator
