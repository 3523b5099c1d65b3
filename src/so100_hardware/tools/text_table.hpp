// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace so100_hardware::tools
{

/// Columns of text; numbers stand to the right.
class TextTable
{
public:
  /// @param columns  headings; one that starts with '>' is for a column of numbers
  explicit TextTable(const std::vector<std::string> & columns);

  /// Missing cells are empty.
  void add(std::vector<std::string> row);

  /// Lines with '\n', the headings first. No blanks at the ends of lines.
  std::string text() const;

private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

/// A number with so many digits after the point.
std::string fixed(double value, int digits);

}  // namespace so100_hardware::tools
