// SPDX-License-Identifier: Apache-2.0
// The health of the arm as text, for /diagnostics. Knows no ROS, so that every message can be
// tested anywhere.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "so100_hardware/feetech/transport.hpp"
#include "so100_hardware/so100_arm.hpp"
#include "so100_hardware/system_config.hpp"

namespace so100_hardware
{

/// One servo: what it measured last, and its extremes since the last report, as a supply may break
/// down for a few cycles only.
struct ServoRecord
{
  JointState state;
  JointCounters counters;
  ServoLimits limits;
  bool torque = false;
  feetech::Error stop_error;     ///< see So100Arm::stop_error()
  double goal_distance = 0.0;    ///< see So100Arm::goal_distance()
  double lowest_voltage = 0.0;   ///< V
  double highest_voltage = 0.0;  ///< V
  double highest_current = 0.0;  ///< A
  double lowest_effort = 0.0;    ///< amount, share of the full duty cycle
  double highest_speed = 0.0;    ///< amount, rad/s
  std::uint8_t faults = 0;       ///< every fault bit that was seen
};

/// The arm at one moment.
struct ArmRecord
{
  feetech::TimePoint time;  ///< of the last read
  bool connected = false;
  std::uint64_t cycles = 0;
  std::uint64_t late_reads = 0;
  bool active = false;
  StopPhase stop = StopPhase::none;
  std::uint64_t stop_tries = 0;
  std::uint64_t stop_refusals = 0;
  std::vector<ServoRecord> servos;  ///< in the order of the joints
};

/// Hands records from the control cycle to the thread that reports.
class ArmRecorder
{
public:
  explicit ArmRecorder(std::size_t joints) { record_.servos.resize(joints); }

  /// In the control cycle: allocates nothing and never waits; while the record is being taken,
  /// this cycle is left out.
  void add(const So100Arm & arm);
  /// Outside of it, after each step of the lifecycle.
  void set(const So100Arm & arm);
  /// What happened since the last call.
  ArmRecord take();
  /// The newest record; the next take() counts from where the last one did.
  ArmRecord peek();

private:
  void merge(const So100Arm & arm);

  std::mutex mutex_;
  ArmRecord record_;
  bool anew_ = true;
};

/// As in diagnostic_msgs/DiagnosticStatus.
enum class Level : std::uint8_t { ok = 0, warn = 1, error = 2, stale = 3 };

struct Diagnostic
{
  Level level = Level::ok;
  std::string subject;  ///< "bus", or the name of a joint
  std::string message;  ///< what is wrong and what to do
  std::vector<std::pair<std::string, std::string>> values;
};

/// What came of a stop.
struct StopOutcome
{
  bool confirmed = false;  ///< by every servo
  std::string text;        ///< what the servos do, or which did not answer and what to do
};

/// What came of a stop that `record` says is latched. `failure`: why the driver gave up, else empty.
StopOutcome describe_stop(
  const SystemConfig & config, const ArmRecord & record, const std::string & failure);

/// What a record means: one entry for the bus, then one a joint.
/// `before`: the record of some seconds ago, or `record` itself; `now`: on the same clock.
/// `failure`: why the driver gave up, else empty.
std::vector<Diagnostic> describe(
  const SystemConfig & config, const ArmRecord & record, const ArmRecord & before,
  feetech::TimePoint now, const std::string & failure);

/// The two commands that bring the arm back once the cause of a failure is gone, as one line for
/// the shell. `name_space` of the controller manager, "/" or empty for none.
std::string recovery_commands(const std::string & component, const std::string & name_space);

}  // namespace so100_hardware
