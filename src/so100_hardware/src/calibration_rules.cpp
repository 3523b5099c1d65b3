// SPDX-License-Identifier: Apache-2.0
#include "calibration_rules.hpp"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

namespace so100_hardware
{
namespace
{

using Json = nlohmann::ordered_json;

constexpr const char * kRules =
#include "calibration_rules.inc"
  ;

// A limit of a rule: a number, or the name of a number that each known joint has. None: no limit.
std::optional<int> limit(const Json & rule, const char * name, const Json & known)
{
  if (!rule.contains(name)) {
    return std::nullopt;
  }
  const Json & value = rule[name];
  if (value.is_number()) {
    return value.get<int>();
  }
  const auto entry = known.find(value.get<std::string>());
  return entry == known.end() ? std::nullopt : std::optional(entry->get<int>());
}

bool contains(const std::vector<std::string> & keys, const std::string & key)
{
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// What stands before the names of whole arms.
std::vector<std::string> prefixes(const std::vector<std::string> & keys)
{
  std::vector<std::string> found;
  const std::string first(kJoints.front().name);
  for (const std::string & key : keys) {
    if (
      key.size() <= first.size() ||
      key.compare(key.size() - first.size(), first.size(), first) != 0) {
      continue;
    }
    const std::string prefix = key.substr(0, key.size() - first.size());
    if (std::all_of(kJoints.begin(), kJoints.end(), [&](const JointInfo & joint) {
          return contains(keys, prefix + std::string(joint.name));
        })) {
      found.push_back(prefix);
    }
  }
  return found;
}

}  // namespace

const Json & calibration_rules()
{
  static const Json rules = Json::parse(kRules);
  return rules;
}

std::string filled(std::string text, const Fields & fields)
{
  for (std::size_t at = text.find('{'); at != std::string::npos; at = text.find('{', at)) {
    const std::size_t end = text.find('}', at);
    const std::string & value = fields.at(text.substr(at + 1, end - at - 1));
    text.replace(at, end - at + 1, value);
    at += value.size();
  }
  return text;
}

std::string message(const char * name, const Fields & fields)
{
  return filled(calibration_rules()["texts"][name].get<std::string>(), fields);
}

std::string about_joint(const std::string & joint, const std::string & text)
{
  return message("joint", {{"joint", joint}, {"text", text}});
}

std::vector<Finding> findings(const JointCalibration & joint)
{
  const Json & joints = calibration_rules()["joints"];
  const Json known = joints.contains(joint.joint) ? joints[joint.joint] : Json::object();
  const int ticks = joint.range_max - joint.range_min;
  std::map<std::string, int> values{
    {"id", joint.id},
    {"drive_mode", joint.drive_mode},
    {"homing_offset", joint.homing_offset},
    {"range_min", joint.range_min},
    {"range_max", joint.range_max},
    {"ticks", ticks},
    {"degrees", degrees_of(ticks)}};
  Fields fields{{"joint", joint.joint}};
  for (const auto & [name, value] : known.items()) {
    fields[name] = std::to_string(value.get<int>());
  }
  for (const auto & [name, value] : values) {
    fields[name] = std::to_string(value);
  }
  std::vector<Finding> found;
  std::set<std::string> reported;
  for (const Json & rule : calibration_rules()["rules"]) {
    const auto name = rule["value"].get<std::string>();
    const auto min = limit(rule, "min", known);
    const auto max = limit(rule, "max", known);
    const bool broken = (min && values[name] < *min) || (max && values[name] > *max);
    if (broken && reported.insert(name).second) {
      fields["min"] = min ? std::to_string(*min) : "";
      fields["max"] = max ? std::to_string(*max) : "";
      const auto level = rule["level"].get<std::string>();
      found.push_back(
        {level == "unusable" || level == "unsafe",
         about_joint(joint.joint, filled(rule["text"].get<std::string>(), fields))});
    }
  }
  return found;
}

std::string other_format(const std::vector<std::string> & keys, const std::string & file)
{
  const std::string stem = std::filesystem::path(file).stem().string();
  Fields fields{{"file", file}, {"stem", stem}, {"prefixes", ""}, {"files", ""}};
  for (const std::string & prefix : prefixes(keys)) {
    const std::size_t end = prefix.find_last_not_of("_/") + 1;
    fields["prefixes"] += (fields["prefixes"].empty() ? "" : " ") + prefix;
    fields["files"] +=
      (fields["files"].empty() ? "" : " ") + stem + "_" + prefix.substr(0, end) + ".json";
  }
  fields["split"] = filled(calibration_rules()["split"].get<std::string>(), fields);
  for (const Json & format : calibration_rules()["formats"]) {
    const bool all = std::all_of(
      format["keys"].begin(), format["keys"].end(),
      [&keys](const Json & key) { return contains(keys, key.get<std::string>()); });
    if (all && !(format["prefixed"].get<bool>() && fields["prefixes"].empty())) {
      return filled(format["text"].get<std::string>(), fields);
    }
  }
  return "";
}

}  // namespace so100_hardware
