// SPDX-License-Identifier: Apache-2.0
// What the tools do with the user's terminal, and with pipes in its place.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace so100_hardware::tools
{

/// From now on Ctrl-C, SIGTERM and a closed terminal only set a mark, so that the tool can put
/// things in order before it ends.
void catch_interrupts();
bool interrupted();

enum class Input {
  enter,        ///< a line was entered
  none,         ///< nothing within the time
  ended,        ///< the input is closed: nobody will press Enter
  interrupted,  ///< see catch_interrupts()
};

/// Waits for Enter on the standard input; a pipe's line counts as one.
Input wait_for_enter(std::chrono::milliseconds timeout);

/// Waits for Enter as long as it takes. Never returns `none`.
Input wait_for_enter();

/// Sleeps, but not through an interrupt.
void pause(std::chrono::milliseconds duration);

bool stdout_is_terminal();

/// Text that is shown again and again in the same place of the terminal. Where stdout is none,
/// each change is printed, at most once a second.
class LiveText
{
public:
  void show(const std::string & text);
  /// Enter was pressed, which has moved the cursor of a terminal one line down.
  void entered();
  /// The last text stays in any case; what comes next is printed below it.
  void finish(const std::string & text);

private:
  void draw(const std::string & text);

  int lines_ = 0;
  std::string last_;
  std::chrono::steady_clock::time_point printed_{};
};

/// Columns of text; numbers stand to the right.
class TextTable
{
public:
  /// @param columns  headings; one that starts with '>' is for a column of numbers
  explicit TextTable(const std::vector<std::string> & columns);

  /// Missing cells are empty.
  void add(std::vector<std::string> row);

  /// Lines with '\n', the headings first. No blanks at the ends of lines.
  std::string text() const;

private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

/// A number with so many digits after the point.
std::string fixed(double value, int digits);

}  // namespace so100_hardware::tools
