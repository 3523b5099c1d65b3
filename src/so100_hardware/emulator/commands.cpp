// SPDX-License-Identifier: Apache-2.0
#include "commands.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace so100_hardware::emulator
{
namespace
{
namespace reg = feetech::registers;
using Json = nlohmann::ordered_json;

constexpr double kHandSpeed = 2000.0;  // ticks/s
constexpr double kTurn = feetech::kTicksPerTurn;
/// Where the second servo of a doubled id stands, so that the two differ in what they say.
constexpr double kDoubleStart = 1365.0;

/// Rounded to 1/`parts`: shown numbers need no more digits.
double brief(double value, double parts) { return std::round(value * parts) / parts; }

bool is_number(const std::string & word, double low, double high, double & value)
{
  char * end = nullptr;
  value = std::strtod(word.c_str(), &end);
  return !word.empty() && *end == '\0' && value >= low && value <= high;
}

/// The word as a number of low…high; `what` it should be stands in the error.
double number(const std::string & word, double low, double high, const std::string & what)
{
  double value = 0.0;
  if (!is_number(word, low, high, value)) {
    std::ostringstream range;
    range.precision(10);
    range << low << " to " << high;
    throw std::invalid_argument("'" + word + "' is no " + what + " (" + range.str() + ")");
  }
  return value;
}

bool is_on(const std::string & word)
{
  if (word != "on" && word != "off") {
    throw std::invalid_argument("'" + word + "' is neither on nor off");
  }
  return word == "on";
}
}  // namespace

struct Commands::Entry
{
  const char * name;
  const char * arguments;
  std::size_t least;  ///< words after the name
  std::size_t most;
  void (*run)(Commands & self, const Words & words, std::string & data);
  const char * help;
};

const std::vector<Commands::Entry> & Commands::table()
{
  using C = Commands &;
  using W = const Words &;
  using D = std::string &;
  static const auto or_all = [](W words) {
    return words.size() > 1 ? words[1] : std::string("all");
  };
  static const std::vector<Entry> entries{
    {"drop", "PERCENT [SERVO]", 1, 2, [](C c, W w, D) { c.set_rate(w, 1, &FaultRates::drop); },
     "lose that share of the replies"},
    {"corrupt", "PERCENT [SERVO]", 1, 2,
     [](C c, W w, D) { c.set_rate(w, 1, &FaultRates::corrupt); }, "flip one bit in that share"},
    {"bad-checksum", "PERCENT [SERVO]", 1, 2,
     [](C c, W w, D) { c.set_rate(w, 1, &FaultRates::bad_checksum); }, "send a wrong checksum"},
    {"delay", "MS PERCENT [SERVO]", 2, 3,
     [](C c, W w, D) {
       const auto time =
         std::chrono::microseconds(std::lround(number(w[1], 0, 60000, "delay in ms") * 1000.0));
       c.set_rate(w, 2, &FaultRates::delay);
       for (const std::size_t i : c.servos(w.size() > 3 ? w[3] : "all")) {
         c.faults_.rates(i).delay_time = time;
       }
     },
     "let replies come MS later"},
    {"clear", "", 0, 0, [](C c, W, D) { c.faults_.clear_rates(); },
     "no more drop, corrupt, bad-checksum, delay"},
    {"seed", "N", 1, 1,
     [](C c, W w, D) {
       c.faults_.seed(static_cast<std::uint32_t>(number(w[1], 0, 4294967295.0, "seed")));
     },
     "start the random faults anew"},
    {"silent", "SERVO on|off", 2, 2,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(w[1])) {
         c.arm_.unit(i).connected = !is_on(w[2]);
       }
     },
     "cut a servo off the line"},
    {"double", "ID on|off", 2, 2,
     [](C c, W w, D) {
       const auto id = static_cast<std::uint8_t>(number(w[1], 0, feetech::kMaxServoId, "id"));
       is_on(w[2]) ? c.add_double(id) : c.remove_double(id);
     },
     "add a second servo with this id"},
    {"voltage", "VOLTS", 1, 1,
     [](C c, W w, D) { c.arm_.set_supply(number(w[1], 0, 25, "voltage")); },
     "supply voltage; below 4 V the servos are dead"},
    {"temperature", "SERVO CELSIUS", 2, 2,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(w[1])) {
         c.arm_.unit(i).servo.set_temperature(number(w[2], 0, 150, "temperature in °C"));
       }
     },
     "of a servo, 25 before"},
    {"encoder", "SERVO on|off", 2, 2,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(w[1])) {
         c.arm_.unit(i).servo.set_encoder_fault(is_on(w[2]));
       }
     },
     "report an encoder fault"},
    {"push", "SERVO TICKS [TICKS_PER_S]", 2, 3,
     [](C c, W w, D) {
       const double ticks = number(w[2], 0, kTurn - 1, "encoder angle in ticks");
       const double speed = w.size() > 3 ? number(w[3], 1, 100000, "speed in ticks/s") : kHandSpeed;
       for (const std::size_t i : c.servos(w[1])) {
         // Within the turn that the joint is in: a hand does not wind it back.
         Dynamics & joint = c.arm_.unit(i).servo.dynamics();
         joint.hold(ticks + kTurn * std::floor(joint.position() / kTurn), speed);
       }
     },
     "take a joint to an encoder angle (without offset) and hold it there"},
    {"release", "SERVO", 1, 1,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(w[1])) {
         c.arm_.unit(i).servo.dynamics().release();
       }
     },
     "let go of a pushed joint"},
    {"overload", "SERVO", 1, 1,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(w[1])) {
         c.arm_.unit(i).servo.protection().force_overload();
       }
     },
     "latch the overload fault at once"},
    {"reboot", "[SERVO]", 0, 1,
     [](C c, W w, D) {
       for (const std::size_t i : c.servos(or_all(w))) {
         c.arm_.unit(i).servo.power_cycle();
       }
     },
     "power off and on"},
    {"unplug", "", 0, 0,
     [](C c, W, D) {
       if (const std::string error = c.hooks_.unplug(); !error.empty()) {
         throw std::invalid_argument(error);
       }
     },
     "the port disappears"},
    {"plug", "", 0, 0,
     [](C c, W, D path) {
       if (const std::string error = c.hooks_.plug(path); !error.empty()) {
         throw std::invalid_argument(error);
       }
     },
     "the port is back (a new one, behind the same --link)"},
    {"show", "[SERVO]", 0, 1, [](C c, W w, D data) { data = c.show(or_all(w)); }, "state as JSON"},
    {"stats", "[reset]", 0, 1,
     [](C c, W w, D data) {
       if (w.size() > 1 && w[1] != "reset") {
         throw std::invalid_argument("use: stats [reset]");
       }
       if (w.size() > 1) {
         c.faults_.clear_counts();
         c.bus_.clear_counts();
       } else {
         data = c.stats();
       }
     },
     "counts per servo and of the line as JSON"},
    {"quit", "", 0, 0, [](C c, W, D) { c.hooks_.quit(); }, "end the emulator"},
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
    return "error: empty line; see so100_emulator --help";
  }
  for (const Entry & entry : table()) {
    if (words[0] != entry.name) {
      continue;
    }
    const std::size_t given = words.size() - 1;
    if (given < entry.least || given > entry.most) {
      return std::string("error: use: ") + entry.name + " " + entry.arguments;
    }
    try {
      std::string data;
      entry.run(*this, words, data);
      return data.empty() ? "ok" : "ok " + data;
    } catch (const std::invalid_argument & error) {
      return std::string("error: ") + error.what();
    }
  }
  return "error: unknown command '" + words[0] + "'; see so100_emulator --help";
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

std::vector<std::size_t> Commands::servos(const std::string & word) const
{
  std::vector<std::size_t> found;
  double wanted = 0.0;
  const bool all = word == "all";
  const bool by_place = word.size() > 1 && word[0] == '#';
  if (!all && !is_number(by_place ? word.substr(1) : word, 0, feetech::kMaxServoId, wanted)) {
    throw std::invalid_argument("'" + word + "' is no servo; give an id, #place or all");
  }
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const double mine = by_place ? static_cast<double>(i + 1) : arm_.unit(i).servo.id();
    if (all || mine == wanted) {
      found.push_back(i);
    }
  }
  if (found.empty()) {
    throw std::invalid_argument("there is no servo " + word);
  }
  return found;
}

void Commands::set_rate(const Words & words, std::size_t at, double FaultRates::* rate)
{
  const double percent = number(words[at], 0, 100, "percentage");
  for (const std::size_t i : servos(words.size() > at + 1 ? words[at + 1] : "all")) {
    faults_.rates(i).*rate = percent / 100.0;
  }
}

void Commands::add_double(std::uint8_t id)
{
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const ServoModel & servo = arm_.unit(i).servo;
    if (
      servo.id() == id &&
      std::find(doubles_.begin(), doubles_.end(), &arm_.unit(i)) == doubles_.end()) {
      ServoOptions options;
      options.identity = servo.memory().identity();
      options.identity.id = id;
      options.identity.baud_code = servo.memory().byte(reg::baud_rate.address);
      options.joint.start = kDoubleStart;
      arm_.add(options);
      faults_.add();
      doubles_.push_back(&arm_.unit(arm_.size() - 1));
      return;
    }
  }
  throw std::invalid_argument("there is no servo " + std::to_string(id) + " to double");
}

void Commands::remove_double(std::uint8_t id)
{
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const auto mine = std::find(doubles_.begin(), doubles_.end(), &arm_.unit(i));
    if (arm_.unit(i).servo.id() == id && mine != doubles_.end()) {
      doubles_.erase(mine);
      arm_.remove(i);
      faults_.remove(i);
      return;
    }
  }
  throw std::invalid_argument("there is no servo " + std::to_string(id) + " that was doubled");
}

std::string Commands::show(const std::string & which) const
{
  Json list = Json::array();
  for (const std::size_t i : servos(which)) {
    const Unit & unit = arm_.unit(i);
    const ServoModel & servo = unit.servo;
    const Dynamics & joint = servo.dynamics();
    list.push_back(
      {{"place", i + 1},
       {"id", servo.id()},
       {"connected", unit.connected},
       {"powered", servo.powered()},
       {"encoder", brief(joint.position(), 100)},
       {"present", servo.get(reg::present_position)},
       {"goal", servo.get(reg::goal_position)},
       {"torque", servo.get(reg::torque_enable)},
       {"velocity", brief(joint.velocity(), 10)},
       {"load_percent", brief(joint.load() * 100.0, 10)},
       {"current_a", brief(joint.current(), 1000)},
       {"voltage_v", servo.get(reg::present_voltage) / 10.0},
       {"temperature_c", servo.get(reg::present_temperature)},
       {"status", feetech::status_text(servo.status())},
       {"held", joint.held()}});
  }
  return list.dump();
}

std::string Commands::stats() const
{
  Json list = Json::array();
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const FaultCounts & counts = faults_.counts(i);
    list.push_back(
      {{"place", i + 1},
       {"id", arm_.unit(i).servo.id()},
       {"requests", counts.requests},
       {"replies", counts.replies},
       {"dropped", counts.dropped},
       {"corrupted", counts.corrupted},
       {"bad_checksum", counts.bad_checksum},
       {"delayed", counts.delayed},
       {"collided", counts.collided}});
  }
  const LineCounts & line = bus_.counts();
  return Json{
    {"servos", list},
    {"line",
     {{"packets", line.packets},
      {"ignored", line.ignored},
      {"bad_checksums", line.bad_checksums},
      {"wrong_baud_bytes", line.wrong_baud_bytes}}}}
    .dump();
}

}  // namespace so100_hardware::emulator
