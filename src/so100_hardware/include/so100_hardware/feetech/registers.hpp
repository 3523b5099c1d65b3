// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace so100_hardware::feetech
{

/// One entry of the memory table of the STS series.
struct Register
{
  std::uint8_t address;
  std::uint8_t size;     ///< bytes, 1 or 2; words are little-endian
  std::int8_t sign_bit;  ///< sign-magnitude: this bit is the sign; -1: unsigned
  bool eeprom;           ///< kept without power; a write is lost unless Lock is 0
  bool read_only;
  const char * name;  ///< as LeRobot spells it
};

/// The largest value that fits: 2^sign_bit - 1, or all bits of an unsigned register.
constexpr int max_value(const Register & reg)
{
  if (reg.address == 5) {
    return 253;  // ID: 254 means all servos, 255 starts a packet
  }
  return reg.sign_bit >= 0 ? (1 << reg.sign_bit) - 1 : (1 << (8 * reg.size)) - 1;
}

/// The smallest value that fits: -max_value() or 0.
constexpr int min_value(const Register & reg) { return reg.sign_bit >= 0 ? -max_value(reg) : 0; }

/// Value of the register from its bytes. Bits above the sign bit are ignored.
constexpr int decode(const Register & reg, const std::uint8_t * bytes)
{
  const int raw = reg.size == 1 ? bytes[0] : bytes[0] | bytes[1] << 8;
  if (reg.sign_bit < 0) {
    return raw;
  }
  const int magnitude = raw & ((1 << reg.sign_bit) - 1);
  return (raw >> reg.sign_bit & 1) != 0 ? -magnitude : magnitude;
}

/// Writes the value's `reg.size` bytes. False, and nothing written, when it does not fit.
constexpr bool encode(const Register & reg, int value, std::uint8_t * bytes)
{
  if (value < min_value(reg) || value > max_value(reg)) {
    return false;
  }
  const int raw = value < 0 ? (-value | 1 << reg.sign_bit) : value;
  bytes[0] = static_cast<std::uint8_t>(raw & 0xFF);
  if (reg.size == 2) {
    bytes[1] = static_cast<std::uint8_t>(raw >> 8 & 0xFF);
  }
  return true;
}

/// Memory table of the STS3215 and STS3250. 0–39 EEPROM, 40–55 RAM, 56–72 RAM read-only, from 80
/// on factory settings, here treated as EEPROM: LeRobot writes them with Lock 0 too.
namespace registers
{
// address, size, sign bit, EEPROM, read-only, name
constexpr Register firmware_major{0, 1, -1, true, true, "Firmware_Major_Version"};
constexpr Register firmware_minor{1, 1, -1, true, true, "Firmware_Minor_Version"};
constexpr Register model_number{3, 2, -1, true, true, "Model_Number"};
constexpr Register id{5, 1, -1, true, false, "ID"};
constexpr Register baud_rate{6, 1, -1, true, false, "Baud_Rate"};             // code, 0 = 1 Mbps
constexpr Register return_delay{7, 1, -1, true, false, "Return_Delay_Time"};  // 2 µs
constexpr Register status_level{8, 1, -1, true, false, "Response_Status_Level"};      // 1 = all
constexpr Register min_position_limit{9, 2, -1, true, false, "Min_Position_Limit"};   // ticks
constexpr Register max_position_limit{11, 2, -1, true, false, "Max_Position_Limit"};  // ticks
constexpr Register max_temperature{13, 1, -1, true, false, "Max_Temperature_Limit"};  // °C
constexpr Register max_voltage{14, 1, -1, true, false, "Max_Voltage_Limit"};          // 0.1 V
constexpr Register min_voltage{15, 1, -1, true, false, "Min_Voltage_Limit"};          // 0.1 V
constexpr Register max_torque{16, 2, -1, true, false, "Max_Torque_Limit"};            // 0.1 %
constexpr Register phase{18, 1, -1, true, false, "Phase"};  // bit 4: multi-turn feedback
constexpr Register unload_condition{19, 1, -1, true, false, "Unloading_Condition"};
constexpr Register led_alarm_condition{20, 1, -1, true, false, "LED_Alarm_Condition"};
constexpr Register p_coefficient{21, 1, -1, true, false, "P_Coefficient"};
constexpr Register d_coefficient{22, 1, -1, true, false, "D_Coefficient"};  // D before I
constexpr Register i_coefficient{23, 1, -1, true, false, "I_Coefficient"};
constexpr Register min_startup_force{24, 2, -1, true, false, "Minimum_Startup_Force"};
constexpr Register cw_dead_zone{26, 1, -1, true, false, "CW_Dead_Zone"};              // ticks
constexpr Register ccw_dead_zone{27, 1, -1, true, false, "CCW_Dead_Zone"};            // ticks
constexpr Register protection_current{28, 2, -1, true, false, "Protection_Current"};  // 6.5 mA
constexpr Register angular_resolution{30, 1, -1, true, false, "Angular_Resolution"};
constexpr Register homing_offset{31, 2, 11, true, false, "Homing_Offset"};          // ticks
constexpr Register operating_mode{33, 1, -1, true, false, "Operating_Mode"};        // 0 = position
constexpr Register protective_torque{34, 1, -1, true, false, "Protective_Torque"};  // %
constexpr Register protection_time{35, 1, -1, true, false, "Protection_Time"};      // 10 ms
constexpr Register overload_torque{36, 1, -1, true, false, "Overload_Torque"};      // %
constexpr Register velocity_p{37,   1,     -1,
                              true, false, "Velocity_closed_loop_P_proportional_coefficient"};
constexpr Register over_current_time{38, 1, -1, true, false, "Over_Current_Protection_Time"};
constexpr Register velocity_i{39,   1,     -1,
                              true, false, "Velocity_closed_loop_I_integral_coefficient"};

constexpr Register torque_enable{40, 1, -1, false, false, "Torque_Enable"};  // 0 off, 1 on
constexpr Register acceleration{41, 1, -1, false, false, "Acceleration"};    // 100 ticks/s², 0 max
constexpr Register goal_position{42, 2, 15, false, false, "Goal_Position"};  // ticks
constexpr Register goal_time{44, 2, -1, false, false, "Goal_Time"};          // PWM in mode 2
constexpr Register goal_velocity{46, 2, 15, false, false, "Goal_Velocity"};  // ticks/s, 0 = max
constexpr Register torque_limit{48, 2, -1, false, false, "Torque_Limit"};    // 0.1 %
constexpr Register lock{55, 1, -1, false, false, "Lock"};                    // 0 = EEPROM writable

constexpr Register present_position{56, 2, 15, false, true, "Present_Position"};        // ticks
constexpr Register present_velocity{58, 2, 15, false, true, "Present_Velocity"};        // ticks/s
constexpr Register present_load{60, 2, 10, false, true, "Present_Load"};                // 0.1 %
constexpr Register present_voltage{62, 1, -1, false, true, "Present_Voltage"};          // 0.1 V
constexpr Register present_temperature{63, 1, -1, false, true, "Present_Temperature"};  // °C
constexpr Register async_write{64, 1, -1, false, true, "Async_Write_Flag"};  // REG_WRITE waits
constexpr Register status{65, 1, -1, false, true, "Status"};                 // see ServoStatus
constexpr Register moving{66, 1, -1, false, true, "Moving"};
constexpr Register present_current{69, 2, -1, false, true, "Present_Current"};       // 6.5 mA
constexpr Register goal_position_mirror{71, 2, 15, false, true, "Goal_Position_2"};  // ticks

constexpr Register moving_velocity{80, 1, -1, true, false, "Moving_Velocity"};
constexpr Register dts{81, 1, -1, true, false, "DTs"};
constexpr Register velocity_unit{82, 1, -1, true, false, "Velocity_Unit_factor"};
constexpr Register hts{83, 1, -1, true, false, "Hts"};
constexpr Register max_velocity_limit{84, 1, -1, true, false, "Maximum_Velocity_Limit"};
constexpr Register max_acceleration{85, 1, -1, true, false, "Maximum_Acceleration"};
constexpr Register acceleration_multiplier{86, 1, -1, true, false, "Acceleration_Multiplier"};

/// Every register, by rising address.
constexpr std::array<Register, 56> all{
  firmware_major,
  firmware_minor,
  model_number,
  id,
  baud_rate,
  return_delay,
  status_level,
  min_position_limit,
  max_position_limit,
  max_temperature,
  max_voltage,
  min_voltage,
  max_torque,
  phase,
  unload_condition,
  led_alarm_condition,
  p_coefficient,
  d_coefficient,
  i_coefficient,
  min_startup_force,
  cw_dead_zone,
  ccw_dead_zone,
  protection_current,
  angular_resolution,
  homing_offset,
  operating_mode,
  protective_torque,
  protection_time,
  overload_torque,
  velocity_p,
  over_current_time,
  velocity_i,
  torque_enable,
  acceleration,
  goal_position,
  goal_time,
  goal_velocity,
  torque_limit,
  lock,
  present_position,
  present_velocity,
  present_load,
  present_voltage,
  present_temperature,
  async_write,
  status,
  moving,
  present_current,
  goal_position_mirror,
  moving_velocity,
  dts,
  velocity_unit,
  hts,
  max_velocity_limit,
  max_acceleration,
  acceleration_multiplier,
};
}  // namespace registers

/// The register that starts at or covers this address, nullptr for a gap in the table.
const Register * find_register(int address);

/// A model of servo by its number.
struct Model
{
  int number;
  const char * name;
  bool usable;  ///< it has this memory table and 4096 ticks a turn
};

/// LeRobot's list of Feetech models.
constexpr std::array<Model, 4> kModels{{
  {777, "STS3215", true},
  {2825, "STS3250", true},
  {11272, "SM8512BL", false},
  {1284, "SCS0009", false},
}};

/// "STS3215", or the number of a model that is not known.
std::string model_name(int number);

/// Why a servo of this model cannot be used and what to do, in one line; empty when it can.
std::string model_problem(int number);

/// Ticks of one turn.
constexpr int kTicksPerTurn = 4096;

/// Baud rates by their code in `registers::baud_rate`. The manuals disagree about the codes from
/// 5 on, so only these are offered for writing.
constexpr std::array<int, 5> kBaudRates{1000000, 500000, 250000, 128000, 115200};
/// Every rate that a servo may be found at.
constexpr std::array<int, 9> kScanBaudRates{1000000, 500000, 250000, 128000, 115200,
                                            76800,   57600,  38400,  19200};

/// Fault bits: the error byte of a reply, and `registers::status`.
namespace status_bits
{
constexpr std::uint8_t voltage = 0x01;
constexpr std::uint8_t encoder = 0x02;
constexpr std::uint8_t overheat = 0x04;
constexpr std::uint8_t over_current = 0x08;
constexpr std::uint8_t overload = 0x20;
}  // namespace status_bits

/// The names of the fault bits, as "overload, overheat"; "none" for 0.
std::string status_text(std::uint8_t bits);

/// What helps against them, as "check the power supply; let it cool down …"; empty for 0.
std::string status_remedy(std::uint8_t bits);

}  // namespace so100_hardware::feetech
