// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/feetech/registers.hpp"

#include <cstdio>
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

std::string model_name(int number)
{
  for (const Model & model : kModels) {
    if (model.number == number) {
      return model.name;
    }
  }
  return std::to_string(number);
}

std::string model_problem(int number)
{
  const Model * known = nullptr;
  std::string usable;
  for (const Model & model : kModels) {
    known = model.number == number ? &model : known;
    if (model.usable) {
      usable += (usable.empty() ? "" : " or ") + std::string(model.name) + " (model " +
                std::to_string(model.number) + ")";
    }
  }
  if (known != nullptr) {
    return known->usable ? ""
                         : std::string("model ") + known->name + " has other registers; put an " +
                             usable + " in its place";
  }
  const int swapped = (number & 0xFF) << 8 | number >> 8;
  char text[160];
  std::snprintf(
    text, sizeof(text),
    "model %d (0x%04X) is unknown; its bytes swapped, as the SCS series sends them, are %s "
    "(0x%04X)",
    number, static_cast<unsigned>(number), model_name(swapped).c_str(),
    static_cast<unsigned>(swapped));
  return std::string(text) + "; read the type on its label: an " + usable +
         " needs new firmware (Feetech's program FD), any other servo has to be replaced by one";
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
