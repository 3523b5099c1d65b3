// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "so100_hardware/feetech/late_replies.hpp"
#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/feetech/result.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::feetech
{

/// Servos in one sync read.
constexpr std::size_t kMaxSyncServos = 32;
/// Bytes read from one servo at once.
constexpr std::size_t kMaxBlock = 64;

/// The deadline of a request is: time on the wire + return delays + margin.
struct BusOptions
{
  int baud = 1000000;  ///< of the port, to compute the time on the wire
  /// USB carries data in 1 ms frames, once each way, and the scheduler needs some too.
  std::chrono::microseconds margin{4000};
  /// Each servo's pause before its reply: register Return_Delay_Time, factory value 250 × 2 µs.
  std::chrono::microseconds return_delay{500};
  /// Added when EEPROM is written: the servo answers after the write.
  std::chrono::microseconds eeprom_time{20000};
  /// Attempts after the first.
  int retries = 2;
  /// For all attempts of one call: a retry that may end later is not begun.
  std::chrono::microseconds budget{20000};
  /// How long after its deadline a reply may still come (see LateReplies).
  std::chrono::microseconds late_window{50000};
};

/// Consecutive bytes of the memory table.
struct Block
{
  std::uint8_t address;
  std::uint8_t size;
};

/// Answer to a ping or write. `status`: fault bits, see status_bits.
struct Ack
{
  std::uint8_t status = 0;
};

/// Answer to the read of a register. Fault bits do not make the value invalid.
struct Reading
{
  int value = 0;
  std::uint8_t status = 0;
};

/// One servo's answer to a sync read. The data are valid when ok().
struct BlockReply
{
  std::array<std::uint8_t, kMaxBlock> data{};
  std::uint8_t status = 0;  ///< fault bits; they do not make the data invalid
  Errc error = Errc::timeout;
  int value = 0;  ///< see Error::value

  bool ok() const { return error == Errc::ok; }
  /// The Error of a reply that is not ok().
  Error to_error(std::uint8_t id, const Block & block) const;
};

/// A servo that answered a broadcast ping.
struct FoundServo
{
  std::uint8_t id = 0;
  std::uint8_t status = 0;
  int replies = 0;  ///< more than 1: several servos have this id
};

/// Answers to a broadcast ping.
struct FoundServos
{
  std::vector<FoundServo> servos;  ///< by rising id
  std::size_t damaged = 0;         ///< replies that could not be read: servos that talked at once
};

/// What happened to the requests to one servo. Each attempt counts, retries too.
struct ServoStatistics
{
  std::uint64_t requests = 0;            ///< attempts that expected a reply
  std::uint64_t retries = 0;             ///< attempts after the first of a call
  std::uint64_t timeouts = 0;            ///< attempts without any reply
  std::uint64_t checksum_errors = 0;     ///< attempts with a damaged reply
  std::uint64_t wrong_id = 0;            ///< attempts that another servo answered
  std::uint64_t wrong_length = 0;        ///< attempts with a reply of another length
  std::uint64_t duplicates = 0;          ///< attempts answered more than once
  std::uint64_t late = 0;                ///< replies to earlier requests, thrown away
  std::uint64_t failures = 0;            ///< calls that failed after all retries
  std::uint32_t consecutive_misses = 0;  ///< failed calls since the last good one
  std::uint8_t last_status = 0;          ///< fault bits of the last reply
};

/// What no single servo is to blame for.
struct BusStatistics
{
  std::uint64_t exchanges = 0;           ///< requests sent that expected replies
  std::uint64_t checksum_errors = 0;     ///< damaged replies, whoever sent them
  std::uint64_t unexpected_replies = 0;  ///< sound replies of servos that were not asked
  std::uint64_t flushed_bytes = 0;       ///< bytes thrown away before a request
  std::uint64_t late_bytes = 0;          ///< of these, what came after the wait for it was over
};

/// The host's side of the bus: requests, replies matched by id and length, retries, statistics.
///
/// Every call sends its request in one write, waits for the replies that belong to it and tries
/// again within BusOptions::budget. Nothing is allocated but in broadcast_ping(). An Error about
/// the port (port_gone, io, …) comes back at once, without retries. Not thread-safe. The
/// transport must outlive the bus.
class Bus
{
public:
  explicit Bus(Transport & transport, const BusOptions & options = {});

  const BusOptions & options() const { return options_; }
  void set_options(const BusOptions & options);

  /// Is the servo there? Errors: timeout, bad_checksum, wrong_id, port errors.
  Result<Ack> ping(std::uint8_t id);

  /// Errors: as ping, and wrong_length, invalid_argument.
  Result<Reading> read(std::uint8_t id, const Register & reg);
  Result<BlockReply> read_block(std::uint8_t id, const Block & block);

  /// Writes and waits for the acknowledgement (not with kBroadcastId: nobody answers then).
  /// EEPROM registers need Lock 0; write_eeprom() takes care of that.
  /// Errors: as read; invalid_argument also when the value does not fit or reg is read-only.
  Result<Ack> write(std::uint8_t id, const Register & reg, int value);

  /// Reads the same block of several servos in one exchange. `replies` has `count` places, in the
  /// order of `ids`; each says for itself whether it is valid. Returns how many are; an Error only
  /// when the port fails or an argument is wrong.
  Result<std::size_t> sync_read(
    const Block & block, const std::uint8_t * ids, std::size_t count, BlockReply * replies);

  /// Writes one register of several servos in one packet. Nobody answers.
  /// Errors: invalid_argument (also when a value does not fit), port errors.
  Result<void> sync_write(
    const Register & reg, const std::uint8_t * ids, const int * values, std::size_t count);

  /// Pings all at once and listens for `timeout`. Bus noise and servos that talk at the same time
  /// can hide some: ping() each id to be sure.
  Result<FoundServos> broadcast_ping(
    std::chrono::milliseconds timeout = std::chrono::milliseconds(775));

  /// Pings and listens until the deadline for a second reply. One is believed only when it comes
  /// twice in a row: on a busy machine a late answer to an earlier ping looks the same.
  /// Errors: duplicate_reply (also when two replies garbled each other), timeout, port errors.
  Result<void> check_unique(std::uint8_t id);

  /// Id up to kMaxServoId.
  const ServoStatistics & statistics(std::uint8_t id) const { return servos_[id]; }
  const BusStatistics & statistics() const { return totals_; }

private:
  /// A request that is answered, independent of the attempt.
  struct Request
  {
    Instruction instruction = Instruction::ping;
    const std::uint8_t * ids = nullptr;  ///< who answers
    std::size_t count = 1;
    Block block{0, 0};                    ///< read and sync_read
    const std::uint8_t * data = nullptr;  ///< write: block.size bytes
    std::chrono::microseconds extra{0};   ///< added to the timeout

    bool reads() const
    {
      return instruction == Instruction::read || instruction == Instruction::sync_read;
    }
    /// Bytes of data that a reply must bring.
    std::size_t length() const { return reads() ? block.size : 0; }
    /// Where to read from with that many bytes more than wanted.
    std::uint8_t address(std::size_t padding) const;
  };

  /// The servos that have not answered yet, and where their replies go.
  struct Pending
  {
    std::array<std::uint8_t, kMaxSyncServos> ids{};
    std::array<BlockReply *, kMaxSyncServos> replies{};
    std::size_t count = 0;

    Pending(const Request & request, BlockReply * all);
    BlockReply * find(std::uint8_t id) const;
    /// How many replies may still come.
    std::size_t open() const;
  };

  static Result<void> check(const Request & request);
  Result<std::size_t> exchange(const Request & request, BlockReply * replies);
  /// An exchange with one servo.
  Result<BlockReply> exchange(const Request & request);
  Result<void> attempt(const Request & request, const Pending & pending);
  Result<void> send_attempt(const Request & request, const Pending & pending, std::size_t padding);
  void accept(
    const Request & request, std::size_t padding, const Packet & packet, const Pending & pending);
  void note_garbage(const Pending & pending, bool damaged);
  void count_attempt(const Pending & pending, std::size_t length, TimePoint deadline);
  std::size_t count_call(const Request & request, const BlockReply * replies);

  Result<void> send(
    std::uint8_t id, Instruction instruction, const std::uint8_t * parameters, std::size_t size);
  /// Reads `wanted()` bytes, again and again until that is 0 or the deadline has passed.
  /// on_garbage(damaged): bytes were skipped, with `damaged` a whole frame of a wrong checksum.
  template <class Wanted, class OnPacket, class OnGarbage>
  Result<void> listen(TimePoint deadline, Wanted wanted, OnPacket on_packet, OnGarbage on_garbage);
  Result<void> drain(TimePoint until);
  /// Pings once and counts the replies until the deadline; a garbled one counts as two.
  Result<int> count_replies(std::uint8_t id);
  std::chrono::microseconds wire_time(std::size_t bytes) const;
  std::chrono::microseconds timeout(
    const Request & request, std::size_t count, std::size_t padding) const;

  Transport & transport_;
  BusOptions options_;
  PacketParser parser_;
  Packet packet_;
  BlockReply * doubtful_ = nullptr;  ///< the reply just accepted, if it may hide a header
  LateReplies late_;
  std::array<std::uint8_t, kMaxFrame> out_{};
  std::array<std::uint8_t, 512> in_{};
  std::array<ServoStatistics, kMaxServoId + 1> servos_{};
  BusStatistics totals_;
};

/// What a servo measures: its registers from Present_Position to Present_Current, in one read.
constexpr Block kStateBlock{56, 15};

/// The state block of one servo, as its registers hold it.
struct ServoState
{
  std::array<std::uint8_t, kStateBlock.size> bytes{};
  bool fresh = false;  ///< from the last read_states()

  /// Value of a register of the block, in its own unit.
  int get(const Register & reg) const
  {
    return decode(reg, &bytes[reg.address - kStateBlock.address]);
  }
};

/// The state in the reply to a read of kStateBlock; `fresh` is set. Fault bits of the reply count in
/// the register Status, too: whichever knows of a fault.
ServoState to_state(const BlockReply & reply);

/// Reads the states of `count` servos (up to kMaxSyncServos) in one sync read. A servo that did
/// not answer keeps its last state with `fresh` false. If the port fails, all do. `errors`, when
/// given, has `count` places and gets why each is not fresh.
/// Returns how many are fresh, or as Bus::sync_read.
Result<std::size_t> read_states(
  Bus & bus, const std::uint8_t * ids, std::size_t count, ServoState * states,
  Error * errors = nullptr);

}  // namespace so100_hardware::feetech
