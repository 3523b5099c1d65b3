// SPDX-License-Identifier: Apache-2.0
#include "command_line.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <numeric>

#include "so100_hardware/feetech/packet.hpp"

namespace so100_hardware::tools
{
namespace
{

// More changed letters are another word, not a typing error.
constexpr std::size_t kTypingErrors = 2;

// How many letters must be changed, added or left out to make one word of the other (Levenshtein).
std::size_t distance(const std::string & a, const std::string & b)
{
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0U);
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t k = 0; k < b.size(); ++k) {
      const std::size_t changed = diagonal + (a[i] == b[k] ? 0 : 1);
      diagonal = row[k + 1];
      row[k + 1] = std::min({changed, row[k] + 1, row[k + 1] + 1});
    }
  }
  return row.back();
}

// "; did you mean '--port'?", or nothing.
std::string meant(const CLI::App & app, const std::string & argument)
{
  const std::string name = argument.substr(0, argument.find('='));
  std::string guess;
  std::size_t least = kTypingErrors + 1;
  for (const CLI::Option * option : app.get_options()) {
    if (const std::size_t far = distance(name, option->get_name()); far < least) {
      least = far;
      guess = "; did you mean '" + option->get_name() + "'?";
    }
  }
  return guess;
}

}  // namespace

CommandLine::CommandLine(
  const std::string & program, const std::string & summary, const std::string & notes)
: CLI::App(summary + "\n", program)
{
  footer(notes);
  set_help_flag("-h,--help", "print this text");
}

CLI::Option * CommandLine::text(
  const std::string & name, const std::string & argument, std::string & target,
  const std::string & help)
{
  return add_option(name, target, help)->type_name(argument)->check([](const std::string & value) {
    return value.empty() ? std::string("is empty") : std::string();
  });
}

CLI::Option * CommandLine::number(
  const std::string & name, const std::string & argument, int & target, int lowest, int highest,
  const std::string & help)
{
  return add_option(name, target, help)
    ->type_name(argument)
    ->check([lowest, highest](const std::string & value) {
      const auto number = parse_number(value);
      return number && *number >= lowest && *number <= highest
               ? std::string()
               : "must be a whole number from " + std::to_string(lowest) + " to " +
                   std::to_string(highest) + ", but is '" + value + "'";
    });
}

CLI::Option * CommandLine::ids(std::vector<int> & target, const std::string & help, bool repeated)
{
  return add_option_function<std::string>(
           "--ids",
           [&target, repeated](const std::string & list) { target = *parse_ids(list, repeated); },
           help)
    ->type_name("LIST")
    ->check([repeated](const std::string & list) {
      return parse_ids(list, repeated) ? std::string()
                                       : "must be like 1-6 or 1,2,5, but is '" + list + "'";
    });
}

std::optional<int> CommandLine::read(int argc, char ** argv)
{
  try {
    parse(argc, argv);
  } catch (const CLI::CallForHelp &) {
    std::fputs(help().c_str(), stdout);
    return kOk;
  } catch (const CLI::ExtrasError &) {
    const std::string first = remaining().front();
    return fail("unknown argument '" + first + "'" + meant(*this, first) + " (see --help)");
  } catch (const CLI::ParseError & error) {
    return fail(std::string(error.what()) + " (see --help)");
  }
  return std::nullopt;
}

int CommandLine::fail(const std::string & message) const
{
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", get_name().c_str(), message.c_str());
  return kCouldNot;
}

std::optional<int> parse_number(const std::string & text)
{
  int value = 0;
  const char * end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<std::vector<int>> parse_ids(const std::string & text, bool repeated)
{
  std::vector<int> ids;
  std::size_t start = 0;
  while (start <= text.size()) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const std::string part = text.substr(start, comma - start);
    const std::size_t dash = part.find('-');
    const auto first = parse_number(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_number(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *first > *last || *last > feetech::kMaxServoId) {
      return std::nullopt;
    }
    for (int id = *first; id <= *last; ++id) {
      if (!repeated && std::find(ids.begin(), ids.end(), id) != ids.end()) {
        return std::nullopt;
      }
      ids.push_back(id);
    }
    start = comma + 1;
  }
  return ids;
}

}  // namespace so100_hardware::tools
