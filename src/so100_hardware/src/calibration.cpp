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

namespace so100_hardware
{
namespace
{

using Json = nlohmann::ordered_json;

constexpr int kMaxId = 253;

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

std::string joint_label(const std::string & joint) { return "joint '" + joint + "': "; }

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
  const std::string label = joint_label(joint.joint);
  if (!object.is_object()) {
    problems.push_back(
      label + "must be an object with id, drive_mode, homing_offset, range_min and range_max, " +
      "but is " + shown(object));
    return false;
  }
  for (const Key & key : kKeys) {
    const auto entry = object.find(key.name);
    if (entry == object.end()) {
      problems.push_back(label + "the key '" + key.name + "' is missing");
    } else if (!entry->is_number_integer()) {
      problems.push_back(
        label + "'" + key.name + "' must be a whole number, but is " + shown(*entry));
    } else if (!fits_int(*entry)) {
      problems.push_back(label + "'" + key.name + "' is " + shown(*entry) + ", far out of range");
    } else {
      joint.*key.member = entry->get<int>();
    }
  }
  for (const auto & [name, value] : object.items()) {
    const auto known = std::any_of(
      kKeys.begin(), kKeys.end(), [&name](const Key & key) { return name == key.name; });
    if (!known) {
      problems.push_back(label + "unknown key '" + name + "'; LeRobot would refuse this file");
    }
  }
  return problems.size() == before;
}

void check_joint(const JointCalibration & joint, std::vector<std::string> & problems)
{
  const std::string label = joint_label(joint.joint);
  if (joint.id < 0 || joint.id > kMaxId) {
    problems.push_back(label + "id is " + number(joint.id) + ", but ids are 0 to 253");
  }
  if (joint.drive_mode != 0 && joint.drive_mode != 1) {
    problems.push_back(
      label + "drive_mode is " + number(joint.drive_mode) + ", but must be 0 or 1");
  }
  if (joint.homing_offset < -kMaxHomingOffset || joint.homing_offset > kMaxHomingOffset) {
    problems.push_back(
      label + "homing_offset is " + number(joint.homing_offset) +
      ", but the servo holds -2047 to 2047; calibrate again with the joint in the middle of its "
      "range (so100_calibrate)");
  }
  for (const auto & [name, value] :
       {std::pair("range_min", joint.range_min), std::pair("range_max", joint.range_max)}) {
    if (value < 0 || value > kMaxTick) {
      problems.push_back(
        label + name + " is " + number(value) +
        ", but positions are 0 to 4095; calibrate again (so100_calibrate)");
    }
  }
  if (joint.range_min >= joint.range_max) {
    problems.push_back(
      label + "range_min " + number(joint.range_min) + " is not below range_max " +
      number(joint.range_max) + "; calibrate again and move this joint to both of its ends");
  }
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

std::vector<std::string> calibration_problems(
  const Calibration & calibration, const std::vector<std::string> & joints)
{
  std::vector<std::string> problems;
  std::vector<std::string> missing;
  std::copy_if(
    joints.begin(), joints.end(), std::back_inserter(missing),
    [&calibration](const std::string & joint) { return calibration.find(joint) == nullptr; });
  if (!missing.empty()) {
    problems.push_back(
      joined(missing) + (missing.size() == 1 ? " is" : " are") +
      " missing; is this the calibration of another kind of robot?");
  }
  for (std::size_t i = 0; i < calibration.joints.size(); ++i) {
    const JointCalibration & joint = calibration.joints[i];
    if (std::find(joints.begin(), joints.end(), joint.joint) == joints.end()) {
      problems.push_back(
        joint_label(joint.joint) + "the arm has no such joint; it has " + joined(joints));
    }
    for (std::size_t k = 0; k < i; ++k) {
      const JointCalibration & other = calibration.joints[k];
      if (other.joint == joint.joint) {
        problems.push_back(joint_label(joint.joint) + "is there twice");
      } else if (other.id == joint.id) {
        problems.push_back(
          joint_label(joint.joint) + "id " + number(joint.id) + " is that of '" + other.joint +
          "' too; every servo needs an id of its own");
      }
    }
    check_joint(joint, problems);
  }
  return problems;
}

std::vector<std::string> calibration_remarks(const Calibration & calibration)
{
  std::vector<std::string> remarks;
  for (const JointCalibration & joint : calibration.joints) {
    const std::string label = joint_label(joint.joint);
    if (joint.joint == kFullTurnJoint && !(joint.range() == TickRange{})) {
      remarks.push_back(
        label + "the range is " + number(joint.range_min) + " to " + number(joint.range_max) +
        ", LeRobot gives this joint the full turn 0 to 4095; its zero is the middle of the range");
    } else if (joint.range_max - joint.range_min < kNarrowRange) {
      remarks.push_back(
        label + "the range is only " + number(joint.range_max - joint.range_min) + " ticks (" +
        number((joint.range_max - joint.range_min) * 360 / kTicksPerTurn) +
        " degrees) wide; was it moved to both ends in the calibration?");
    }
    const JointInfo * info = find_joint(joint.joint);
    if (info != nullptr && info->id != joint.id) {
      remarks.push_back(
        label + "id is " + number(joint.id) + ", LeRobot gives it " + number(info->id));
    }
    if (joint.drive_mode == 1 && joint.joint != kGripper) {
      remarks.push_back(
        label +
        "drive_mode 1 turns LeRobot's -100 to 100 round, but not its degrees and not the "
        "radians here");
    }
  }
  return remarks;
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
        result.problems.push_back(joint_label(joint) + "is there twice");
      }
    }
    return true;
  };
  Json root;
  try {
    root = Json::parse(text, note_doubles);
  } catch (const Json::parse_error & error) {
    result.problems = {
      name + ": not JSON, see line " + line_of(text, error.byte) +
      "; restore the file from its .bak or calibrate again"};
    return result;
  } catch (const Json::out_of_range &) {  // 1e999 is JSON, but no double
    result.problems = {
      name +
      ": holds a number far out of range; restore the file from its .bak or calibrate again"};
    return result;
  }
  if (!root.is_object()) {
    result.problems.push_back("must be an object with a joint each, but is " + shown(root));
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
      result.remarks = calibration_remarks(result.calibration);
    }
  }
  for (auto * lines : {&result.problems, &result.remarks}) {
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
    result.problems.push_back(file.string() + ": is a folder; give the calibration file in it");
    return result;
  }
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.is_open() || stream.bad()) {
    result.file = file;
    result.problems.push_back(
      file.string() + ": cannot be read: " + std::generic_category().message(errno));
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

}  // namespace so100_hardware
