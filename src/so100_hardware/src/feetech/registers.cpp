// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/registers.hpp"

#include <utility>

namespace so100_hardware::feetech
{

const Register * find_register(int address)
{
  for (const Register & reg : registers::all) {
    if (address >= reg.address && address < reg.address + reg.size) {
      return &reg;
    }
  }
  return nullptr;
}

std::string status_text(std::uint8_t bits)
{
  static constexpr std::array<std::pair<std::uint8_t, const char *>, 5> names{{
    {status_bits::voltage, "voltage"},
    {status_bits::encoder, "encoder"},
    {status_bits::overheat, "overheat"},
    {status_bits::over_current, "over-current"},
    {status_bits::overload, "overload"},
  }};
  std::string text;
  unsigned unknown = bits;
  for (const auto & [bit, name] : names) {
    if ((bits & bit) != 0) {
      text += text.empty() ? "" : ", ";
      text += name;
      unknown &= ~static_cast<unsigned>(bit);
    }
  }
  if (unknown != 0) {
    text += text.empty() ? "" : ", ";
    text += "unknown bits " + std::to_string(unknown);
  }
  return text.empty() ? "none" : text;
}

std::string status_remedy(std::uint8_t bits)
{
  std::string text;
  const auto add = [&text, bits](int bit, const char * help) {
    if ((bits & bit) != 0) {
      text += std::string(text.empty() ? "" : "; ") + help;
    }
  };
  add(status_bits::voltage, "check the power supply");
  add(status_bits::encoder, "switch the power off and on; replace the servo if it stays");
  add(status_bits::overheat, "let it cool down and find out what it pushes against");
  add(
    status_bits::over_current | status_bits::overload,
    "free the joint, then switch the power off and on");
  return text;
}

}  // namespace so100_hardware::feetech
