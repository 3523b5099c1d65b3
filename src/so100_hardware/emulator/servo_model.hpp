// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dynamics.hpp"
#include "memory.hpp"
#include "protection.hpp"

namespace so100_hardware::emulator
{

struct ServoOptions
{
  Identity identity;
  Joint joint;
  /// What happens to an old Goal_Position when torque goes on: kept, so that the joint jumps to
  /// it (the worse case, hence the default), or replaced by the present position.
  bool torque_on_holds = false;
  /// Whether a write to Goal_Position switches the torque on by itself.
  bool goal_enables_torque = false;
};

/// One STS3215: its memory table, its control loop and the joint on its shaft. Knows nothing of
/// packets and clocks.
class ServoModel
{
public:
  explicit ServoModel(const ServoOptions & options);

  /// Moves on by `dt` seconds (about 1 ms) with `voltage` volts at the terminals.
  void step(double dt, double voltage);

  /// READ: `size` bytes from `address`. Reserved addresses and those behind the table are 0.
  void read(std::uint8_t address, std::size_t size, std::uint8_t * out) const;
  /// WRITE, with all its effects. Bytes behind the table are ignored.
  void write(std::uint8_t address, const std::uint8_t * bytes, std::size_t size);
  /// REG_WRITE: kept until action(); a second one replaces the first.
  void reg_write(std::uint8_t address, const std::uint8_t * bytes, std::size_t size);
  void action();
  /// RESET: factory values; identity, id, baud rate and the joint's place stay. Torque goes off.
  void factory_reset();
  /// Power off and on: what was not in the EEPROM is lost, turns are forgotten, torque is off.
  void power_cycle();

  int get(const feetech::Register & reg) const { return memory_.get(reg); }
  std::uint8_t id() const { return memory_.byte(feetech::registers::id.address); }
  int baud() const { return baud_of_code(get(feetech::registers::baud_rate)); }
  /// Pause between request and reply, in steps of 2 µs.
  std::chrono::nanoseconds return_delay() const;
  /// Status return level 0: only PING and READ are answered.
  bool acknowledges() const { return get(feetech::registers::status_level) != 0; }
  /// The error byte of every reply.
  std::uint8_t status() const { return protection_.status(); }
  /// Below 4 V the electronics is off and the servo neither hears nor answers.
  bool powered() const { return powered_; }

  /// Place, speed, current and temperature; and the hand that pushes or blocks the joint.
  Dynamics & dynamics() { return dynamics_; }
  const Dynamics & dynamics() const { return dynamics_; }
  Protection & protection() { return protection_; }
  Memory & memory() { return memory_; }
  const Memory & memory() const { return memory_; }
  void set_encoder_fault(bool on) { encoder_fault_ = on; }

private:
  bool multi_turn() const;
  bool torque_on() const;
  /// Continuous position in the client's count: encoder minus offset, turns taken off.
  double counted() const;
  int present_position() const;
  int clamped_goal() const;
  void forget_turns();
  void centre_here();
  void apply_torque_enable(std::uint8_t before);
  DriveCommand command(double voltage) const;
  ProtectionLimits limits() const;
  void refresh(double voltage);

  ServoOptions options_;
  Memory memory_;
  Dynamics dynamics_;
  Protection protection_;
  bool encoder_fault_ = false;
  bool powered_ = true;
  double turns_ = 0.0;
  double step_target_ = 0.0;  ///< mode 3: where the steps so far lead, in the client's count
  double voltage_ = 12.0;
  std::uint8_t pending_address_ = 0;
  std::vector<std::uint8_t> pending_;
};

}  // namespace so100_hardware::emulator
