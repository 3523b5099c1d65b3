// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dynamics.hpp"
#include "so100_hardware/feetech/registers.hpp"

namespace so100_hardware::emulator
{

/// What differs between two servos out of the box.
struct Identity
{
  std::uint8_t id = 1;
  std::uint16_t model = feetech::kModels[0].number;
  std::uint8_t firmware_major = 3;
  std::uint8_t firmware_minor = 10;
  std::uint8_t baud_code = 0;
};

/// Bit rate of a baud code, 0 for an unknown code. The codes 5 to 7 are those of LeRobot
/// (57600, 38400, 19200); Feetech's manuals disagree with it and with each other.
int baud_of_code(int code);
/// Code of a bit rate, -1 if the servo has none for it.
int code_of_baud(int baud);

/// The memory table of one servo: what is active, and what the EEPROM keeps.
///
/// A write to an EEPROM register acts at once. With Lock = 1 it is gone after a power cycle,
/// with Lock = 0 it is kept.
class Memory
{
public:
  static constexpr std::size_t kSize = 256;

  explicit Memory(const Identity & identity);

  /// The byte of an address; reserved addresses read 0.
  std::uint8_t byte(std::uint8_t address) const { return ram_[address]; }
  int get(const feetech::Register & reg) const { return decode(reg, &ram_[reg.address]); }

  /// The servo's own write to a register: no lock, no read-only; a value that does not fit is
  /// clamped. EEPROM registers go to the EEPROM as well.
  void set(const feetech::Register & reg, int value);

  /// A client's write of one byte. Read-only and reserved addresses are left as they are, and so
  /// are an id above 253 and an unknown baud code.
  void client_write(std::uint8_t address, std::uint8_t value);

  /// What a loss of power does: RAM from the EEPROM, the rest as at the start.
  void power_cycle();

  /// RESET: all but identity, id and baud rate as the factory left it, in the EEPROM too.
  void factory_reset();

  /// A value as the EEPROM keeps it, for saving; and putting one there. restore() ignores
  /// read-only registers and values that do not fit; the next power_cycle() makes it active.
  int stored(const feetech::Register & reg) const { return decode(reg, &eeprom_[reg.address]); }
  void restore(const feetech::Register & reg, int value);

  const Identity & identity() const { return identity_; }

  /// Counts changes of the EEPROM, so that a saver sees whether there is something to save.
  unsigned revision() const { return revision_; }

private:
  void load_factory();
  void store(std::uint8_t address, std::uint8_t value);

  Identity identity_;
  std::array<std::uint8_t, kSize> ram_{};
  std::array<std::uint8_t, kSize> eeprom_{};
  unsigned revision_ = 0;
};

struct Measurements
{
  double voltage = 12.0;      ///< V
  double temperature = 25.0;  ///< °C
  double strain = 0.0;        ///< torque, share of the stall torque
  double current = 0.0;       ///< A
  bool encoder_fault = false;
};

/// Finds the fault bits of a servo. Voltage, encoder and temperature are reported while they are
/// bad; overload and over-current latch after their time until clear_latches().
class Protection
{
public:
  /// Moves on by `dt` seconds; the limits are registers 13 to 38.
  void step(double dt, const Measurements & now, const Memory & memory);

  /// See feetech::status_bits.
  std::uint8_t status() const { return status_; }

  /// Latches an overload at once, as after a long push.
  void force_overload();
  void clear_latches();

private:
  std::uint8_t status_ = 0;
  std::uint8_t latched_ = 0;
  double overload_for_ = 0.0;
  double over_current_for_ = 0.0;
};

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
  /// Below 4 V the electronics is off and the servo neither receives nor answers.
  bool powered() const { return powered_; }

  /// Place, speed and current; and the hand that pushes or blocks the joint.
  Dynamics & dynamics() { return dynamics_; }
  const Dynamics & dynamics() const { return dynamics_; }
  Protection & protection() { return protection_; }
  Memory & memory() { return memory_; }
  const Memory & memory() const { return memory_; }
  void set_encoder_fault(bool on) { encoder_fault_ = on; }
  void set_temperature(double celsius) { temperature_ = celsius; }

private:
  bool multi_turn() const;
  bool torque_on() const;
  /// Continuous position in the client's count: encoder minus offset, turns taken off.
  double counted() const;
  int present_position() const;
  int clamped_goal() const;
  void forget_turns();
  void center_here();
  void apply_torque_enable(std::uint8_t before);
  DriveCommand command(double voltage) const;
  void refresh(double voltage);

  ServoOptions options_;
  Memory memory_;
  Dynamics dynamics_;
  Protection protection_;
  bool encoder_fault_ = false;
  double temperature_ = 25.0;  ///< °C
  bool powered_ = true;
  double turns_ = 0.0;
  double voltage_ = 12.0;
  std::uint8_t pending_address_ = 0;
  std::vector<std::uint8_t> pending_;
};

}  // namespace so100_hardware::emulator
