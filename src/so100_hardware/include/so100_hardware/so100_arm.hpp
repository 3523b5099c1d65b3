// SPDX-License-Identifier: Apache-2.0
// The arm without ROS: from a checked configuration to joints that answer in radians. The
// ros2_control plugin is a thin layer over it.
#pragma once

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

/// The servos of one bus as one arm. Nothing throws but for want of memory. read() and write() allocate
/// nothing; all other calls belong outside of the control cycle. Not thread-safe.
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
  /// failure the torque is off again.
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
