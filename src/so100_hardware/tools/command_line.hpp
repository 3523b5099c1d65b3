// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
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

/// A program's command line: CLI11 with our exit codes, one line for a mistake, and a guess at the
/// option that was meant.
class CommandLine : public CLI::App
{
public:
  /// @param summary  what the program does
  /// @param notes    printed at the end of --help: an example, the exit codes
  CommandLine(const std::string & program, const std::string & summary, const std::string & notes);

  /// A text that must not be empty. `argument` stands for the value in --help.
  CLI::Option * text(
    const std::string & name, const std::string & argument, std::string & target,
    const std::string & help);
  /// A whole number between two limits, both included.
  CLI::Option * number(
    const std::string & name, const std::string & argument, int & target, int lowest, int highest,
    const std::string & help);
  /// `--ids` as parse_ids() takes them.
  CLI::Option * ids(std::vector<int> & target, const std::string & help, bool repeated = false);

  /// Sets the targets. Returns the exit code when the program shall end now: after --help, or when
  /// an argument is wrong, which is said on stderr.
  std::optional<int> read(int argc, char ** argv);

  /// One line on stderr, the program's name in front. Returns kCouldNot.
  int fail(const std::string & message) const;
};

/// A whole number that fills the text; nullopt when it is none or does not fit.
std::optional<int> parse_number(const std::string & text);

/// "1,2,5" or "1-6" as ids 0 to 253, each once unless `repeated`; nullopt when it is neither.
std::optional<std::vector<int>> parse_ids(const std::string & text, bool repeated = false);

}  // namespace so100_hardware::tools
