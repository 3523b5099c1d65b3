// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace so100_hardware
{

/// What came of a step outside of the control cycle. One line a mistake: which joint, what is
/// wrong, what to do.
struct Report
{
  std::vector<std::string> errors;
  std::vector<std::string> remarks;  ///< what the user should know, no hindrance

  bool ok() const { return errors.empty(); }

  /// The errors, one a line.
  std::string text() const
  {
    std::string all;
    for (const std::string & error : errors) {
      all += (all.empty() ? "" : "\n") + error;
    }
    return all;
  }

  /// Takes over what another step found. Returns whether that step went well.
  bool add(const Report & other)
  {
    errors.insert(errors.end(), other.errors.begin(), other.errors.end());
    remarks.insert(remarks.end(), other.remarks.begin(), other.remarks.end());
    return other.ok();
  }
};

}  // namespace so100_hardware
