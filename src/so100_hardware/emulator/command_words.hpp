// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace so100_hardware::emulator
{

/// The answer to a command that cannot be done.
std::string fail(const std::string & why);

/// Reads a whole word as a number of low…high. False, when it is none.
bool number(const std::string & word, double low, double high, double & value);

/// Reads "on" or "off". False, when it is neither.
bool on_off(const std::string & word, bool & on);

}  // namespace so100_hardware::emulator
