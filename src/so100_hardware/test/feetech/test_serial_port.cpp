// SPDX-License-Identifier: Apache-2.0
// The port over a pseudo-terminal, which is a terminal of the kernel's like a serial device.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "so100_hardware/feetech/bus.hpp"
#include "so100_hardware/feetech/registers.hpp"
#include "so100_hardware/feetech/serial_port.hpp"

namespace so100_hardware::feetech
{
namespace
{

using std::chrono::milliseconds;
namespace fs = std::filesystem;

/// A pseudo-terminal: `path` is the port, `master` the wire.
struct Pty
{
  int master = -1;
  std::string path;

  Pty()
  {
    int slave = -1;
    char name[64] = {};
    EXPECT_EQ(::openpty(&master, &slave, name, nullptr, nullptr), 0);
    ::close(slave);
    path = name;
  }
  ~Pty() { unplug(); }
  void unplug()
  {
    if (master >= 0) {
      ::close(master);
      master = -1;
    }
  }
  void put(const std::string & bytes) const
  {
    ASSERT_EQ(::write(master, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  std::string get(std::size_t size) const
  {
    std::string bytes(size, '\0');
    std::size_t count = 0;
    while (count < size) {
      const ssize_t part = ::read(master, &bytes[count], size - count);
      if (part <= 0) {
        break;
      }
      count += static_cast<std::size_t>(part);
    }
    bytes.resize(count);
    return bytes;
  }
};

struct TempDir
{
  fs::path path;
  TempDir()
  {
    std::string name = (fs::temp_directory_path() / "so100_test_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TempDir() { fs::remove_all(path); }
};

std::unique_ptr<SerialPort> open_port(const Pty & pty)
{
  auto port = SerialPort::open(pty.path, 1000000);
  EXPECT_TRUE(port.ok());
  return port.ok() ? std::move(port.value()) : nullptr;
}

Errc failure(const std::string & path, int baud = 1000000)
{
  const auto port = SerialPort::open(path, baud);
  return port.ok() ? Errc::ok : port.error().code;
}

TimePoint in(milliseconds time) { return Clock::now() + time; }

std::string read(SerialPort & port, std::size_t size, milliseconds time = milliseconds(1000))
{
  std::string bytes(size, '\0');
  const auto count = port.read(reinterpret_cast<std::uint8_t *>(&bytes[0]), size, in(time));
  EXPECT_TRUE(count.ok());
  bytes.resize(count.ok() ? count.value() : 0);
  return bytes;
}

TEST(SerialPort, AllBytesPassUnchangedBothWays)
{
  const Pty pty;
  const auto port = open_port(pty);
  std::string all(256, '\0');
  for (int i = 0; i < 256; ++i) {
    all[static_cast<std::size_t>(i)] = static_cast<char>(i);
  }
  pty.put(all);
  EXPECT_EQ(read(*port, 256), all);
  ASSERT_TRUE(port->write(reinterpret_cast<const std::uint8_t *>(all.data()), 256).ok());
  EXPECT_EQ(pty.get(256), all);
}

TEST(SerialPort, ReadsExactlyAsManyAsAskedFor)
{
  const Pty pty;
  const auto port = open_port(pty);
  std::thread wire([&] {
    for (const char * piece : {"ab", "c", "defgh", "ijkl"}) {
      pty.put(piece);
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(read(*port, 10), "abcdefghij");
  wire.join();
  EXPECT_EQ(read(*port, 2), "kl");
}

TEST(SerialPort, ReturnsWhatCameByTheDeadline)
{
  const Pty pty;
  const auto port = open_port(pty);
  pty.put("abc");
  const TimePoint start = Clock::now();
  EXPECT_EQ(read(*port, 5, milliseconds(20)), "abc");
  EXPECT_GE(Clock::now() - start, milliseconds(20));
  pty.put("de");
  EXPECT_EQ(read(*port, 2), "de");
}

TEST(SerialPort, PastDeadlineTakesWhatIsThere)
{
  const Pty pty;
  const auto port = open_port(pty);
  EXPECT_EQ(read(*port, 5, milliseconds(-5)), "");
  pty.put("abc");
  EXPECT_EQ(read(*port, 3), "abc");
}

TEST(SerialPort, FlushThrowsAwayAndCounts)
{
  const Pty pty;
  const auto port = open_port(pty);
  EXPECT_EQ(port->flush_input(), 0U);
  pty.put("xyz");
  EXPECT_EQ(read(*port, 1), "x");
  EXPECT_EQ(port->flush_input(), 2U);
  EXPECT_EQ(read(*port, 1, milliseconds(1)), "");
}

TEST(SerialPort, IsHeldExclusively)
{
  const Pty pty;
  auto port = open_port(pty);
  const auto second = SerialPort::open(pty.path, 1000000);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::port_busy);
  EXPECT_NE(second.error().text().find(pty.path + " is in use"), std::string::npos);

  // Programs that do not ask for locks are kept out by TIOCEXCL (root may pass it).
  const int raw = ::open(pty.path.c_str(), O_RDWR | O_NOCTTY);
  if (::geteuid() != 0) {
    EXPECT_LT(raw, 0);
  } else {
    int exclusive = 0;
    ASSERT_EQ(::ioctl(raw, TIOCGEXCL, &exclusive), 0);
    EXPECT_NE(exclusive, 0);
    ::close(raw);
  }
  port.reset();
  EXPECT_EQ(failure(pty.path), Errc::ok) << "free again";
}

TEST(SerialPort, ClosingEndsTheExclusiveUse)
{
  const Pty pty;
  const int other = ::open(pty.path.c_str(), O_RDWR | O_NOCTTY);  // keeps the terminal alive
  auto port = open_port(pty);
  int exclusive = 0;
  ASSERT_EQ(::ioctl(other, TIOCGEXCL, &exclusive), 0);
  EXPECT_NE(exclusive, 0);
  port.reset();
  ASSERT_EQ(::ioctl(other, TIOCGEXCL, &exclusive), 0);
  EXPECT_EQ(exclusive, 0);
  ::close(other);
}

TEST(SerialPort, BytesBeforeTheEndAreNotLost)
{
  Pty pty;
  const int other = ::open(pty.path.c_str(), O_RDWR | O_NOCTTY);
  const auto port = open_port(pty);
  const auto wait_until_waiting = [other](int wanted) {
    int waiting = -1;
    while (waiting != wanted && ::ioctl(other, FIONREAD, &waiting) == 0) {
      std::this_thread::yield();
    }
  };
  pty.put("abc");
  wait_until_waiting(3);
  std::thread hand([&] {
    wait_until_waiting(0);
    pty.unplug();
  });
  EXPECT_EQ(read(*port, 5, milliseconds(5000)), "abc");
  hand.join();
  std::uint8_t byte = 0;
  EXPECT_EQ(port->read(&byte, 1, in(milliseconds(1000))).error().code, Errc::port_gone);
  ::close(other);
}

TEST(SerialPort, GoneWhenUnplugged)
{
  Pty pty;
  const auto port = open_port(pty);
  ASSERT_TRUE(port->is_open());
  pty.unplug();
  std::uint8_t byte = 0;
  const auto count = port->read(&byte, 1, in(milliseconds(1000)));
  ASSERT_FALSE(count.ok());
  EXPECT_EQ(count.error().code, Errc::port_gone);
  EXPECT_NE(count.error().text().find(pty.path + " is gone"), std::string::npos);
  EXPECT_FALSE(port->is_open());
  EXPECT_EQ(port->write(&byte, 1).error().code, Errc::port_gone);
  EXPECT_EQ(port->flush_input(), 0U);
}

TEST(SerialPort, GoneWhileWaiting)
{
  Pty pty;
  const auto port = open_port(pty);
  std::promise<void> reading;
  std::thread hand([&] {
    reading.get_future().wait();
    pty.unplug();
  });
  reading.set_value();
  std::uint8_t byte = 0;
  const TimePoint start = Clock::now();
  EXPECT_EQ(port->read(&byte, 1, in(milliseconds(5000))).error().code, Errc::port_gone);
  EXPECT_LT(Clock::now() - start, milliseconds(2000)) << "at once, not at the deadline";
  hand.join();
}

TEST(SerialPort, GoneWhenWriting)
{
  Pty pty;
  const auto port = open_port(pty);
  pty.unplug();
  const std::uint8_t byte = 0;
  EXPECT_EQ(port->write(&byte, 1).error().code, Errc::port_gone);
}

TEST(SerialPort, ClosedIsNotGone)
{
  const Pty pty;
  const auto port = open_port(pty);
  port->close();
  std::uint8_t byte = 0;
  EXPECT_EQ(port->write(&byte, 1).error().code, Errc::not_open);
  EXPECT_EQ(port->read(&byte, 1, in(milliseconds(1))).error().code, Errc::not_open);
}

TEST(SerialPort, FullDeviceIsAnErrorNotAHalfRequest)
{
  const Pty pty;  // nobody reads
  const auto port = open_port(pty);
  const std::vector<std::uint8_t> bytes(200, 1);
  Result<void> result;
  for (int i = 0; i < 10000 && result.ok(); ++i) {
    result = port->write(bytes.data(), bytes.size());
  }
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::io);
}

TEST(SerialPort, WrongPaths)
{
  const TempDir dir;
  EXPECT_EQ(failure((dir.path / "ttyACM9").string()), Errc::no_such_port);
  EXPECT_EQ(failure(dir.path.string()), Errc::not_a_port);
  std::ofstream(dir.path / "file") << "x";
  EXPECT_EQ(failure((dir.path / "file").string()), Errc::not_a_port);
  EXPECT_EQ(failure((dir.path / "file" / "x").string()), Errc::no_such_port);
  EXPECT_EQ(failure("/dev/null"), Errc::not_a_port);
  EXPECT_EQ(failure(""), Errc::no_such_port);
  const std::string text = SerialPort::open("/dev/ttyACM99", 1000000).error().text();
  EXPECT_EQ(text.find("/dev/ttyACM99 does not exist; "), 0U);
}

TEST(SerialPort, NoPermission)
{
  const Pty pty;
  ASSERT_EQ(::chmod(pty.path.c_str(), 0), 0);
  const uid_t user = ::geteuid();
  if (user == 0) {
    ASSERT_EQ(::seteuid(65534), 0);  // root may open everything
  }
  const auto port = SerialPort::open(pty.path, 1000000);
  if (user == 0) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, Errc::no_permission);
}

TEST(SerialPort, BaudRates)
{
  for (const int baud : kScanBaudRates) {
    const Pty pty;
    EXPECT_EQ(failure(pty.path, baud), Errc::ok) << baud;
  }
  const Pty pty;
  for (const int baud : {0, -1, 9600, 1000001}) {
    const auto port = SerialPort::open(pty.path, baud);
    ASSERT_FALSE(port.ok());
    EXPECT_EQ(port.error().code, Errc::bad_baud);
    EXPECT_EQ(port.error().value, baud);
  }
}

TEST(SerialPort, CarriesTheBus)
{
  const Pty pty;
  const auto port = open_port(pty);
  std::thread servo([&] {
    EXPECT_EQ(pty.get(8), std::string("\xFF\xFF\x01\x04\x02\x38\x02\xBE", 8));
    pty.put(std::string("\xFF\xFF\x01\x04\x00\x00\x08\xF2", 8));
  });
  BusOptions options;
  options.margin = std::chrono::seconds(2);
  Bus bus(*port, options);
  const auto reading = bus.read(1, registers::present_position);
  servo.join();
  ASSERT_TRUE(reading.ok());
  EXPECT_EQ(reading.value().value, 2048);
}

TEST(Ports, ListsEachDeviceOnceByIdFirst)
{
  const TempDir dir;
  EXPECT_TRUE(list_ports(dir.path.string()).empty());
  for (const char * name : {"ttyACM0", "ttyACM1", "ttyUSB0", "ttyS0"}) {
    std::ofstream(dir.path / name) << "";
  }
  fs::create_directories(dir.path / "serial" / "by-id");
  fs::create_symlink(dir.path / "ttyACM1", dir.path / "serial" / "by-id" / "usb-1a86_arm");
  const std::string dev = dir.path.string();
  EXPECT_EQ(
    list_ports(dev), (std::vector<std::string>{
                       dev + "/serial/by-id/usb-1a86_arm", dev + "/ttyACM0", dev + "/ttyUSB0"}));
}

TEST(Ports, LatencyHintOnlyWhereTheAttributeIsAboveOne)
{
  const TempDir dir;
  const std::string sysfs = dir.path.string();
  EXPECT_EQ(latency_hint("/dev/ttyACM0", sysfs), "");
  const fs::path device = dir.path / "class" / "tty" / "ttyUSB0" / "device";
  fs::create_directories(device);
  std::ofstream(device / "latency_timer") << "16\n";
  const std::string hint = latency_hint("/dev/ttyUSB0", sysfs);
  EXPECT_NE(hint.find("16 ms"), std::string::npos);
  EXPECT_NE(hint.find((device / "latency_timer").string()), std::string::npos);
  std::ofstream(device / "latency_timer") << "1\n";
  EXPECT_EQ(latency_hint("/dev/ttyUSB0", sysfs), "");
}

}  // namespace
}  // namespace so100_hardware::feetech
