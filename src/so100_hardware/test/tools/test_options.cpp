// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "options.hpp"

namespace so100_hardware::tools
{
namespace
{

// A command line parsed, with what was printed.
struct Parsed
{
  std::string port = "none";
  int rate = 20;
  bool once = false;
  std::optional<int> code;
  std::string out;
  std::string err;
};

Parsed parse(std::vector<std::string> arguments)
{
  Parsed parsed;
  Options options("tool", "Does things.", "Notes.");
  options.text("--port", "PATH", parsed.port, "the port");
  options.number("--rate", "HZ", parsed.rate, 1, 500, "reads per second");
  options.flag("--once", parsed.once, "once,\nand no more");
  arguments.insert(arguments.begin(), "tool");
  std::vector<char *> argv;
  for (std::string & argument : arguments) {
    argv.push_back(argument.data());
  }
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  parsed.code = options.parse(static_cast<int>(argv.size()), argv.data());
  parsed.err = testing::internal::GetCapturedStderr();
  parsed.out = testing::internal::GetCapturedStdout();
  return parsed;
}

TEST(Options, BothFormsOfValuesAndFlags)
{
  const Parsed parsed = parse({"--port", "/dev/x", "--rate=100", "--once"});
  EXPECT_EQ(parsed.code, std::nullopt);
  EXPECT_EQ(parsed.port, "/dev/x");
  EXPECT_EQ(parsed.rate, 100);
  EXPECT_TRUE(parsed.once);
}

TEST(Options, NothingGivenKeepsTheDefaults)
{
  const Parsed parsed = parse({});
  EXPECT_EQ(parsed.code, std::nullopt);
  EXPECT_EQ(parsed.port, "none");
  EXPECT_EQ(parsed.rate, 20);
  EXPECT_FALSE(parsed.once);
}

TEST(Options, MistakesAreOneLineAndCode2)
{
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
    {{"--prt", "x"}, "tool: unknown argument '--prt'; did you mean '--port'? (see --help)\n"},
    {{"x"}, "tool: unknown argument 'x' (see --help)\n"},
    {{"--port"}, "tool: --port needs a value (PATH) (see --help)\n"},
    {{"--port="}, "tool: --port is empty (see --help)\n"},
    {{"--once=1"}, "tool: --once takes no value (see --help)\n"},
    {{"--rate", "0"},
     "tool: --rate must be a whole number from 1 to 500, but is '0' (see --help)\n"},
    {{"--rate", "5x"},
     "tool: --rate must be a whole number from 1 to 500, but is '5x' (see --help)\n"},
    {{"--rate", "99999999999"},
     "tool: --rate must be a whole number from 1 to 500, but is '99999999999' (see --help)\n"},
  };
  for (const auto & [arguments, message] : cases) {
    const Parsed parsed = parse(arguments);
    EXPECT_EQ(parsed.code, kCouldNot);
    EXPECT_EQ(parsed.err, message);
    EXPECT_EQ(parsed.out, "");
  }
}

TEST(Options, HelpListsEveryOptionAndWins)
{
  const Parsed parsed = parse({"--once", "--help", "--nonsense"});
  EXPECT_EQ(parsed.code, kOk);
  EXPECT_EQ(parsed.err, "");
  EXPECT_EQ(
    parsed.out,
    "Usage: tool [options]\n\nDoes things.\n\nOptions:\n"
    "  --port PATH  the port\n"
    "  --rate HZ    reads per second\n"
    "  --once       once,\n"
    "               and no more\n"
    "  --help       this text\n\nNotes.\n");
}

TEST(ParseIds, ListsAndRanges)
{
  EXPECT_EQ(parse_ids("1-6"), (std::vector<int>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(parse_ids("5,1,253"), (std::vector<int>{5, 1, 253}));
  EXPECT_EQ(parse_ids("0,2-3"), (std::vector<int>{0, 2, 3}));
  for (const char * bad : {"", ",", "1,", "1,1", "1-3,2", "3-1", "-1", "254", "a", "1-", "1 ,2"}) {
    EXPECT_EQ(parse_ids(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace so100_hardware::tools
