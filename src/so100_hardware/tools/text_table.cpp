// SPDX-License-Identifier: Apache-2.0
#include "text_table.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <utility>

namespace so100_hardware::tools
{

TextTable::TextTable(const std::vector<std::string> & columns)
{
  std::vector<std::string> headings;
  for (const std::string & column : columns) {
    const bool right = !column.empty() && column.front() == '>';
    right_.push_back(right);
    headings.push_back(right ? column.substr(1) : column);
  }
  rows_.push_back(std::move(headings));
}

void TextTable::add(std::vector<std::string> row)
{
  row.resize(right_.size());
  rows_.push_back(std::move(row));
}

std::string TextTable::text() const
{
  std::string text;
  for (const auto & row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::size_t width = 0;
      for (const auto & other : rows_) {
        width = std::max(width, other[i].size());
      }
      const std::string gap(width - row[i].size(), ' ');
      line += (i > 0 ? "  " : "") + (right_[i] ? gap + row[i] : row[i] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string fixed(double value, int digits)
{
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace so100_hardware::tools
