// SPDX-License-Identifier: Apache-2.0
// Ten minutes of the control cycle in real time, against the emulator as a process that loses and
// damages replies. Not a test of the suite; test_so100_arm_cycle does the same in a second, in the
// emulator's own time and with every value compared.
//
//   so100_soak build/emulator/so100_emulator --seconds 600
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "descriptions.hpp"
#include "emulator_process.hpp"
#include "so100_hardware/calibration.hpp"
#include "so100_hardware/so100_arm.hpp"

namespace
{

using namespace so100_hardware;  // NOLINT: one short program
using Clock = std::chrono::steady_clock;

struct Options
{
  std::string emulator;
  double seconds = 600.0;
  double rate = 100.0;
  std::string drop = "1";
  std::string corrupt = "1";
  bool realtime = false;
};

constexpr char kUsage[] =
  "Usage: so100_soak EMULATOR [--seconds 600] [--rate 100] [--drop 1] [--corrupt 1] [--realtime]\n"
  "--realtime: SCHED_FIFO for both, as for a control loop on a busy machine (needs the right to "
  "it).\n"
  "Moves six emulated joints along sines while that share (%) of the replies is lost or damaged.\n"
  "Exit code 0: no wrong value was accepted and the arm stayed active.\n";

bool parse(int argc, char ** argv, Options & options)
{
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name[0] != '-') {
      options.emulator = name;
    } else if (name == "--realtime") {
      options.realtime = true;
    } else if (i + 1 == argc) {
      return false;
    } else if (name == "--seconds") {
      options.seconds = std::atof(argv[++i]);
    } else if (name == "--rate") {
      options.rate = std::atof(argv[++i]);
    } else if (name == "--drop") {
      options.drop = argv[++i];
    } else if (name == "--corrupt") {
      options.corrupt = argv[++i];
    } else {
      return false;
    }
  }
  return !options.emulator.empty() && options.seconds > 0 && options.rate > 0;
}

// Could a sound servo have said this, at most so long after what it said before?
bool plausible(const JointState & state, const JointState & before, double seconds)
{
  constexpr double kTopSpeed = 5.5;  // rad/s
  constexpr double kSlack = 0.03;    // rad, the emulator's own steps
  return std::abs(state.position - before.position) <= kTopSpeed * seconds + kSlack &&
         std::abs(state.velocity) <= kTopSpeed && std::abs(state.effort) <= 1.0 &&
         state.voltage > 10.0 && state.voltage < 12.5 && state.temperature >= 20.0 &&
         state.temperature <= 70.0 && state.current >= 0.0 && state.current <= 3.3 &&
         state.status == 0;
}

void show(std::size_t joint, const JointState & state, const JointState & before, double seconds)
{
  std::printf(
    "implausible: %s %.3f rad, %.3f rad %.1f ms before; %.2f rad/s, effort %.2f, %.1f V, %.0f C, "
    "%.2f A, status %.0f\n",
    std::string(kJoints[joint].name).c_str(), state.position, before.position, seconds * 1e3,
    state.velocity, state.effort, state.voltage, state.temperature, state.current, state.status);
}

double percentile(const std::vector<double> & sorted, double share)
{
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(share * sorted.size()))];
}

int complain(const std::string & text)
{
  std::cerr << "so100_soak: " << text << "\n";
  return 1;
}

}  // namespace

int main(int argc, char ** argv)
{
  Options options;
  if (!parse(argc, argv, options)) {
    std::cerr << kUsage;
    return 2;
  }
  char folder_name[] = "/tmp/so100_soak_XXXXXX";
  const std::filesystem::path folder = mkdtemp(folder_name);
  Calibration calibration;
  for (const JointInfo & joint : kJoints) {
    calibration.joints.push_back(
      {std::string(joint.name), joint.id, 0, 0, joint.name == kFullTurnJoint ? 0 : 700,
       joint.name == kFullTurnJoint ? 4095 : 3400});
  }
  std::ofstream(folder / "arm.json") << to_json(calibration);
  std::vector<std::string> arguments{"--gravity", "0", "--seed", "7"};
  if (options.realtime) {
    const sched_param priority{50};
    if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) {
      return complain(std::string("no real-time priority: ") + std::strerror(errno));
    }
  }
  test::EmulatorProcess emulator(
    options.emulator, (folder / "control").string(), std::move(arguments));

  SystemDescription description = test::arm_description();
  description.parameters = {
    {"port", emulator.port()},
    {"calibration_file", (folder / "arm.json").string()},
    {"write_calibration", "true"}};
  So100Arm arm(parse_config(description).config);
  for (const Report & report : {arm.connect(), arm.activate()}) {
    if (!report.ok()) {
      return complain(report.text());
    }
  }
  for (const std::string & line :
       {std::string("stats reset"), "drop " + options.drop, "corrupt " + options.corrupt}) {
    if (emulator.command(line) != "ok") {
      return complain(line + " was refused");
    }
  }

  const auto cycles = static_cast<long>(options.seconds * options.rate);
  const std::chrono::duration<double> period(1.0 / options.rate);
  std::vector<double> times;
  times.reserve(static_cast<std::size_t>(cycles));
  std::array<JointState, 6> before{};
  std::array<Clock::time_point, 6> seen{};
  std::array<double, 6> start{};
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < 6; ++i) {
    before[i] = arm.state(i);
    seen[i] = begin;
    start[i] = arm.goal(i);
  }
  std::uint64_t wrong = 0;
  std::uint32_t longest_gap = 0;
  bool stayed = true;
  for (long n = 0; n < cycles && stayed; ++n) {
    std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(n * period));
    std::array<std::uint64_t, 6> missed{};
    std::array<double, 6> goals{};
    for (std::size_t i = 0; i < 6; ++i) {
      missed[i] = arm.counters(i).missed_reads;
      const double phase = 2.0 * kPi * static_cast<double>(n) * period.count() / (3.0 + 0.5 * i);
      goals[i] = start[i] + 0.4 * std::sin(phase);
    }
    const auto now = Clock::now();
    stayed = arm.read() && arm.write(goals.data());
    const auto end = Clock::now();
    times.push_back(std::chrono::duration<double, std::milli>(end - now).count());
    for (std::size_t i = 0; i < 6; ++i) {
      longest_gap = std::max(longest_gap, arm.counters(i).missed_in_a_row);
      if (arm.counters(i).missed_reads == missed[i]) {
        // From the begin of the one read to the end of the other: the host may have been stopped.
        const double seconds = std::chrono::duration<double>(end - seen[i]).count();
        if (!plausible(arm.state(i), before[i], seconds)) {
          ++wrong;
          show(i, arm.state(i), before[i], seconds);
        }
        before[i] = arm.state(i);
        seen[i] = now;
      }
    }
  }
  if (!stayed) {
    std::printf("NOT active any more: %s\n", arm.failure().c_str());
  }

  const std::string stats = emulator.command("stats");
  const auto emulated = nlohmann::json::parse(stats.substr(stats.find(' ')));
  std::printf("%zu cycles at %.0f Hz\n", times.size(), options.rate);
  std::printf(
    "%-15s%10s%10s%10s%10s%10s\n", "joint", "replies", "dropped", "damaged", "missed", "share");
  std::uint64_t spoilt = 0;
  std::uint64_t missed = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    const auto & servo = emulated["servos"][i];
    const auto dropped = servo["dropped"].get<std::uint64_t>();
    const auto corrupted = servo["corrupted"].get<std::uint64_t>();
    const std::uint64_t mine = arm.counters(i).missed_reads;
    spoilt += dropped + corrupted;
    missed += mine;
    std::printf(
      "%-15s%10llu%10llu%10llu%10llu%9.2f%%\n", std::string(kJoints[i].name).c_str(),
      servo["requests"].get<unsigned long long>(), static_cast<unsigned long long>(dropped),
      static_cast<unsigned long long>(corrupted), static_cast<unsigned long long>(mine),
      100.0 * static_cast<double>(mine) / static_cast<double>(times.size()));
  }
  std::sort(times.begin(), times.end());
  std::printf(
    "cycle: p50 %.2f ms, p99 %.2f ms, longest %.2f ms; longest run of misses %u\n",
    percentile(times, 0.5), percentile(times, 0.99), times.back(), longest_gap);
  std::printf(
    "spoilt by the emulator %llu, missed by the arm %llu; implausible values accepted: %llu\n",
    static_cast<unsigned long long>(spoilt), static_cast<unsigned long long>(missed),
    static_cast<unsigned long long>(wrong));
  std::filesystem::remove_all(folder);
  // Fewer misses than spoilt replies: one of them was believed.
  return stayed && wrong == 0 && missed >= spoilt ? 0 : 1;
}
