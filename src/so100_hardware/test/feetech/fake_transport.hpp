// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "so100_hardware/feetech/packet.hpp"
#include "so100_hardware/feetech/transport.hpp"

namespace so100_hardware::feetech
{

using Bytes = std::vector<std::uint8_t>;

/// The bytes of a reply (or request) frame.
inline Bytes frame(std::uint8_t id, std::uint8_t code, const Bytes & parameters = {})
{
  Bytes out(kMaxFrame);
  out.resize(encode(id, code, parameters.data(), parameters.size(), out.data(), out.size()));
  return out;
}

/// A bus whose servos are a function, with a clock that moves only while somebody waits.
class FakeTransport : public Transport
{
public:
  /// Called with each request; answers with reply().
  std::function<void(const Packet &)> on_request;

  std::vector<Bytes> writes;        ///< one entry for each call of write()
  std::vector<std::string> events;  ///< "flush", "write", in order
  std::size_t flushed = 0;          ///< bytes
  Errc broken = Errc::ok;           ///< what write() and read() fail with
  std::chrono::microseconds waited{0};

  /// These bytes arrive after `delay`.
  void reply(const Bytes & bytes, std::chrono::microseconds delay = std::chrono::microseconds(100))
  {
    const Arrival arrival{now_ + delay, bytes};
    const auto place = std::upper_bound(
      arrivals_.begin(), arrivals_.end(), arrival,
      [](const Arrival & a, const Arrival & b) { return a.at < b.at; });
    arrivals_.insert(place, arrival);
  }

  Packet request(std::size_t index) const
  {
    PacketParser parser;
    Packet packet;
    parser.feed(writes.at(index).data(), writes.at(index).size());
    parser.next(packet);
    return packet;
  }

  void advance(std::chrono::microseconds time) { now_ += time; }

  Result<void> write(const std::uint8_t * bytes, std::size_t size) override
  {
    events.emplace_back("write");
    if (broken != Errc::ok) {
      return port_error(broken, "/dev/fake");
    }
    writes.emplace_back(bytes, bytes + size);
    if (on_request) {
      on_request(request(writes.size() - 1));
    }
    return {};
  }

  Result<std::size_t> read(std::uint8_t * bytes, std::size_t capacity, TimePoint deadline) override
  {
    if (broken != Errc::ok) {
      return port_error(broken, "/dev/fake");
    }
    std::size_t count = 0;
    while (count < capacity) {
      if (arrivals_.empty() || arrivals_.front().at > std::max(deadline, now_)) {
        if (deadline > now_) {
          waited += std::chrono::duration_cast<std::chrono::microseconds>(deadline - now_);
          now_ = deadline;
        }
        return count;
      }
      Arrival & first = arrivals_.front();
      now_ = std::max(now_, first.at);
      const std::size_t part = std::min(capacity - count, first.bytes.size());
      std::copy_n(first.bytes.begin(), part, bytes + count);
      count += part;
      first.bytes.erase(first.bytes.begin(), first.bytes.begin() + static_cast<long>(part));
      if (first.bytes.empty()) {
        arrivals_.erase(arrivals_.begin());
      }
    }
    return count;
  }

  std::size_t flush_input() override
  {
    events.emplace_back("flush");
    std::size_t count = 0;
    while (!arrivals_.empty() && arrivals_.front().at <= now_) {
      count += arrivals_.front().bytes.size();
      arrivals_.erase(arrivals_.begin());
    }
    flushed += count;
    return count;
  }

  bool is_open() const override { return true; }
  TimePoint now() const override { return now_; }

private:
  struct Arrival
  {
    TimePoint at;
    Bytes bytes;
  };

  TimePoint now_{std::chrono::hours(1)};
  std::vector<Arrival> arrivals_;
};

}  // namespace so100_hardware::feetech
