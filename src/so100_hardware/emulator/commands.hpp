// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "arm.hpp"
#include "emulated_bus.hpp"

namespace so100_hardware::emulator
{

/// What a command can ask of the program around the bus. Each returns what went wrong, else an
/// empty text; plug() leaves the port's path in its argument.
struct Hooks
{
  std::function<std::string()> unplug;
  std::function<std::string(std::string &)> plug;
  std::function<void()> quit;
};

/// The text commands of the control socket: one line in, one line out, "ok", "ok DATA" or
/// "error: REASON". Servos are named by their id, by "#N" (the N-th of the chain) or by "all".
class Commands
{
public:
  Commands(Arm & arm, Faults & faults, EmulatedBus & bus, Hooks hooks)
  : arm_(arm), faults_(faults), bus_(bus), hooks_(std::move(hooks))
  {
  }

  std::string run(const std::string & line);

  /// One line per command: its form and what it does.
  static std::string help();

private:
  using Words = std::vector<std::string>;
  struct Entry;
  static const std::vector<Entry> & table();

  /// The index of each servo that `word` names. Throws std::invalid_argument when there is none.
  std::vector<std::size_t> servos(const std::string & word) const;
  /// Sets a fault's rate, words[at] percent, of the servo in the next word or of all.
  void set_rate(const Words & words, std::size_t at, double FaultRates::* rate);
  void add_double(std::uint8_t id);
  void remove_double(std::uint8_t id);
  std::string show(const std::string & which) const;
  std::string stats() const;

  Arm & arm_;
  Faults & faults_;
  EmulatedBus & bus_;
  Hooks hooks_;
  std::vector<const Unit *> doubles_;  ///< the servos that `double` has added
};

}  // namespace so100_hardware::emulator
