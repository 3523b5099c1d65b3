// SPDX-License-Identifier: Apache-2.0
// The arm without ROS: from a checked configuration to joints that answer in radians. The
// ros2_control plugin is a thin layer over it.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "so100_hardware/calibration.hpp"
#include "so100_hardware/conversions.hpp"
#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/transport.hpp"
#include "so100_hardware/system_config.hpp"
#include "so100_hardware/telemetry.hpp"

namespace so100_hardware
{

/// The limits of a servo, in SI units, as connect() found it and activate() sets it. Beyond
/// its limits it reports a fault, and its torque may go off.
struct ServoLimits
{
  double supply = 0.0;              ///< V, measured by connect()
  double min_voltage = 0.0;         ///< V
  double max_voltage = 0.0;         ///< V
  double max_temperature = 0.0;     ///< degrees Celsius
  double protection_current = 0.0;  ///< A; 0: none
  double overload_torque = 0.0;     ///< share of the torque at standstill, 0 to 1; 0: none
};

/// After a stop the arm follows goals again once a new one lies so near to where it is [rad].
constexpr double kResumeDistance = 0.1;

/// Where a stop stands.
enum class StopPhase : std::uint8_t {
  none,
  latched,   ///< no goal is sent; each read() asks the servos that have not confirmed it
  released,  ///< no goal is sent until a new one begins where the arm is
};

/// The servos of one bus as one arm. Nothing throws but for want of memory. read() and write() allocate
/// nothing; all other calls belong outside of the control cycle. Not thread-safe but for stop(),
/// reset_stop(), stop_pending() and reset_pending().
class So100Arm
{
public:
  using OpenPort = std::function<feetech::Result<std::unique_ptr<feetech::Transport>>(
    const std::string & path, int baud)>;

  /// `open_port` opens the serial port unless a test puts something else in its place.
  explicit So100Arm(SystemConfig config, OpenPort open_port = nullptr);
  /// As disconnect().
  ~So100Arm();
  So100Arm(const So100Arm &) = delete;
  So100Arm & operator=(const So100Arm &) = delete;

  /// Reads the calibration, opens the port, and looks for every servo: one answer each, the right
  /// model, the firmware, the supply, the calibration in its EEPROM. Nothing moves.
  Report connect();

  /// Reads all, writes the settings that differ, goal := present position, torque on. On a
  /// failure the torque is off again. A stop stays latched, and with OnStop::torque_off the torque
  /// off.
  Report activate();

  /// Torque off for all that answer; the error names the servos that did not confirm it.
  Report torque_off();

  /// The servos hold where they are, with torque on; write() sends nothing until activate().
  void stop_writing() { active_ = false; }

  /// Torque off, if connected, and the port closed.
  Report disconnect();

  /// Reads all servos once. True: go on; a servo that did not answer keeps its last state, up to
  /// answer_timeout. While one does not answer, each read waits twice as long for it as the one
  /// before, from read_timeout on up to a quarter of answer_timeout: that tells a servo that is
  /// silent from a machine that is too busy to hand on its answer. One that was silent and answers
  /// again is asked whether its torque is still on, as it would not be after a moment without
  /// power. False: see failure().
  bool read();

  /// Sends goals [rad], one a joint, unless the torque is off or a servo has not answered for
  /// answer_timeout: the arm holds then. A goal that is not finite is never
  /// sent, one outside of the calibrated range is clamped. False: see failure().
  bool write(const double * goals);

  /// Latches a stop, whatever is connected: write() sends no goal from now on, and the next read()
  /// writes to each servo what SystemConfig::on_stop says and reads back whether it took it; those
  /// that did not are asked again in every read(). Meanwhile a silent servo does not make read()
  /// return false, so that the others go on holding.
  void stop();
  /// Releases the stop in the next read(), if all servos have confirmed it and answer; else it
  /// stays latched (see stop_refusals()). Servos without torque get it back, where they are. No
  /// goal is sent after that until a new one is near: what a controller repeats from before the
  /// stop does not count.
  void reset_stop();
  /// Whether no step has seen the last stop(), or reset_stop(), yet.
  bool stop_pending() const { return stop_wanted_; }
  bool reset_pending() const { return reset_wanted_; }
  StopPhase stop_phase() const { return stop_phase_; }
  /// Reads since stop() and since the last activate(), in which the servos were asked.
  std::uint64_t stop_tries() const { return stop_tries_; }
  /// Calls of reset_stop() that were refused.
  std::uint64_t stop_refusals() const { return stop_refusals_; }
  /// Why the servo has not confirmed the stop; code `ok`: it has.
  const feetech::Error & stop_error(std::size_t joint) const { return stop_errors_[joint]; }
  /// While released: how far the newest goal is from where the joint is [rad].
  double goal_distance(std::size_t joint) const { return distances_[joint]; }

  bool connected() const { return bus_ != nullptr; }
  /// Between activate() and torque_off() or stop_writing(): write() reaches the servos.
  bool active() const { return active_; }

  const SystemConfig & config() const { return config_; }
  std::size_t size() const { return config_.joints.size(); }
  const JointState & state(std::size_t joint) const { return states_[joint]; }
  const JointCounters & counters(std::size_t joint) const { return counters_[joint]; }
  const ServoLimits & limits(std::size_t joint) const { return limits_[joint]; }
  /// Whether the servo's torque was last found, or switched, on.
  bool torque(std::size_t joint) const { return torque_[joint] != 0; }
  /// Calls of read() since connect().
  std::uint64_t cycles() const { return cycles_; }
  /// Reads before which answers had come after the wait for them was over.
  std::uint64_t late_reads() const { return late_; }
  /// When the last read() ended, on the clock of the transport.
  feetech::TimePoint last_read() const { return now_; }
  /// The goal that the servo has [rad]; valid once active.
  double goal(std::size_t joint) const;
  /// Why read() or write() returned false, in one line.
  std::string failure() const;
  /// Cycles, missed reads and other counts in one line.
  std::string summary() const;
  /// For the tools and tests; only while connected().
  feetech::Bus & bus() { return *bus_; }

private:
  Report prepare_calibration();
  Report open_port();
  Report find_servos();
  Report check_servos();
  Report check_calibration(std::size_t joint);
  Report hold_and_enable();
  Report read_all();
  void update(std::size_t joint);
  void use_setup_timing();
  void use_cycle_timing();
  /// Takes what stop() and reset_stop() ordered.
  void take_orders();
  /// The part of read() that makes the servos stop, or ends the stop. False: the port failed.
  bool enforce_stop();
  bool release_stop();
  /// Some of the servos, and a value of a register for each.
  struct Group
  {
    std::size_t count = 0;
    std::array<std::size_t, feetech::kMaxSyncServos> joints{};
    std::array<std::uint8_t, feetech::kMaxSyncServos> ids{};
    std::array<int, feetech::kMaxSyncServos> values{};
  };
  void add(Group & group, std::size_t joint, int value) const;
  /// Writes the values, and reads back from those that answer: see stop_error(). False: the port
  /// failed.
  bool write_and_verify(const feetech::Register & reg, const Group & group);
  void ask_anew();
  bool begins_here(const double * goals);
  bool silent(std::size_t joint) const;
  /// Since all servos last answered in time, some answers came, but too late.
  bool come_late() const { return late_ != late_before_; }
  /// The state of a servo is older than answer_timeout: no goal is sent until it answers.
  bool stale() const;
  bool torque_kept();
  std::uint64_t count_late() const;
  void set_timing(std::chrono::microseconds margin, int retries);
  std::string label(std::size_t joint) const { return config_.joints[joint].label(); }

  SystemConfig config_;
  OpenPort open_port_;
  std::unique_ptr<feetech::Transport> transport_;
  std::unique_ptr<feetech::Bus> bus_;
  Calibration calibration_;
  std::chrono::microseconds return_delay_{500};  ///< the longest of the servos

  // One place a joint, sized once.
  std::vector<std::uint8_t> ids_;
  std::vector<JointConversion> conversions_;
  std::vector<feetech::ServoState> raw_;
  std::vector<feetech::Error> errors_;
  std::vector<JointState> states_;
  std::vector<JointCounters> counters_;
  std::vector<ServoLimits> limits_;
  std::vector<std::uint8_t> torque_;
  std::vector<std::uint8_t> doubtful_;     ///< was silent, and may have lost its torque
  std::vector<feetech::TimePoint> asked_;  ///< begin of the first read that was not answered
  std::vector<int> goals_;                 ///< ticks, as last sent
  std::vector<feetech::Error> stop_errors_;
  std::vector<double> distances_;  ///< rad, see goal_distance()
  std::vector<double> old_goals_;  ///< rad, as commanded when the stop was released

  std::atomic<bool> stop_wanted_{false};
  std::atomic<bool> reset_wanted_{false};
  StopPhase stop_phase_ = StopPhase::none;
  bool resetting_ = false;
  bool old_goals_known_ = false;
  std::uint64_t stop_tries_ = 0;
  std::uint64_t stop_refusals_ = 0;

  bool active_ = false;
  std::uint64_t cycles_ = 0;
  feetech::TimePoint now_;  ///< end of the last read
  std::uint64_t late_ = 0;
  std::uint64_t late_seen_ = 0;    ///< count_late() of the last read
  std::uint64_t late_before_ = 0;  ///< late_ when all servos had last answered in time
  feetech::Error failure_;
  bool port_failed_ = false;
};

}  // namespace so100_hardware
