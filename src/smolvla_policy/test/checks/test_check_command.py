# SPDX-License-Identifier: Apache-2.0
"""The program: parameters as the nodes', real topics, table and exit code."""

import json

import pytest
from robot_files import robot_file
from sensor_msgs.msg import CompressedImage
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_policy.checkpoint.robot import RobotFacts, write_robot
from smolvla_policy.checks import listener

from smolvla_policy import check


def run(capsys, folder, *arguments):
    """Run the program; return its exit code and its rows by name."""
    given = ["--checkpoint", str(folder), "--device", "cpu", "--json", "-", *arguments]
    code = check.main(given)
    output = json.loads(capsys.readouterr().out)
    assert output["exit_code"] == code
    return code, {row["check"]: row for row in output["rows"]}


def listen(capsys, folder, *arguments):
    return run(capsys, folder, "--no-speed", "--seconds", "0.8", *arguments)


@pytest.fixture
def impatient(monkeypatch):
    """Where something stays silent all of the patience passes."""
    monkeypatch.setattr(listener, "PATIENCE", 5.0)


def test_offline_it_checks_all_but_the_robot(capsys, folder):
    code, rows = run(
        capsys,
        folder,
        *("--offline", "--task", "pick it up"),
        *("--ros-args", "-p", "period:=0.2", "-p", "threads:=1"),
    )
    assert rows["robot"]["status"] == "skipped"
    assert rows["instruction"]["status"] == "ok"
    assert "actions of 200 ms" in rows["latency"]["found"]
    assert "chunk_size_threshold is 0.3 (chosen)" in rows["g"]["found"]
    assert code == 0


def test_a_sentence_that_the_checkpoint_never_learned(capsys, folder):
    write_robot(folder, RobotFacts(tasks=("stir the soup", "salt the soup")))
    asked = ("--offline", "--no-speed", "--task")
    code, rows = run(capsys, folder, *asked, "stir a soup")
    assert (code, rows["instruction"]["status"]) == (0, "warn")
    assert "'stir the soup'" in rows["instruction"]["found"]
    assert run(capsys, folder, *asked, "salt the soup")[1]["instruction"]["status"] == "ok"


def test_a_robot_that_fits(capsys, folder, robot):
    robot.complete().start()
    code, rows = listen(capsys, folder)
    assert code == 0, rows
    good = ("camera top", "camera wrist", "camera side", "joint states", "joint limits", "pose")
    assert {rows[name]["status"] for name in good} == {"ok"}
    assert rows["observation"]["status"] == "ok"
    assert "/camera/top/image_raw for observation.images.top: 64x48" in rows["camera top"]["found"]


def test_a_robot_that_is_discovered_late_is_found(capsys, folder, robot):
    robot.complete().start(after=1.0)  # longer than it is listened to
    code, rows = listen(capsys, folder)
    assert code == 0, rows


def test_no_robot(capsys, folder, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0.2)
    code, rows = run(capsys, folder, "--no-speed", "--seconds", "0.2")
    assert code == 1
    assert "no /joint_states and no image received in 0.2 s" in rows["robot"]["found"]
    assert "camera top" not in rows


def test_one_camera_nobody_publishes_one_is_of_another_type_one_unreadable(
    capsys, folder, robot, impatient
):
    robot.camera("top", kind=CompressedImage).camera("wrist", encoding="yuv444")
    robot.camera("x", topic="front/image_raw").joints().start()
    code, rows = listen(capsys, folder)
    assert code == 1
    assert "is sensor_msgs/msg/CompressedImage, not" in rows["camera top"]["found"]
    assert "'yuv444'" in rows["camera wrist"]["found"]
    assert rows["camera side"]["found"] == "nobody publishes /camera/side/image_raw"
    assert "/front/image_raw" in rows["camera side"]["advice"]
    assert rows["joint states"]["status"] == "ok"
    assert "observation" not in rows


def test_depth_instead_of_color_and_a_gray_camera(capsys, folder, robot):
    robot.camera("top", encoding="16UC1").camera("wrist", encoding="mono8").camera("side")
    robot.joints().start()
    code, rows = listen(capsys, folder)
    assert code == 1
    assert rows["camera top"]["status"] == "fix"
    assert rows["camera top"]["found"].startswith("/camera/top/image_raw: encoding '16UC1'")
    assert rows["camera wrist"]["status"] == "warn"
    assert "the pictures are gray" in rows["camera wrist"]["advice"]
    assert rows["camera side"]["status"] == "ok"


def test_a_silent_camera_a_joint_that_is_not_there_and_clocks_that_differ(
    capsys, folder, robot, impatient
):
    robot.names = [*robot.names[:5], "claw"]
    robot.stamp_offset_ns = -3 * 10**9
    robot.camera("top").camera("wrist", rate=0).camera("side").joints().start()
    code, rows = listen(capsys, folder)
    assert code == 1
    assert "no gripper among the joints" in rows["joint states"]["found"]
    assert "synchronize the machines' clocks" in rows["camera top"]["advice"]
    assert "no image arrived in 0.8 s" in rows["camera wrist"]["found"]
    assert "pose" not in rows


def test_a_pose_in_other_units_and_beyond_the_limits(capsys, folder, robot):
    robot.positions = [1.95, 0.2, 0.3, -0.4, -0.2, 0.4]
    robot.complete().start()
    code, rows = listen(capsys, folder)
    assert code == 1
    assert rows["joint limits"]["status"] == "warn"
    assert rows["pose"]["status"] == "fix"


def test_topics_and_limits_come_from_parameter_files(capsys, folder, robot, tmp_path):
    robot.joints()
    for name in ("top", "wrist", "side"):
        robot.camera(name, topic=f"cams/{name}")
    robot.start()
    file = tmp_path / "parameters.yaml"
    cameras = [{"name": name, "topic": f"cams/{name}"} for name in ("top", "wrist", "side")]
    arm = robot_file(LEROBOT_JOINTS, (0.5, -1, -1, -1, -1, -1), 1.0, cameras=cameras)
    file.write_text(f"policy_node:\n  ros__parameters:\n    robot: {arm}\n")
    code, rows = listen(capsys, folder, "--params-file", str(file))
    assert code == 0
    assert rows["camera top"]["found"].startswith("/cams/top for")
    assert "shoulder_pan stands at 0.100 rad" in rows["joint limits"]["found"]


def test_what_the_checkpoint_lacks_ends_the_check_early(capsys, folder):
    code, rows = run(capsys, folder, "--offline", "--robot", robot_file())
    assert code == 1
    assert "has 2 joints" in rows["joints"]["found"]
    assert "latency" not in rows
    (folder / "model.safetensors").unlink()
    code, rows = run(capsys, folder, "--offline")
    assert (code, list(rows)) == (1, ["checkpoint"])


def test_the_table_for_people(capsys, folder):
    assert check.main(["--checkpoint", str(folder), "--offline", "--no-speed"]) == 0
    text = capsys.readouterr().out
    assert "ok    units " in text
    assert text.endswith("Ready; worth a look: period.\n")


def test_the_period_that_is_taken_and_why(capsys, folder):
    _, rows = run(capsys, folder, "--offline", "--no-speed")
    assert rows["period"]["status"] == "warn"
    assert "0.03333 s (30 Hz), a guess" in rows["period"]["found"]
    write_robot(folder, RobotFacts(fps=12.0, joints=tuple("abcdef")))
    _, rows = run(capsys, folder, "--offline", "--no-speed")
    assert rows["period"]["status"] == "ok"
    assert "12 Hz" in rows["period"]["found"]
    assert rows["joints"]["status"] == "warn"
    code, rows = run(capsys, folder, "--offline", "--no-speed", "--robot", robot_file("fedcba"))
    assert code == 0
    assert rows["joints"]["found"] == "a, b, c, d, e, f: the checkpoint's order"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ros-args", "-p", "period:=soon"], "period"),
        (["--ros-args", "-p", "period:=7.0"], "period"),
        (["--params-file", "/nowhere.yaml"], "nowhere.yaml"),
        (["--ros-args", "-p", "max_sped:=[1.0]"], "did you mean 'max_speed'?"),
        (["--ros-args", "-p", "backend:=scripted"], "only checkpoints of 'smolvla'"),
    ],
)
def test_bad_usage_is_2(capsys, arguments, message):
    assert check.main(["--offline", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--seconds", "0"], ["--checkpiont", "x"], ["--robot"], ["--dtype", "int3"]]
)
def test_options_that_do_not_exist_are_2(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        check.main(arguments)
    assert end.value.code == 2


def test_the_joints_of_earlier_versions_stand_in_the_robot_file(capsys):
    with pytest.raises(SystemExit) as end:
        check.main(["--checkpoint", "x", "--joints", "a", "b"])
    assert end.value.code == 2
    assert "--joints stands in the robot file now, as joints: --robot" in capsys.readouterr().err


def test_without_a_checkpoint_the_table_says_so_and_a_file_gets_the_same(tmp_path, capsys):
    report = tmp_path / "new" / "check.json"
    assert check.main(["--offline", "--json", str(report)]) == 1
    assert "give --checkpoint" in capsys.readouterr().out
    assert json.loads(report.read_text())["exit_code"] == 1
