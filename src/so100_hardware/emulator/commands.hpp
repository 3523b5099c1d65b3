// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "arm.hpp"
#include "emulated_bus.hpp"
#include "faults.hpp"

namespace so100_hardware::emulator
{

/// What a command can ask of the program around the bus. Each returns what went wrong, else an
/// empty text; plug() leaves the port's path in its argument.
struct Hooks
{
  std::function<std::string()> unplug = [] { return "there is no port to unplug"; };
  std::function<std::string(std::string &)> plug = [](std::string &) {
    return "there is no port to plug";
  };
  std::function<void()> quit = [] {};
};

/// The text commands of the control socket: one line in, one line out, "ok", "ok DATA" or
/// "error: WHY". Servos are named by their id, by "#N" (the N-th of the chain) or by "all".
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
  using Indices = std::vector<std::size_t>;
  using Handler = std::string (Commands::*)(const Words &);
  struct Entry;
  static const std::vector<Entry> & table();

  /// The servos that `word` names; empty, with `error` set, when there are none.
  Indices servos(const std::string & word, std::string & error) const;
  std::string set_rate(const Words & words, double FaultRates::* rate);

  std::string drop(const Words & words);
  std::string corrupt(const Words & words);
  std::string bad_checksum(const Words & words);
  std::string truncate(const Words & words);
  std::string delay(const Words & words);
  std::string clear(const Words & words);
  std::string seed(const Words & words);
  std::string silent(const Words & words);
  std::string double_id(const Words & words);
  std::string voltage(const Words & words);
  std::string temperature(const Words & words);
  std::string encoder(const Words & words);
  std::string push(const Words & words);
  std::string block(const Words & words);
  std::string release(const Words & words);
  std::string overload(const Words & words);
  std::string reboot(const Words & words);
  std::string unplug(const Words & words);
  std::string plug(const Words & words);
  std::string show(const Words & words);
  std::string stats(const Words & words);
  std::string list(const Words & words);
  std::string quit(const Words & words);

  Arm & arm_;
  Faults & faults_;
  EmulatedBus & bus_;
  Hooks hooks_;
  std::vector<const Unit *> doubles_;  ///< the servos that `double` has added
};

}  // namespace so100_hardware::emulator
