// SPDX-License-Identifier: Apache-2.0
#include "so100_hardware/calibration_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "calibration_rules.hpp"

namespace so100_hardware
{
namespace
{

namespace fs = std::filesystem;

std::string environment(const char * name)
{
  const char * value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path expanded(const std::string & path)
{
  if (path == "~" || path.rfind("~/", 0) == 0) {
    return fs::path(environment("HOME") + path.substr(1));
  }
  return path;
}

bool is_path(const std::string & id_or_path)
{
  const std::string suffix = ".json";
  return id_or_path.find('/') != std::string::npos ||
         (id_or_path.size() >= suffix.size() &&
          id_or_path.compare(id_or_path.size() - suffix.size(), suffix.size(), suffix) == 0);
}

// The places of an id, root by root.
std::vector<std::vector<fs::path>> places(const std::string & id)
{
  std::vector<std::vector<fs::path>> all;
  for (const fs::path & root : calibration_roots()) {
    all.emplace_back();
    for (const auto & folder : calibration_rules()["folders"]) {
      all.back().push_back(root / "robots" / folder.get<std::string>() / (id + ".json"));
    }
  }
  return all;
}

std::vector<fs::path> existing(const std::vector<fs::path> & files)
{
  std::vector<fs::path> found;
  std::error_code error;
  std::copy_if(files.begin(), files.end(), std::back_inserter(found), [&error](const auto & file) {
    return fs::exists(file, error);
  });
  return found;
}

std::optional<std::string> read_text(const fs::path & file)
{
  std::ifstream stream(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  return stream.is_open() && !stream.bad() ? std::optional(std::move(text)) : std::nullopt;
}

std::string reason(int error) { return std::generic_category().message(error); }

// Writes a new file and waits until it is on the disk. Returns an error or an empty text.
std::string write_new(const fs::path & file, const std::string & text)
{
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    return file.string() + ": cannot be written: " + reason(errno);
  }
  std::size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    const ssize_t count = ::write(descriptor, text.data() + done, text.size() - done);
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (error == 0 && ::fsync(descriptor) != 0) {
    error = errno;
  }
  if (::close(descriptor) != 0 && error == 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(file.c_str());
    return file.string() + ": cannot be written: " + reason(error);
  }
  return "";
}

// Puts a text at a path in one step, whatever was there.
std::string replace(const fs::path & file, const std::string & text)
{
  const fs::path temporary = file.string() + ".tmp" + std::to_string(::getpid());
  std::string error = write_new(temporary, text);
  if (error.empty() && ::rename(temporary.c_str(), file.c_str()) != 0) {
    error = file.string() + ": cannot be written: " + reason(errno);
    ::unlink(temporary.c_str());
  }
  // The rename itself reaches the disk with its folder; without, only the old file would survive
  // a power cut, which is no loss of data, so an error here is none.
  const int folder = ::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return error;
}

}  // namespace

std::vector<fs::path> calibration_roots()
{
  std::vector<fs::path> roots;
  for (const auto & place : calibration_rules()["roots"]) {
    const std::string base = environment(place[0].get<std::string>().c_str());
    const fs::path root = (expanded(base) / place[1].get<std::string>()).lexically_normal();
    if (!base.empty() && std::find(roots.begin(), roots.end(), root) == roots.end()) {
      roots.push_back(root);
    }
  }
  return roots;
}

LoadedCalibration find_calibration(
  const std::string & id_or_path, const std::vector<std::string> & joints)
{
  if (is_path(id_or_path)) {
    return load_calibration(expanded(id_or_path), joints);
  }
  LoadedCalibration result;
  if (id_or_path.empty()) {
    result.problems.push_back(message("empty_id"));
    return result;
  }
  std::string searched;
  const auto roots = places(id_or_path);
  for (std::size_t i = 0; i < roots.size(); ++i) {
    const std::vector<fs::path> found = existing(roots[i]);
    if (found.empty()) {
      for (const fs::path & file : roots[i]) {
        searched += (searched.empty() ? "" : ", ") + file.string();
      }
      continue;
    }
    result = load_calibration(found.front(), joints);
    for (std::size_t k = 1; k < found.size() && result.ok(); ++k) {
      std::error_code error;
      if (fs::equivalent(found.front(), found[k], error)) {
        continue;  // a link
      }
      const Fields both{
        {"name", id_or_path}, {"first", found.front().string()}, {"second", found[k].string()}};
      const LoadedCalibration other = load_calibration(found[k], joints);
      if (!other.ok() || other.calibration != result.calibration) {
        result.problems.push_back(message("differs", both));
        return result;
      }
      result.notes.push_back(message("same", both));
    }
    return result;
  }
  result.problems.push_back(message(
    "not_found",
    {{"name", id_or_path}, {"places", searched.empty() ? message("nowhere") : searched}}));
  return result;
}

std::optional<fs::path> calibration_path(const std::string & id_or_path)
{
  if (is_path(id_or_path)) {
    return expanded(id_or_path);
  }
  const auto roots = places(id_or_path);
  if (id_or_path.empty() || roots.empty()) {
    return std::nullopt;
  }
  for (const auto & files : roots) {
    const std::vector<fs::path> found = existing(files);
    if (!found.empty()) {
      return found.front();
    }
  }
  return roots.front().front();
}

SavedCalibration save_calibration(
  const fs::path & file, const Calibration & calibration, const std::vector<std::string> & joints)
{
  SavedCalibration result;
  const std::vector<std::string> problems = calibration_problems(calibration, joints);
  if (!problems.empty()) {
    result.error = file.string() + ": not written: " + problems.front();
    return result;
  }
  std::error_code error;
  // A link stays a link: the file that it points to is replaced.
  const fs::path target = fs::weakly_canonical(fs::absolute(file, error), error);
  if (error || target.empty()) {
    result.error = file.string() + ": cannot be written: " + error.message();
    return result;
  }
  fs::create_directories(target.parent_path(), error);
  if (error) {
    result.error = target.parent_path().string() + ": cannot be made: " + error.message();
    return result;
  }
  result.file = target;
  const std::string text = to_json(calibration);
  if (fs::exists(target, error)) {
    const auto old = read_text(target);
    if (!old) {
      result.error = target.string() + ": cannot be read, so it is not replaced: " + reason(errno);
      return result;
    }
    if (*old == text) {
      return result;  // and an older .bak stays worth something
    }
    const fs::path backup = target.string() + ".bak";
    result.error = replace(backup, *old);
    if (!result.ok()) {
      return result;
    }
    result.backup = backup;
  }
  result.error = replace(target, text);
  return result;
}

}  // namespace so100_hardware
