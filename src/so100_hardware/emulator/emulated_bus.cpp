// SPDX-License-Identifier: Apache-2.0
#include "emulated_bus.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

namespace so100_hardware::emulator
{
namespace
{
constexpr double kRandomRange = 4294967296.0;  // of mt19937

/// An index below `size` from a value of 0…1.
std::size_t pick(double draw, std::size_t size)
{
  return static_cast<std::size_t>(draw * static_cast<double>(size));
}

using feetech::Instruction;
using feetech::Packet;

/// A request that pauses longer than this in the middle is given up.
constexpr std::chrono::milliseconds kRequestPause{10};
/// Bytes between the starts of the replies of id n and id n + 1 to a broadcast ping: a reply of
/// six and a margin, so that they do not collide. [assumed]
constexpr std::size_t kPingSlot = 10;
constexpr std::size_t kFeed = 512;
}  // namespace

std::vector<std::uint8_t> EmulatedBus::collect(TimePoint now)
{
  std::vector<std::uint8_t> arrived;
  auto frame = frames_.begin();
  for (; frame != frames_.end() && frame->end <= now; ++frame) {
    arrived.insert(arrived.end(), frame->bytes.begin(), frame->bytes.end());
  }
  frames_.erase(frames_.begin(), frame);
  return arrived;
}

TimePoint EmulatedBus::free_from(TimePoint now) const
{
  TimePoint free = now;
  for (const Frame & frame : frames_) {
    if (frame.start <= now) {
      free = std::max(free, frame.end);
    }
  }
  return free;
}

Faults::Faults(std::size_t servos) : rates_(servos), counts_(servos) {}

void Faults::add()
{
  rates_.emplace_back();
  counts_.emplace_back();
}

void Faults::remove(std::size_t servo)
{
  rates_.erase(rates_.begin() + static_cast<std::ptrdiff_t>(servo));
  counts_.erase(counts_.begin() + static_cast<std::ptrdiff_t>(servo));
}

void Faults::clear_rates() { std::fill(rates_.begin(), rates_.end(), FaultRates{}); }

void Faults::clear_counts() { std::fill(counts_.begin(), counts_.end(), FaultCounts{}); }

double Faults::draw() { return random_() / kRandomRange; }

std::size_t Faults::draw_lateness() { return 1 + pick(draw(), 3); }

std::chrono::nanoseconds Faults::apply(std::size_t servo, std::vector<std::uint8_t> & frame)
{
  const FaultRates & rates = rates_[servo];
  FaultCounts & counts = counts_[servo];
  const bool drop = draw() < rates.drop;
  const bool corrupt = draw() < rates.corrupt;
  const bool bad_checksum = draw() < rates.bad_checksum;
  const bool delay = draw() < rates.delay;
  const double place = draw();
  const double bit = draw();
  if (drop) {
    ++counts.dropped;
    frame.clear();
    return std::chrono::nanoseconds{0};
  }
  ++counts.replies;
  if (bad_checksum) {
    ++counts.bad_checksum;
    frame.back() = static_cast<std::uint8_t>(~frame.back());
  }
  if (corrupt) {
    ++counts.corrupted;
    frame[pick(place, frame.size())] ^= static_cast<std::uint8_t>(1U << pick(bit, 8));
  }
  if (delay) {
    ++counts.delayed;
    return rates.delay_time;
  }
  return std::chrono::nanoseconds{0};
}

std::vector<std::uint8_t> Faults::collide(
  const std::vector<std::uint8_t> & first, const std::vector<std::uint8_t> & second,
  std::size_t late)
{
  constexpr std::uint8_t kIdleLine = 0xFF;
  std::vector<std::uint8_t> result(std::max(first.size(), second.size() + late), kIdleLine);
  for (std::size_t i = 0; i < first.size(); ++i) {
    result[i] &= first[i];
  }
  for (std::size_t i = 0; i < second.size(); ++i) {
    result[late + i] &= second[i];
  }
  return result;
}

std::chrono::nanoseconds EmulatedBus::on_wire(std::size_t bytes) const
{
  // 8N1: ten bits a byte.
  const auto bits = static_cast<std::int64_t>(bytes) * 10;
  return std::chrono::nanoseconds(timing_ ? bits * 1000000000 / line_baud_ : 0);
}

EmulatedBus::Indices EmulatedBus::addressed(std::uint8_t id) const
{
  Indices who;
  for (std::size_t i = 0; i < arm_.size(); ++i) {
    const Unit & unit = arm_.unit(i);
    const int baud = unit.servo.baud();
    const bool receives =
      unit.connected && unit.servo.powered() && std::abs(line_baud_ - baud) * 100LL < baud * 3LL;
    if (receives && (id == feetech::kBroadcastId || unit.servo.id() == id)) {
      who.push_back(i);
    }
  }
  return who;
}

void EmulatedBus::hang_up()
{
  parser_.clear();
  frames_.clear();
}

void EmulatedBus::receive(
  const std::uint8_t * bytes, std::size_t size, int line_baud, TimePoint now)
{
  arm_.advance_to(now);
  line_baud_ = line_baud;
  if (line_baud_ <= 0 || addressed(feetech::kBroadcastId).empty()) {
    counts_.wrong_baud_bytes += size;
    parser_.clear();
    return;
  }
  if (now - last_received_ > kRequestPause) {
    parser_.clear();
  }
  last_received_ = now;
  host_done_ = std::max(free_from(now), host_done_);
  const std::uint64_t bad_before = parser_.bad_checksums();
  Packet packet;
  while (size > 0) {
    const std::size_t part = std::min(size, kFeed);
    parser_.feed(bytes, part);
    host_done_ += on_wire(part);
    const TimePoint part_end = timing_ ? host_done_ : now;
    while (parser_.next(packet)) {
      ++counts_.packets;
      handle(packet, part_end - on_wire(parser_.pending()));
    }
    bytes += part;
    size -= part;
  }
  counts_.bad_checksums += parser_.bad_checksums() - bad_before;
}

void EmulatedBus::handle(const Packet & packet, TimePoint end)
{
  switch (static_cast<Instruction>(packet.code)) {
    case Instruction::ping:
      return ping(packet, end);
    case Instruction::read:
      return read(packet, end);
    case Instruction::write:
    case Instruction::reg_write:
      return write(packet, end);
    case Instruction::action:
    case Instruction::reset:
      return without_data(packet, end);
    case Instruction::sync_read:
      return sync_read(packet, end);
    case Instruction::sync_write:
      return sync_write(packet);
  }
  ++counts_.ignored;
}

void EmulatedBus::ping(const Packet & packet, TimePoint end)
{
  if (packet.id != feetech::kBroadcastId) {
    answer(addressed(packet.id), packet.id, 0, 0, end);
    return;
  }
  for (int id = 0; id <= feetech::kMaxServoId; ++id) {
    const auto slot = static_cast<std::uint8_t>(id);
    answer(addressed(slot), slot, 0, 0, end + on_wire(kPingSlot * slot));
  }
}

void EmulatedBus::read(const Packet & packet, TimePoint end)
{
  if (packet.size != 2 || packet.id == feetech::kBroadcastId) {
    ++counts_.ignored;
    return;
  }
  const std::size_t size = packet.parameters[1];
  if (size == 0 || size > feetech::kMaxParameters) {
    ++counts_.ignored;
    return;
  }
  answer(addressed(packet.id), packet.id, packet.parameters[0], size, end);
}

void EmulatedBus::acknowledge(const Packet & packet, const Indices & who, TimePoint end)
{
  Indices answering;
  for (const std::size_t index : who) {
    if (arm_.unit(index).servo.acknowledges()) {
      answering.push_back(index);
    }
  }
  // A servo that was just given another id or baud rate still answers as the one it was.
  if (packet.id != feetech::kBroadcastId) {
    answer(answering, packet.id, 0, 0, end);
  }
}

void EmulatedBus::write(const Packet & packet, TimePoint end)
{
  if (packet.size < 2) {
    ++counts_.ignored;
    return;
  }
  const Indices who = addressed(packet.id);
  for (const std::size_t index : who) {
    ServoModel & servo = arm_.unit(index).servo;
    const std::uint8_t * bytes = packet.parameters.data() + 1;
    if (static_cast<Instruction>(packet.code) == Instruction::write) {
      servo.write(packet.parameters[0], bytes, packet.size - 1U);
    } else {
      servo.reg_write(packet.parameters[0], bytes, packet.size - 1U);
    }
  }
  acknowledge(packet, who, end);
}

void EmulatedBus::without_data(const Packet & packet, TimePoint end)
{
  const Indices who = addressed(packet.id);
  for (const std::size_t index : who) {
    ServoModel & servo = arm_.unit(index).servo;
    if (static_cast<Instruction>(packet.code) == Instruction::action) {
      servo.action();
    } else {
      servo.factory_reset();
    }
  }
  acknowledge(packet, who, end);
}

void EmulatedBus::sync_read(const Packet & packet, TimePoint end)
{
  const std::size_t size = packet.size > 1 ? packet.parameters[1] : 0U;
  if (
    packet.id != feetech::kBroadcastId || packet.size < 3 || size == 0 ||
    size > feetech::kMaxParameters) {
    ++counts_.ignored;
    return;
  }
  TimePoint free = end;
  for (std::size_t i = 2; i < packet.size; ++i) {
    const std::uint8_t id = packet.parameters[i];
    free = answer(addressed(id), id, packet.parameters[0], size, free);
  }
}

void EmulatedBus::sync_write(const Packet & packet)
{
  const std::size_t size = packet.size > 1 ? packet.parameters[1] : 0U;
  if (packet.id != feetech::kBroadcastId || size == 0 || (packet.size - 2U) % (size + 1) != 0) {
    ++counts_.ignored;
    return;
  }
  for (std::size_t at = 2; at < packet.size; at += size + 1) {
    for (const std::size_t index : addressed(packet.parameters[at])) {
      const std::uint8_t * bytes = packet.parameters.data() + at + 1;
      arm_.unit(index).servo.write(packet.parameters[0], bytes, size);
    }
  }
}

TimePoint EmulatedBus::answer(
  const Indices & who, std::uint8_t id, std::uint8_t address, std::size_t size, TimePoint from)
{
  // The next servo waits out the place of one that is missing. [assumed]
  std::chrono::nanoseconds place = on_wire(size + feetech::kFrameOverhead);
  TimePoint start = from;
  std::vector<std::uint8_t> line;
  std::array<std::uint8_t, feetech::kMaxParameters> data;
  std::array<std::uint8_t, feetech::kMaxFrame> encoded;
  for (const std::size_t index : who) {
    const ServoModel & servo = arm_.unit(index).servo;
    servo.read(address, size, data.data());
    const std::size_t length =
      feetech::encode(id, servo.status(), data.data(), size, encoded.data(), encoded.size());
    std::vector<std::uint8_t> frame(encoded.begin(), encoded.begin() + length);
    ++faults_.counts(index).requests;
    const std::chrono::nanoseconds late = faults_.apply(index, frame);
    if (line.empty()) {
      start = from + late;
      start += timing_ ? servo.return_delay() : std::chrono::nanoseconds{0};
      line = std::move(frame);
    } else if (!frame.empty()) {
      line = Faults::collide(line, frame, faults_.draw_lateness());
      ++faults_.counts(index).collided;
      ++faults_.counts(who.front()).collided;
    }
  }
  place = std::max(place, on_wire(line.size()));
  if (!line.empty()) {
    const TimePoint complete = start + on_wire(line.size());
    const auto later = std::upper_bound(
      frames_.begin(), frames_.end(), complete,
      [](TimePoint time, const Frame & other) { return time < other.end; });
    frames_.insert(later, Frame{start, complete, std::move(line)});
  }
  return start + place;
}

}  // namespace so100_hardware::emulator
