// SPDX-License-Identifier: Apache-2.0
#include "terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <thread>
#include <utility>

namespace so100_hardware::tools
{
namespace
{

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// An interrupt between a look at the mark and the wait is seen after this time at the latest.
constexpr milliseconds kSlice{50};

volatile std::sig_atomic_t interrupt_mark = 0;

extern "C" void set_interrupt_mark(int) { interrupt_mark = 1; }

// Width of the terminal, so that no line wraps and spoils the count of lines.
std::size_t terminal_width()
{
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 1000;
}

}  // namespace

void catch_interrupts()
{
  struct sigaction action = {};
  action.sa_handler = set_interrupt_mark;  // no SA_RESTART: waiting ends
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal, &action, nullptr);
  }
  // Output into a closed pipe must not end the tool halfway.
  std::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return interrupt_mark != 0; }

Input wait_for_enter(milliseconds timeout)
{
  const auto end = Clock::now() + timeout;
  while (!interrupted()) {
    const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const int wait = static_cast<int>(std::clamp(left, milliseconds(0), kSlice).count());
    if (::poll(&input, 1, wait) > 0) {
      // Byte by byte, so that a pipe's next line is there for the next call.
      char byte = 0;
      const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
      if (count == 1) {
        if (byte == '\n') {
          return Input::enter;
        }
        continue;
      }
      if (count == 0 || errno != EINTR) {
        return interrupted() ? Input::interrupted : Input::ended;
      }
    }
    if (Clock::now() >= end) {
      return interrupted() ? Input::interrupted : Input::none;
    }
  }
  return Input::interrupted;
}

Input wait_for_enter()
{
  std::fflush(stdout);
  Input input = Input::none;
  while (input == Input::none) {
    input = wait_for_enter(milliseconds(1000));
  }
  return input;
}

void pause(milliseconds duration)
{
  const auto end = Clock::now() + duration;
  while (!interrupted() && Clock::now() < end) {
    const auto left = std::chrono::ceil<milliseconds>(end - Clock::now());
    std::this_thread::sleep_for(std::min(left, kSlice));
  }
}

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) != 0; }

void LiveText::show(const std::string & text)
{
  if (stdout_is_terminal()) {
    draw(text);
  } else if (text != last_ && Clock::now() - printed_ >= std::chrono::seconds(1)) {
    std::fputs((text + "\n").c_str(), stdout);
    std::fflush(stdout);
    last_ = text;
    printed_ = Clock::now();
  }
}

void LiveText::entered()
{
  if (stdout_is_terminal() && ::isatty(STDIN_FILENO) != 0) {
    ++lines_;
  }
}

void LiveText::finish(const std::string & text)
{
  if (stdout_is_terminal()) {
    draw(text);
  } else if (text != last_) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
  lines_ = 0;
  last_.clear();
}

void LiveText::draw(const std::string & text)
{
  const std::size_t width = terminal_width();
  // An echoed ^C has moved the cursor off the first column.
  std::string out = lines_ > 0 ? "\r\x1b[" + std::to_string(lines_) + "A" : "";
  lines_ = 0;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    out += text.substr(start, std::min(end - start, width)) + "\x1b[K\n";
    start = end + 1;
    ++lines_;
  }
  std::fputs((out + "\x1b[J").c_str(), stdout);
  std::fflush(stdout);
}

TextTable::TextTable(const std::vector<std::string> & columns)
{
  std::vector<std::string> headings;
  for (const std::string & column : columns) {
    const bool right = !column.empty() && column.front() == '>';
    right_.push_back(right);
    headings.push_back(right ? column.substr(1) : column);
  }
  rows_.push_back(std::move(headings));
}

void TextTable::add(std::vector<std::string> row)
{
  row.resize(right_.size());
  rows_.push_back(std::move(row));
}

std::string TextTable::text() const
{
  std::string text;
  for (const auto & row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::size_t width = 0;
      for (const auto & other : rows_) {
        width = std::max(width, other[i].size());
      }
      const std::string gap(width - row[i].size(), ' ');
      line += (i > 0 ? "  " : "") + (right_[i] ? gap + row[i] : row[i] + gap);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string fixed(double value, int digits)
{
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace so100_hardware::tools
