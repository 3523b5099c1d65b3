// SPDX-License-Identifier: Apache-2.0
#include "command_words.hpp"

#include <cstdlib>

namespace so100_hardware::emulator
{

std::string fail(const std::string & why) { return "error: " + why; }

bool number(const std::string & word, double low, double high, double & value)
{
  char * end = nullptr;
  value = std::strtod(word.c_str(), &end);
  return !word.empty() && *end == '\0' && value >= low && value <= high;
}

bool on_off(const std::string & word, bool & on)
{
  on = word == "on";
  return on || word == "off";
}

}  // namespace so100_hardware::emulator
