// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <set>

#include "fake_transport.hpp"
#include "so100_hardware/feetech/bus.hpp"

namespace so100_hardware::feetech
{

/// Obedient servos behind a FakeTransport: memory tables that answer like real ones.
class FakeServos
{
public:
  FakeTransport transport;
  std::map<std::uint8_t, std::array<std::uint8_t, 256>> memory;
  std::map<std::uint8_t, std::uint8_t> status;  ///< fault bits in the replies
  std::set<std::uint8_t> silent;
  std::chrono::microseconds delay{100};  ///< of the first reply, and between replies

  explicit FakeServos(const std::vector<std::uint8_t> & ids)
  {
    for (const std::uint8_t id : ids) {
      memory[id].fill(0);
      memory[id][3] = 0x09;
      memory[id][4] = 0x03;
      memory[id][5] = id;
      memory[id][55] = 1;
    }
    transport.on_request = [this](const Packet & request) { answer(request); };
  }

  void set(std::uint8_t id, const Register & reg, int value)
  {
    encode(reg, value, memory.at(id).data() + reg.address);
  }
  int get(std::uint8_t id, const Register & reg) const
  {
    return decode(reg, memory.at(id).data() + reg.address);
  }

  void answer(const Packet & request)
  {
    const auto * data = request.parameters.data();
    switch (static_cast<Instruction>(request.code)) {
      case Instruction::sync_read:
        for (std::size_t i = 2; i < request.size; ++i) {
          send(data[i], data[0], data[1], static_cast<int>(i - 1));
        }
        break;
      case Instruction::sync_write:
        for (std::size_t i = 2; i < request.size; i += 1U + data[1]) {
          store(data[i], data[0], data + i + 1, data[1]);
        }
        break;
      case Instruction::write:
        for (auto & entry : memory) {
          if (request.id == entry.first || request.id == kBroadcastId) {
            store(entry.first, data[0], data + 1, request.size - 1U);
          }
        }
        send(request.id, 0, 0, 1);
        rename();
        break;
      case Instruction::read:
        send(request.id, data[0], data[1], 1);
        break;
      case Instruction::ping:
        if (request.id == kBroadcastId) {
          int turn = 1;
          for (const auto & entry : memory) {
            send(entry.first, 0, 0, turn++);
          }
        } else {
          send(request.id, 0, 0, 1);
        }
        break;
      default:
        break;
    }
  }

private:
  /// EEPROM keeps its value while the lock is on.
  void store(std::uint8_t id, std::uint8_t address, const std::uint8_t * bytes, std::size_t size)
  {
    auto servo = memory.find(id);
    if (servo == memory.end() || silent.count(id) != 0) {
      return;
    }
    if ((address < 40 || address >= 80) && servo->second[55] != 0) {
      return;
    }
    std::copy_n(bytes, size, servo->second.begin() + address);
  }

  void rename()
  {
    for (auto & entry : memory) {
      if (entry.second[5] != entry.first) {
        const auto table = entry.second;
        memory.erase(entry.first);
        memory[table[5]] = table;
        return;
      }
    }
  }

  void send(std::uint8_t id, std::uint8_t address, std::uint8_t size, int turn)
  {
    const auto servo = memory.find(id);
    if (servo == memory.end() || silent.count(id) != 0) {
      return;
    }
    const auto begin = servo->second.begin() + address;
    transport.reply(frame(id, status[id], Bytes(begin, begin + size)), delay * turn);
  }
};

}  // namespace so100_hardware::feetech
