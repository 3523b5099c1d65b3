// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "so100_hardware/calibration_files.hpp"

namespace so100_hardware
{
namespace
{

namespace fs = std::filesystem;

Calibration arm(int gripper_max = 3486)
{
  return {{
    {"shoulder_pan", 1, 0, -1005, 755, 3327},
    {"shoulder_lift", 2, 0, 981, 823, 3082},
    {"elbow_flex", 3, 0, -2047, 861, 3066},
    {"wrist_flex", 4, 0, 0, 852, 3204},
    {"wrist_roll", 5, 0, 2047, 0, 4095},
    {"gripper", 6, 0, 1324, 2034, gripper_max},
  }};
}

std::string read(const fs::path & file)
{
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write(const fs::path & file, const std::string & text)
{
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

testing::AssertionResult contains(const std::string & text, const std::string & part)
{
  return text.find(part) != std::string::npos
           ? testing::AssertionSuccess()
           : testing::AssertionFailure() << "'" << part << "' is not in: " << text;
}

// A home folder of its own for each test, and no variable from outside.
class CalibrationFiles : public testing::Test
{
protected:
  void SetUp() override
  {
    std::string name = (fs::temp_directory_path() / "so100_calibration_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    home_ = name;
    for (const char * variable :
         {"HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME", "XDG_CACHE_HOME"}) {
      ::unsetenv(variable);
    }
    ::setenv("HOME", home_.c_str(), 1);
  }
  void TearDown() override { fs::remove_all(home_); }

  fs::path standard(const std::string & folder, const std::string & id) const
  {
    return home_ / ".cache/huggingface/lerobot/calibration/robots" / folder / (id + ".json");
  }

  fs::path home_;
};

TEST_F(CalibrationFiles, RootsFollowLeRobotsVariables)
{
  const fs::path standard = home_ / ".cache/huggingface/lerobot/calibration";
  EXPECT_EQ(calibration_roots(), std::vector<fs::path>{standard});
  ::setenv("XDG_CACHE_HOME", "/xdg", 1);
  ::setenv("HF_HOME", "/hf", 1);
  ::setenv("HF_LEROBOT_HOME", "~/robot", 1);
  ::setenv("HF_LEROBOT_CALIBRATION", "/arms", 1);
  EXPECT_EQ(
    calibration_roots(), (std::vector<fs::path>{
                           "/arms/", home_ / "robot/calibration", "/hf/lerobot/calibration",
                           "/xdg/huggingface/lerobot/calibration", standard}));
}

TEST_F(CalibrationFiles, FoundUnderOldAndNewNames)
{
  for (const char * folder : {"so100_follower", "so101_follower", "so_follower"}) {
    const std::string id = std::string("arm_of_") + folder;
    write(standard(folder, id), to_json(arm()));
    const LoadedCalibration loaded = find_calibration(id);
    ASSERT_TRUE(loaded.ok()) << loaded.problems.front();
    EXPECT_EQ(loaded.file, standard(folder, id));
    EXPECT_EQ(loaded.calibration, arm());
    EXPECT_TRUE(loaded.notes.empty());
    EXPECT_EQ(calibration_path(id), standard(folder, id));
  }
}

TEST_F(CalibrationFiles, NotFoundNamesAllPlaces)
{
  ::setenv("HF_LEROBOT_HOME", "/robot", 1);
  const LoadedCalibration loaded = find_calibration("blue");
  ASSERT_EQ(loaded.problems.size(), 1U);
  const std::string & line = loaded.problems.front();
  EXPECT_TRUE(contains(line, "no calibration 'blue' found; looked for "));
  for (const char * folder : {"so_follower", "so101_follower", "so100_follower"}) {
    EXPECT_TRUE(contains(line, standard(folder, "blue").string()));
    EXPECT_TRUE(contains(line, std::string("/robot/calibration/robots/") + folder + "/blue.json"));
  }
  EXPECT_TRUE(contains(line, "so100_calibrate"));
}

TEST_F(CalibrationFiles, TwiceWithTheSameValuesTakesTheNewestNameAndSaysSo)
{
  write(standard("so_follower", "blue"), to_json(arm()));
  write(standard("so100_follower", "blue"), to_json(arm()) + "\n");
  const LoadedCalibration loaded = find_calibration("blue");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.file, standard("so_follower", "blue"));
  ASSERT_EQ(loaded.notes.size(), 1U);
  EXPECT_TRUE(contains(loaded.notes.front(), "twice with the same values"));
}

TEST_F(CalibrationFiles, TwiceWithOtherValuesIsRefused)
{
  write(standard("so_follower", "blue"), to_json(arm()));
  write(standard("so101_follower", "blue"), to_json(arm(3000)));
  const LoadedCalibration loaded = find_calibration("blue");
  ASSERT_EQ(loaded.problems.size(), 1U);
  EXPECT_TRUE(contains(loaded.problems.front(), standard("so_follower", "blue").string()));
  EXPECT_TRUE(contains(loaded.problems.front(), standard("so101_follower", "blue").string()));
  EXPECT_TRUE(contains(loaded.problems.front(), "give the path"));
}

TEST_F(CalibrationFiles, TheVariableWinsOverTheHomeFolder)
{
  write(standard("so_follower", "blue"), to_json(arm()));
  const fs::path own = home_ / "own";
  write(own / "robots/so100_follower/blue.json", to_json(arm(3000)));
  ::setenv("HF_LEROBOT_CALIBRATION", own.c_str(), 1);
  const LoadedCalibration loaded = find_calibration("blue");
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.calibration, arm(3000));
}

TEST_F(CalibrationFiles, ByPath)
{
  write(home_ / "arm.json", to_json(arm()));
  EXPECT_TRUE(find_calibration((home_ / "arm.json").string()).ok());
  EXPECT_TRUE(find_calibration("~/arm.json").ok());

  const fs::path absent = home_ / "absent.json";
  EXPECT_EQ(
    find_calibration(absent.string()).problems,
    std::vector<std::string>{absent.string() + ": cannot be read: No such file or directory"});
  EXPECT_EQ(
    find_calibration(home_.string()).problems,
    std::vector<std::string>{home_.string() + ": is a folder; give the calibration file in it"});
  EXPECT_FALSE(find_calibration("").ok());
}

TEST_F(CalibrationFiles, NewOnesGoWhereLeRobotWouldPutThem)
{
  EXPECT_EQ(calibration_path("blue"), standard("so_follower", "blue"));
  ::setenv("HF_LEROBOT_HOME", "/robot", 1);
  EXPECT_EQ(calibration_path("blue"), fs::path("/robot/calibration/robots/so_follower/blue.json"));
  EXPECT_EQ(calibration_path("here.json"), fs::path("here.json"));
  EXPECT_EQ(calibration_path(""), std::nullopt);
  ::unsetenv("HF_LEROBOT_HOME");
  ::unsetenv("HOME");
  EXPECT_EQ(calibration_path("blue"), std::nullopt);
  EXPECT_TRUE(contains(find_calibration("blue").problems.front(), "HOME is not set"));
}

TEST_F(CalibrationFiles, SavesWholeAndKeepsTheOlderFile)
{
  const fs::path file = home_ / "new/folder/arm.json";
  const SavedCalibration first = save_calibration(file, arm());
  ASSERT_TRUE(first.ok()) << first.error;
  EXPECT_TRUE(first.backup.empty());
  EXPECT_EQ(read(file), to_json(arm()));

  // The same again changes nothing, so that the backup stays the last different one.
  ASSERT_TRUE(save_calibration(file, arm(3000)).ok());
  const SavedCalibration again = save_calibration(file, arm(3000));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again.backup.empty());
  EXPECT_EQ(read(file), to_json(arm(3000)));
  EXPECT_EQ(read(file.string() + ".bak"), to_json(arm()));

  const auto entries = std::distance(fs::directory_iterator(file.parent_path()), {});
  EXPECT_EQ(entries, 2) << "a temporary file was left";
}

TEST_F(CalibrationFiles, ALinkStaysALink)
{
  write(home_ / "real.json", "old");
  fs::create_symlink(home_ / "real.json", home_ / "link.json");
  ASSERT_TRUE(save_calibration(home_ / "link.json", arm()).ok());
  EXPECT_TRUE(fs::is_symlink(home_ / "link.json"));
  EXPECT_EQ(read(home_ / "real.json"), to_json(arm()));
  EXPECT_EQ(read(home_ / "real.json.bak"), "old");
}

TEST_F(CalibrationFiles, AFailedSaveLeavesTheOldFile)
{
  const fs::path file = home_ / "arm.json";
  write(file, "old");
  Calibration broken = arm();
  broken.joints[2].range_min = 4000;
  EXPECT_TRUE(contains(save_calibration(file, broken).error, "not written: joint 'elbow_flex'"));
  EXPECT_EQ(read(file), "old");
  EXPECT_FALSE(fs::exists(file.string() + ".bak"));

  // A folder in the way of the backup.
  fs::create_directories(file.string() + ".bak/x");
  const SavedCalibration saved = save_calibration(file, arm());
  EXPECT_TRUE(contains(saved.error, "cannot be written"));
  EXPECT_EQ(read(file), "old");

  write(home_ / "plain", "");
  EXPECT_TRUE(contains(save_calibration(home_ / "plain/arm.json", arm()).error, "plain"));
}

}  // namespace
}  // namespace so100_hardware
