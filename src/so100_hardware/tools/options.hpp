// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace so100_hardware::tools
{

/// What the programs return.
enum ExitCode {
  kOk = 0,
  kCheckFailed = 1,  ///< it worked, and something is not as it should be
  kCouldNot = 2,     ///< it did not work: arguments, port, servo, file
};

/// The command line of a tool: `--name value`, `--name=value` and `--flag`. Makes --help.
class Options
{
public:
  /// @param summary  what the tool does, one sentence
  /// @param notes    printed at the end of --help
  Options(std::string program, std::string summary, std::string notes);

  void flag(const char * name, bool & target, const char * help);
  void text(const char * name, const char * argument, std::string & target, const char * help);
  /// A whole number between two limits, both included.
  void number(
    const char * name, const char * argument, int & target, int lowest, int highest,
    const char * help);

  /// Sets the targets. Returns the exit code when the program shall end now: after --help, or
  /// when an argument is wrong, which is said on stderr.
  std::optional<int> parse(int argc, char ** argv) const;

  /// One line on stderr, the program's name in front. Returns kCouldNot.
  int fail(const std::string & message) const;

private:
  struct Option
  {
    std::string name;
    std::string argument;  // empty: a flag
    std::string help;
    std::function<std::string(const std::string &)> set;  // returns what is wrong, or ""
  };

  std::string usage() const;
  std::string apply(const std::vector<std::string> & arguments, bool & help) const;

  std::string program_;
  std::string summary_;
  std::string notes_;
  std::vector<Option> options_;
};

/// A whole number that fills the text; nullopt when it is none or does not fit.
std::optional<int> parse_number(const std::string & text);

/// "1,2,5" or "1-6" as ids 0 to 253, each once; nullopt when it is neither.
std::optional<std::vector<int>> parse_ids(const std::string & text);

}  // namespace so100_hardware::tools
