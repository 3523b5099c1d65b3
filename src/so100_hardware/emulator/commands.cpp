// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "command_words.hpp"

namespace so100_hardware::emulator
{
struct Commands::Entry
{
  const char * name;
  const char * arguments;
  std::size_t least;  ///< words after the name
  std::size_t most;
  Handler handler;
  const char * help;
};

const std::vector<Commands::Entry> & Commands::table()
{
  using C = Commands;
  static const std::vector<Entry> entries{
    {"drop", "PERCENT [SERVO]", 1, 2, &C::drop, "lose that share of the replies"},
    {"corrupt", "PERCENT [SERVO]", 1, 2, &C::corrupt, "flip one bit in that share"},
    {"bad-checksum", "PERCENT [SERVO]", 1, 2, &C::bad_checksum, "send a wrong checksum"},
    {"truncate", "PERCENT [SERVO]", 1, 2, &C::truncate, "cut replies short"},
    {"delay", "MS PERCENT [SERVO]", 2, 3, &C::delay, "let replies come MS later"},
    {"clear", "", 0, 0, &C::clear, "no more drop, corrupt, bad-checksum, truncate, delay"},
    {"seed", "N", 1, 1, &C::seed, "start the random faults anew"},
    {"silent", "SERVO on|off", 2, 2, &C::silent, "cut a servo off the line"},
    {"double", "ID on|off", 2, 2, &C::double_id, "add a second servo with this id"},
    {"voltage", "VOLTS", 1, 1, &C::voltage, "supply voltage; below 4 V the servos are dead"},
    {"temperature", "SERVO CELSIUS", 2, 2, &C::temperature, "heat or cool a servo"},
    {"encoder", "SERVO on|off", 2, 2, &C::encoder, "report an encoder fault"},
    {"push", "SERVO TICKS [TICKS_PER_S]", 2, 3, &C::push,
     "take a joint to an encoder angle (without offset) and hold it there"},
    {"block", "SERVO", 1, 1, &C::block, "hold a joint where it is"},
    {"release", "SERVO", 1, 1, &C::release, "let go of a pushed or blocked joint"},
    {"overload", "SERVO", 1, 1, &C::overload, "latch the overload fault at once"},
    {"reboot", "[SERVO]", 0, 1, &C::reboot, "power off and on"},
    {"unplug", "", 0, 0, &C::unplug, "the port disappears"},
    {"plug", "", 0, 0, &C::plug, "the port is back (a new one, behind the same --link)"},
    {"show", "[SERVO]", 0, 1, &C::show, "state as JSON"},
    {"stats", "[reset]", 0, 1, &C::stats, "counts per servo and of the line as JSON"},
    {"help", "", 0, 0, &C::list, "the names of all commands"},
    {"quit", "", 0, 0, &C::quit, "end the emulator"},
  };
  return entries;
}

std::string Commands::run(const std::string & line)
{
  std::istringstream stream(line);
  Words words;
  for (std::string word; stream >> word;) {
    words.push_back(word);
  }
  if (words.empty()) {
    return fail("empty line; 'help' lists the commands");
  }
  for (const Entry & entry : table()) {
    if (words[0] == entry.name) {
      const std::size_t given = words.size() - 1;
      if (given < entry.least || given > entry.most) {
        return fail(std::string("use: ") + entry.name + " " + entry.arguments);
      }
      return (this->*entry.handler)(words);
    }
  }
  return fail("unknown command '" + words[0] + "'; 'help' lists the commands");
}

std::string Commands::help()
{
  std::string text;
  for (const Entry & entry : table()) {
    std::string form = std::string("  ") + entry.name + " " + entry.arguments;
    form.resize(std::max<std::size_t>(form.size() + 1, 34), ' ');
    text += form + entry.help + "\n";
  }
  return text;
}

Commands::Indices Commands::servos(const std::string & word, std::string & error) const
{
  Indices found;
  double wanted = 0.0;
  const bool all = word == "all";
  const bool by_place = word.size() > 1 && word[0] == '#';
  if (!all && !number(by_place ? word.substr(1) : word, 0, feetech::kMaxServoId, wanted)) {
    error = fail("'" + word + "' is no servo; give an id, #place or all");
    return found;
  }
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const double mine = by_place ? static_cast<double>(i + 1) : arm_.unit(i).servo.id();
    if (all || mine == wanted) {
      found.push_back(i);
    }
  }
  if (found.empty()) {
    error = fail("there is no servo " + word);
  }
  return found;
}

std::string Commands::set_rate(const Words & words, double FaultRates::* rate)
{
  double percent = 0.0;
  if (!number(words[1], 0, 100, percent)) {
    return fail("'" + words[1] + "' is no percentage (0 to 100)");
  }
  std::string error;
  for (const std::size_t i : servos(words.size() > 2 ? words[2] : "all", error)) {
    faults_.rates(i).*rate = percent / 100.0;
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::drop(const Words & words) { return set_rate(words, &FaultRates::drop); }
std::string Commands::corrupt(const Words & words) { return set_rate(words, &FaultRates::corrupt); }
std::string Commands::truncate(const Words & words)
{
  return set_rate(words, &FaultRates::truncate);
}
std::string Commands::bad_checksum(const Words & words)
{
  return set_rate(words, &FaultRates::bad_checksum);
}

std::string Commands::delay(const Words & words)
{
  constexpr double kLongest = 60000.0;
  double milliseconds = 0.0;
  if (!number(words[1], 0, kLongest, milliseconds)) {
    return fail("'" + words[1] + "' is no delay in ms (0 to 60000)");
  }
  Words rest(words.begin() + 1, words.end());
  const std::string result = set_rate(rest, &FaultRates::delay);
  std::string error;
  for (const std::size_t i : servos(words.size() > 3 ? words[3] : "all", error)) {
    faults_.rates(i).delay_time = std::chrono::microseconds(std::lround(milliseconds * 1000.0));
  }
  return result;
}

std::string Commands::clear(const Words &)
{
  faults_.clear_rates();
  return "ok";
}

std::string Commands::seed(const Words & words)
{
  double value = 0.0;
  if (!number(words[1], 0, 4294967295.0, value)) {
    return fail("'" + words[1] + "' is no seed (0 to 4294967295)");
  }
  faults_.seed(static_cast<std::uint32_t>(value));
  return "ok";
}

std::string Commands::silent(const Words & words)
{
  bool on = false;
  if (!on_off(words[2], on)) {
    return fail("use: silent SERVO on|off");
  }
  std::string error;
  for (const std::size_t i : servos(words[1], error)) {
    arm_.unit(i).connected = !on;
  }
  return error.empty() ? "ok" : error;
}

std::string Commands::unplug(const Words &)
{
  const std::string error = hooks_.unplug();
  return error.empty() ? "ok" : fail(error);
}

std::string Commands::plug(const Words &)
{
  std::string path;
  const std::string error = hooks_.plug(path);
  return error.empty() ? "ok " + path : fail(error);
}

std::string Commands::list(const Words &)
{
  std::string names = "ok";
  for (const Entry & entry : table()) {
    names += std::string(" ") + entry.name;
  }
  return names;
}

std::string Commands::quit(const Words &)
{
  hooks_.quit();
  return "ok";
}

}  // namespace so100_hardware::emulator
