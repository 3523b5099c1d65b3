// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include "arm.hpp"
#include "command_words.hpp"
#include "commands.hpp"

namespace so100_hardware::emulator
{
namespace
{
/// Values that hold for all servos (key −1) or for one id.
template <class T>
class PerServo
{
public:
  explicit PerServo(T value) : values_{{-1, value}} {}
  void set(int id, T value) { values_[id] = value; }
  T get(int id) const { return values_.count(id) != 0 ? values_.at(id) : values_.at(-1); }

private:
  std::map<int, T> values_;
};

struct Raw
{
  std::vector<int> ids{1, 2, 3, 4, 5, 6};
  PerServo<int> model{feetech::kModelSts3215};
  PerServo<std::pair<int, int>> firmware{{3, 10}};
  PerServo<int> baud{1000000};
  double gravity = 1.0;
  bool torque_on_holds = false;
  bool goal_enables_torque = false;
};

bool integer(const std::string & word, int low, int high, int & value)
{
  double parsed = 0.0;
  if (!number(word, low, high, parsed) || parsed != static_cast<int>(parsed)) {
    return false;
  }
  value = static_cast<int>(parsed);
  return true;
}

/// Splits "ID=VALUE" or "VALUE". False when the id is none.
bool split_id(std::string & value, int & id)
{
  id = -1;
  const std::size_t equals = value.find('=');
  if (equals == std::string::npos) {
    return true;
  }
  const bool good = integer(value.substr(0, equals), 0, feetech::kMaxServoId, id);
  value.erase(0, equals + 1);
  return good;
}

std::string parse_ids(const std::string & value, Raw & raw)
{
  raw.ids.clear();
  std::istringstream stream(value);
  for (std::string word; std::getline(stream, word, ',');) {
    int id = 0;
    if (!integer(word, 0, feetech::kMaxServoId, id)) {
      return "--ids: '" + word + "' is no servo id (0 to 253), as in 1,2,3,4,5,6";
    }
    raw.ids.push_back(id);
  }
  return raw.ids.empty() ? "--ids: name at least one servo, as in 1,2,3,4,5,6" : "";
}

std::string parse_firmware(std::string value, Raw & raw)
{
  int id = -1;
  std::pair<int, int> version;
  const bool good = split_id(value, id);
  const std::size_t dot = value.find('.');
  if (
    !good || dot == std::string::npos || !integer(value.substr(0, dot), 0, 255, version.first) ||
    !integer(value.substr(dot + 1), 0, 255, version.second)) {
    return "--firmware takes MAJOR.MINOR or ID=MAJOR.MINOR, as in 3.10 or 4=3.9";
  }
  raw.firmware.set(id, version);
  return "";
}

std::string parse_model(std::string value, Raw & raw)
{
  int id = -1;
  int model = 0;
  if (!split_id(value, id) || !integer(value, 0, 65535, model)) {
    return "--model-number takes NUMBER or ID=NUMBER, as in 777 (STS3215) or 6=2825";
  }
  raw.model.set(id, model);
  return "";
}

std::string parse_baud(std::string value, Raw & raw)
{
  int id = -1;
  int baud = 0;
  if (!split_id(value, id) || !integer(value, 1, 10000000, baud) || code_of_baud(baud) < 0) {
    return "--baud takes RATE or ID=RATE; the servos know 1000000, 500000, 250000, 128000, "
           "115200, 57600, 38400 and 19200";
  }
  raw.baud.set(id, baud);
  return "";
}

std::string parse_number(
  const std::string & name, const std::string & value, double high, double & out)
{
  if (!number(value, 0.0, high, out)) {
    return name + ": '" + value + "' is no number of 0 to " + std::to_string(std::lround(high));
  }
  return "";
}

std::string parse_delay(const std::string & value, Options & options)
{
  const std::size_t colon = value.find(':');
  if (colon == std::string::npos) {
    return "--delay takes MS:PERCENT, as in 20:5";
  }
  options.commands.push_back("delay " + value.substr(0, colon) + " " + value.substr(colon + 1));
  return "";
}

std::string parse_valued(
  const std::string & name, const std::string & value, Options & options, Raw & raw)
{
  static const std::map<std::string, std::string> faults{
    {"--drop", "drop "},
    {"--corrupt", "corrupt "},
    {"--bad-checksum", "bad-checksum "},
    {"--truncate", "truncate "},
    {"--seed", "seed "},
    {"--block", "block "},
    {"--overload", "overload "},
    {"--do", ""}};
  static const std::map<std::string, std::string> switched{
    {"--silent", "silent "}, {"--double", "double "}};
  if (faults.count(name) != 0) {
    options.commands.push_back(faults.at(name) + value);
  } else if (switched.count(name) != 0) {
    options.commands.push_back(switched.at(name) + value + " on");
  } else if (name == "--link") {
    options.link = value;
  } else if (name == "--control") {
    options.control = value;
  } else if (name == "--eeprom") {
    options.eeprom = value;
  } else if (name == "--ids") {
    return parse_ids(value, raw);
  } else if (name == "--firmware") {
    return parse_firmware(value, raw);
  } else if (name == "--model-number") {
    return parse_model(value, raw);
  } else if (name == "--baud") {
    return parse_baud(value, raw);
  } else if (name == "--delay") {
    return parse_delay(value, options);
  } else if (name == "--voltage") {
    return parse_number(name, value, 25.0, options.supply_voltage);
  } else if (name == "--gravity") {
    return parse_number(name, value, 3.0, raw.gravity);
  } else {
    return "unknown option '" + name + "'; --help lists them";
  }
  return "";
}

bool parse_plain(const std::string & name, Options & options, Raw & raw)
{
  if (name == "--help" || name == "-h") {
    options.help = true;
  } else if (name == "--no-timing") {
    options.timing = false;
  } else if (name == "--any-baud") {
    options.any_baud = true;
  } else if (name == "--realtime") {
    options.realtime = true;
  } else if (name == "--torque-on-holds") {
    raw.torque_on_holds = true;
  } else if (name == "--goal-enables-torque") {
    raw.goal_enables_torque = true;
  } else {
    return false;
  }
  return true;
}

void make_servos(const Raw & raw, Options & options)
{
  for (std::size_t i = 0; i < raw.ids.size(); ++i) {
    const int id = raw.ids[i];
    ServoOptions servo;
    servo.identity.id = static_cast<std::uint8_t>(id);
    servo.identity.model = static_cast<std::uint16_t>(raw.model.get(id));
    servo.identity.firmware_major = static_cast<std::uint8_t>(raw.firmware.get(id).first);
    servo.identity.firmware_minor = static_cast<std::uint8_t>(raw.firmware.get(id).second);
    servo.identity.baud_code = static_cast<std::uint8_t>(code_of_baud(raw.baud.get(id)));
    servo.joint = so100_joint(i, raw.gravity);
    servo.torque_on_holds = raw.torque_on_holds;
    servo.goal_enables_torque = raw.goal_enables_torque;
    options.servos.push_back(servo);
  }
}
}  // namespace

std::string parse_options(const std::vector<std::string> & arguments, Options & options)
{
  Raw raw;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    if (parse_plain(name, options, raw)) {
      continue;
    }
    std::string value;
    const std::size_t equals = name.find('=');
    if (equals != std::string::npos) {  // --name=value
      value = name.substr(equals + 1);
      name.erase(equals);
    } else if (name.rfind("--", 0) == 0 && i + 1 < arguments.size()) {
      value = arguments[++i];
    } else if (name.rfind("--", 0) == 0) {
      return "'" + name + "' is unknown or lacks its value; --help lists the options";
    }
    const std::string error = parse_valued(name, value, options, raw);
    if (!error.empty()) {
      return error;
    }
  }
  make_servos(raw, options);
  return "";
}

}  // namespace so100_hardware::emulator
