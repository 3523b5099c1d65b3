// SPDX-License-Identifier: Apache-2.0
// Times the cycle of a controller: one sync read of everything that six servos measure, one sync
// write of their goals. `smolvla bench bus` runs it beside scservo_sdk and prints the table.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/eeprom.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/feetech/serial_port.hpp"

namespace
{

namespace feetech = so100_hardware::feetech;
using Clock = std::chrono::steady_clock;

constexpr char kUsage[] =
  "Usage: so100_bench_bus PORT [CYCLES [RATE]]\n"
  "Reads and writes six servos (ids 1 to 6, which keep their place) CYCLES times (300) at RATE Hz\n"
  "(100; 0: back to back). Prints a JSON object: the time of each cycle in us, the CPU time a\n"
  "cycle in us, and how many replies were missing. Sets Return_Delay_Time to 0, as LeRobot does.\n"
  "Exit code 1 if the bus failed.\n";

double cpu_seconds()
{
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval & time) { return time.tv_sec + time.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int fail(const feetech::Error & error)
{
  std::fprintf(stderr, "so100_bench_bus: %s\n", error.text().c_str());
  return 1;
}

}  // namespace

int main(int argc, char ** argv)
{
  if (argc < 2 || argc > 4 || argv[1][0] == '-') {
    std::fputs(kUsage, argc == 2 ? stdout : stderr);
    return argc == 2 && std::string(argv[1]) == "--help" ? 0 : 2;
  }
  const int cycles = argc > 2 ? std::max(1, std::atoi(argv[2])) : 300;
  const double rate = argc > 3 ? std::atof(argv[3]) : 100.0;

  auto port = feetech::SerialPort::open(argv[1], 1000000);
  if (!port.ok()) {
    return fail(port.error());
  }
  feetech::Bus bus(*port.value());
  constexpr std::array<std::uint8_t, 6> ids{1, 2, 3, 4, 5, 6};
  for (const std::uint8_t id : ids) {
    const auto delay = bus.read(id, feetech::registers::return_delay);
    if (!delay.ok()) {
      return fail(delay.error());
    }
    if (delay.value().value != 0) {
      const auto written = feetech::write_eeprom(bus, id, feetech::registers::return_delay, 0);
      if (!written.ok()) {
        return fail(written.error());
      }
    }
  }
  feetech::BusOptions options;
  options.return_delay = std::chrono::microseconds(0);
  bus.set_options(options);

  std::array<feetech::ServoState, 6> states{};
  std::array<int, 6> goals{};
  const auto first = feetech::read_states(bus, ids.data(), ids.size(), states.data());
  if (!first.ok()) {
    return fail(first.error());
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    goals[i] = states[i].get(feetech::registers::present_position);
  }

  std::vector<double> times(static_cast<std::size_t>(cycles));
  std::size_t missing = 0;
  const double cpu_before = cpu_seconds();
  const auto begin = Clock::now();
  for (int i = 0; i < cycles; ++i) {
    if (rate > 0) {
      std::this_thread::sleep_until(
        begin +
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(i / rate)));
    }
    const auto start = Clock::now();
    const auto fresh = feetech::read_states(bus, ids.data(), ids.size(), states.data());
    if (!fresh.ok()) {
      return fail(fresh.error());
    }
    const auto sent =
      bus.sync_write(feetech::registers::goal_position, ids.data(), goals.data(), ids.size());
    if (!sent.ok()) {
      return fail(sent.error());
    }
    times[static_cast<std::size_t>(i)] =
      std::chrono::duration<double, std::micro>(Clock::now() - start).count();
    missing += ids.size() - fresh.value();
  }
  const double cpu = (cpu_seconds() - cpu_before) * 1e6 / cycles;

  std::printf("{\"cpu_us\": %.1f, \"missing\": %zu, \"cycle_us\": [", cpu, missing);
  for (std::size_t i = 0; i < times.size(); ++i) {
    std::printf("%s%.1f", i == 0 ? "" : ", ", times[i]);
  }
  std::printf("]}\n");
  return 0;
}
