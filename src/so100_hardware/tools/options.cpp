// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <numeric>
#include <utility>

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

}  // namespace

Options::Options(std::string program, std::string summary, std::string notes)
: program_(std::move(program)), summary_(std::move(summary)), notes_(std::move(notes))
{
}

void Options::flag(const char * name, bool & target, const char * help)
{
  options_.push_back({name, "", help, [&target](const std::string &) {
                        target = true;
                        return std::string();
                      }});
}

void Options::text(
  const char * name, const char * argument, std::string & target, const char * help)
{
  options_.push_back({name, argument, help, [&target, name](const std::string & value) {
                        target = value;
                        return value.empty() ? std::string(name) + " is empty" : std::string();
                      }});
}

void Options::number(
  const char * name, const char * argument, int & target, int lowest, int highest,
  const char * help)
{
  options_.push_back({name, argument, help, [=, &target](const std::string & value) {
                        const auto number = parse_number(value);
                        if (!number || *number < lowest || *number > highest) {
                          return std::string(name) + " must be a whole number from " +
                                 std::to_string(lowest) + " to " + std::to_string(highest) +
                                 ", but is '" + value + "'";
                        }
                        target = *number;
                        return std::string();
                      }});
}

std::optional<int> Options::parse(int argc, char ** argv) const
{
  bool help = false;
  const std::string problem = apply({argv + 1, argv + argc}, help);
  if (help) {
    std::fputs(usage().c_str(), stdout);
    return kOk;
  }
  if (!problem.empty()) {
    return fail(problem + " (see --help)");
  }
  return std::nullopt;
}

std::string Options::apply(const std::vector<std::string> & arguments, bool & help) const
{
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    if (name == "--help" || name == "-h") {
      help = true;
      return "";
    }
    std::optional<std::string> value;
    const std::size_t equals = name.find('=');
    if (equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto option = std::find_if(
      options_.begin(), options_.end(), [&name](const Option & o) { return o.name == name; });
    if (option == options_.end()) {
      std::string meant;
      std::size_t least = kTypingErrors + 1;
      for (const Option & known : options_) {
        if (const std::size_t far = distance(name, known.name); far < least) {
          least = far;
          meant = "; did you mean '" + std::string(known.name) + "'?";
        }
      }
      return "unknown argument '" + arguments[i] + "'" + meant;
    }
    if (option->argument.empty()) {
      if (value) {
        return name + " takes no value";
      }
    } else if (!value) {
      if (i + 1 == arguments.size()) {
        return name + " needs a value (" + option->argument + ")";
      }
      value = arguments[++i];
    }
    const std::string problem = option->set(value.value_or(""));
    if (!problem.empty()) {
      return problem;
    }
  }
  return "";
}

std::string Options::usage() const
{
  std::vector<std::pair<std::string, std::string>> rows;
  std::size_t width = 0;
  for (const Option & option : options_) {
    rows.emplace_back(
      option.argument.empty() ? option.name : option.name + " " + option.argument, option.help);
  }
  rows.emplace_back("--help", "this text");
  for (const auto & [left, right] : rows) {
    width = std::max(width, left.size());
  }
  std::string text = "Usage: " + program_ + " [options]\n\n" + summary_ + "\n\nOptions:\n";
  for (const auto & [left, right] : rows) {
    std::string help = right;
    // Further lines of a help text start under the first.
    for (std::size_t at = help.find('\n'); at != std::string::npos; at = help.find('\n', at + 1)) {
      help.insert(at + 1, width + 4, ' ');
    }
    text += "  " + left + std::string(width - left.size() + 2, ' ') + help + "\n";
  }
  return text + (notes_.empty() ? "" : "\n" + notes_ + "\n");
}

int Options::fail(const std::string & message) const
{
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", program_.c_str(), message.c_str());
  return kCouldNot;
}

std::optional<int> parse_number(const std::string & text)
{
  int value = 0;
  const char * end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end ? std::optional(value) : std::nullopt;
}

std::optional<std::vector<int>> parse_ids(const std::string & text)
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
      if (std::find(ids.begin(), ids.end(), id) != ids.end()) {
        return std::nullopt;
      }
      ids.push_back(id);
    }
    start = comma + 1;
  }
  return ids;
}

}  // namespace so100_hardware::tools
