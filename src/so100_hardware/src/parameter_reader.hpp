// SPDX-License-Identifier: Apache-2.0
// Reads the `<param>` texts of one component and says what is wrong with them.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "so100_hardware/system_config.hpp"

namespace so100_hardware
{

inline std::string_view trimmed(std::string_view text)
{
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

inline std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

inline std::string joined(const std::vector<std::string> & parts)
{
  std::string text;
  for (const std::string & part : parts) {
    text += (text.empty() ? "" : ", ") + part;
  }
  return text;
}

inline bool contains(const std::vector<std::string> & names, const std::string & name)
{
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <class Number>
std::optional<Number> number(std::string_view text)
{
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

/// The parameters of one component; what is wrong goes to `errors` with the component's name. A
/// parameter that is not given leaves its default, and so does a wrong one.
class ParameterReader
{
public:
  ParameterReader(
    std::string owner, const Parameters & parameters, std::vector<std::string> & errors)
  : owner_(std::move(owner)), parameters_(parameters), errors_(errors)
  {
  }

  void error(const std::string & text) { errors_.push_back(owner_ + ": " + text); }

  std::optional<std::string_view> text(const char * name) const
  {
    const auto found = parameters_.find(name);
    if (found == parameters_.end()) {
      return std::nullopt;
    }
    return trimmed(found->second);
  }

  void read(const char * name, std::string & value)
  {
    if (const auto given = text(name)) {
      value = std::string(*given);
    }
  }

  template <class Target>
  void read(const char * name, Target & value, int low, int high)
  {
    if (const auto given = text(name)) {
      const auto parsed = number<int>(*given);
      if (!parsed || *parsed < low || *parsed > high) {
        error(
          std::string(name) + " is " + quoted(*given) + "; give a whole number from " +
          std::to_string(low) + " to " + std::to_string(high));
      } else {
        value = *parsed;
      }
    }
  }

  void read(const char * name, double & value, double low, double high, const char * unit)
  {
    if (const auto given = text(name)) {
      const auto parsed = number<double>(*given);
      // The comparison is written so that NaN fails it.
      if (!parsed || !(*parsed >= low && *parsed <= high)) {
        std::ostringstream range;
        range << low << " to " << high << " " << unit;
        error(std::string(name) + " is " + quoted(*given) + "; give " + range.str());
      } else {
        value = *parsed;
      }
    }
  }

  void read(const char * name, bool & value)
  {
    if (const auto given = text(name)) {
      if (*given == "true" || *given == "True") {
        value = true;
      } else if (*given == "false" || *given == "False") {
        value = false;
      } else {
        error(std::string(name) + " is " + quoted(*given) + "; give true or false");
      }
    }
  }

  void refuse_unknown(const std::vector<std::string> & known)
  {
    std::vector<std::string> unknown;
    for (const auto & parameter : parameters_) {
      if (!contains(known, parameter.first)) {
        unknown.push_back(quoted(parameter.first));
      }
    }
    std::sort(unknown.begin(), unknown.end());
    if (!unknown.empty()) {
      error("no such parameter: " + joined(unknown) + "; known are: " + joined(known));
    }
  }

private:
  std::string owner_;
  const Parameters & parameters_;
  std::vector<std::string> & errors_;
};

}  // namespace so100_hardware
