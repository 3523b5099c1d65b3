// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/calibration.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <tuple>

#include "calibration_rules.hpp"
#include "so100_hardware/feetech/eeprom.hpp"

namespace so100_hardware
{
namespace
{

using Json = nlohmann::ordered_json;
namespace registers = feetech::registers;

struct Key
{
  const char * name;
  int JointCalibration::* member;
};

// In LeRobot's order.
constexpr std::array<Key, 5> kKeys{{
  {"id", &JointCalibration::id},
  {"drive_mode", &JointCalibration::drive_mode},
  {"homing_offset", &JointCalibration::homing_offset},
  {"range_min", &JointCalibration::range_min},
  {"range_max", &JointCalibration::range_max},
}};

std::string number(int value) { return std::to_string(value); }

std::string joined(const std::vector<std::string> & names)
{
  std::string text;
  for (const std::string & name : names) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

// The line of a position in the text.
std::string line_of(const std::string & text, std::size_t byte)
{
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(byte, text.size()));
  return std::to_string(1 + std::count(text.begin(), end, '\n'));
}

// The text of a JSON value for a message, short.
std::string shown(const Json & value)
{
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 37) + "..." : text;
}

std::vector<std::string> keys_of(const Json & object)
{
  std::vector<std::string> keys;
  for (const auto & entry : object.items()) {
    keys.push_back(entry.key());
  }
  return keys;
}

// Whether a whole number is small enough for an int; the exact limits are checked later.
bool fits_int(const Json & value)
{
  return value.is_number_unsigned() ? value.get<std::uint64_t>() <= 1000000
                                    : value.get<std::int64_t>() >= -1000000;
}

// Reads one joint's object; false with a line per problem when it is not as it should be.
bool read_joint(const Json & object, JointCalibration & joint, std::vector<std::string> & problems)
{
  const std::size_t before = problems.size();
  const auto add = [&](const char * text, const Fields & fields) {
    problems.push_back(about_joint(joint.joint, message(text, fields)));
  };
  if (!object.is_object()) {
    add("not_joint", {{"value", shown(object)}});
    return false;
  }
  for (const Key & key : kKeys) {
    const auto entry = object.find(key.name);
    if (entry == object.end()) {
      add("missing_key", {{"key", key.name}});
    } else if (!entry->is_number_integer()) {
      add("not_whole", {{"key", key.name}, {"value", shown(*entry)}});
    } else if (!fits_int(*entry)) {
      add("far_out", {{"key", key.name}, {"value", shown(*entry)}});
    } else {
      joint.*key.member = entry->get<int>();
    }
  }
  for (const auto & [name, value] : object.items()) {
    const auto known = std::any_of(
      kKeys.begin(), kKeys.end(), [&name](const Key & key) { return name == key.name; });
    if (!known) {
      add("unknown_key", {{"key", name}});
    }
  }
  return problems.size() == before;
}

// What the joints' own rules say: what the arm must not move with, or the rest.
std::vector<std::string> texts(const Calibration & calibration, bool refused)
{
  std::vector<std::string> lines;
  for (const JointCalibration & joint : calibration.joints) {
    for (const Finding & finding : findings(joint)) {
      if (finding.refused == refused) {
        lines.push_back(finding.text);
      }
    }
  }
  return lines;
}

}  // namespace

bool operator==(const JointCalibration & a, const JointCalibration & b)
{
  const auto all = [](const JointCalibration & j) {
    return std::tie(j.joint, j.id, j.drive_mode, j.homing_offset, j.range_min, j.range_max);
  };
  return all(a) == all(b);
}

bool operator!=(const JointCalibration & a, const JointCalibration & b) { return !(a == b); }

bool operator==(const Calibration & a, const Calibration & b) { return a.joints == b.joints; }

bool operator!=(const Calibration & a, const Calibration & b) { return !(a == b); }

const JointCalibration * Calibration::find(std::string_view joint) const
{
  const auto found = std::find_if(
    joints.begin(), joints.end(), [joint](const auto & entry) { return entry.joint == joint; });
  return found == joints.end() ? nullptr : &*found;
}

std::vector<std::string> lerobot_joints()
{
  std::vector<std::string> names;
  for (const JointInfo & joint : kJoints) {
    names.emplace_back(joint.name);
  }
  return names;
}

std::optional<KnownTravel> known_travel(const std::string & joint)
{
  const Json & joints = calibration_rules()["joints"];
  if (!joints.contains(joint)) {
    return std::nullopt;
  }
  return KnownTravel{joints[joint]["turn"].get<int>(), joints[joint]["least"].get<int>()};
}

std::vector<std::string> calibration_problems(
  const Calibration & calibration, const std::vector<std::string> & joints)
{
  std::vector<std::string> names;
  for (const JointCalibration & joint : calibration.joints) {
    names.push_back(joint.joint);
  }
  const auto without = [](const auto & all, const auto & others) {
    std::vector<std::string> left;
    std::copy_if(all.begin(), all.end(), std::back_inserter(left), [&](const auto & name) {
      return std::find(others.begin(), others.end(), name) == others.end();
    });
    return left;
  };
  const auto missing = without(joints, names);
  if (!without(names, joints).empty()) {
    return {message("other_joints", {{"names", joined(names)}, {"joints", joined(joints)}})};
  }
  std::vector<std::string> problems;
  if (!missing.empty()) {
    problems.push_back(message("missing_joints", {{"missing", joined(missing)}}));
  }
  for (std::size_t i = 0; i < calibration.joints.size(); ++i) {
    const JointCalibration & joint = calibration.joints[i];
    for (std::size_t k = 0; k < i; ++k) {
      const JointCalibration & other = calibration.joints[k];
      if (other.joint == joint.joint) {
        problems.push_back(about_joint(joint.joint, message("twice")));
      } else if (other.id == joint.id) {
        problems.push_back(about_joint(
          joint.joint, message("same_id", {{"id", number(joint.id)}, {"other", other.joint}})));
      }
    }
  }
  const auto broken = texts(calibration, true);
  problems.insert(problems.end(), broken.begin(), broken.end());
  return problems;
}

std::vector<std::string> calibration_notes(const Calibration & calibration)
{
  return texts(calibration, false);
}

LoadedCalibration parse_calibration(
  const std::string & text, const std::string & name, const std::vector<std::string> & joints)
{
  LoadedCalibration result;
  // A key that is there twice would silently win over the first.
  std::set<std::string> seen;
  const auto note_doubles = [&](int depth, Json::parse_event_t event, Json & value) {
    if (event == Json::parse_event_t::key && depth == 1) {
      const auto joint = value.get<std::string>();
      if (!seen.insert(joint).second) {
        result.problems.push_back(about_joint(joint, message("twice")));
      }
    }
    return true;
  };
  Json root;
  try {
    root = Json::parse(text, note_doubles);
  } catch (const Json::parse_error & error) {
    result.problems = {name + ": " + message("not_json", {{"line", line_of(text, error.byte)}})};
    return result;
  } catch (const Json::out_of_range &) {  // 1e999 is JSON, but no double
    result.problems = {name + ": " + message("far_number")};
    return result;
  }
  if (!root.is_object()) {
    result.problems.push_back(message("not_joints", {{"value", shown(root)}}));
  } else if (const std::string other = other_format(keys_of(root), name); !other.empty()) {
    result.problems = {other};
  } else {
    for (const auto & [joint_name, object] : root.items()) {
      JointCalibration joint;
      joint.joint = joint_name;
      if (read_joint(object, joint, result.problems)) {
        result.calibration.joints.push_back(joint);
      }
    }
    if (result.problems.empty()) {
      result.problems = calibration_problems(result.calibration, joints);
    }
    if (result.problems.empty()) {
      result.notes = calibration_notes(result.calibration);
    }
  }
  for (auto * lines : {&result.problems, &result.notes}) {
    for (std::string & line : *lines) {
      line.insert(0, name + ": ");
    }
  }
  return result;
}

LoadedCalibration load_calibration(
  const std::filesystem::path & file, const std::vector<std::string> & joints)
{
  LoadedCalibration result;
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) {
    result.file = file;
    result.problems.push_back(file.string() + ": " + message("folder"));
    return result;
  }
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad()) {
    result.file = file;
    result.problems.push_back(
      file.string() + ": " +
      message("unreadable", {{"reason", std::generic_category().message(errno)}}));
    return result;
  }
  result = parse_calibration(text, file.string(), joints);
  result.file = file;
  return result;
}

std::string to_json(const Calibration & calibration)
{
  Json root = Json::object();
  for (const JointCalibration & joint : calibration.joints) {
    Json & object = root[joint.joint];
    for (const Key & key : kKeys) {
      object[key.name] = joint.*key.member;
    }
  }
  return root.dump(4, ' ', true, Json::error_handler_t::replace);
}

// --- in the servo ---

bool operator==(const JointEeprom & a, const JointEeprom & b)
{
  return std::tie(a.homing_offset, a.range_min, a.range_max) ==
         std::tie(b.homing_offset, b.range_min, b.range_max);
}

bool operator!=(const JointEeprom & a, const JointEeprom & b) { return !(a == b); }

JointEeprom to_eeprom(const JointCalibration & joint)
{
  return {joint.homing_offset, joint.range_min, joint.range_max};
}

std::vector<std::string> calibration_differences(
  const JointCalibration & joint, const JointEeprom & servo)
{
  std::vector<std::string> lines;
  const auto compare = [&](const char * name, int file, int eeprom) {
    if (file != eeprom) {
      lines.push_back(
        joint.joint + " (id " + std::to_string(joint.id) + "): " + name + " is " +
        std::to_string(file) + " in the file, " + std::to_string(eeprom) + " in the servo");
    }
  };
  compare("homing_offset", joint.homing_offset, servo.homing_offset);
  compare("range_min", joint.range_min, servo.range_min);
  compare("range_max", joint.range_max, servo.range_max);
  return lines;
}

feetech::Result<JointEeprom> read_joint_eeprom(feetech::Bus & bus, std::uint8_t id)
{
  // Both limits lie beside each other.
  constexpr feetech::Block kLimits{registers::min_position_limit.address, 4};
  const auto limits = bus.read_block(id, kLimits);
  if (!limits) {
    return limits.error();
  }
  const auto offset = bus.read(id, registers::homing_offset);
  if (!offset) {
    return offset.error();
  }
  const std::uint8_t * bytes = limits.value().data.data();
  return JointEeprom{
    offset.value().value, feetech::decode(registers::min_position_limit, bytes),
    feetech::decode(registers::max_position_limit, bytes + registers::min_position_limit.size)};
}

feetech::Result<void> write_joint_eeprom(
  feetech::Bus & bus, std::uint8_t id, const JointEeprom & values)
{
  const auto present = read_joint_eeprom(bus, id);
  if (!present) {
    return present.error();
  }
  std::array<feetech::RegisterValue, 3> writes{};
  std::size_t count = 0;
  const auto add = [&](const feetech::Register & reg, int wanted, int now) {
    if (wanted != now) {
      writes[count++] = {reg, wanted};
    }
  };
  add(registers::homing_offset, values.homing_offset, present.value().homing_offset);
  add(registers::min_position_limit, values.range_min, present.value().range_min);
  add(registers::max_position_limit, values.range_max, present.value().range_max);
  if (count == 0) {
    return {};
  }
  return feetech::write_eeprom(bus, id, writes.data(), count);
}

}  // namespace so100_hardware
