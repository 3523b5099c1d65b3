# SPDX-License-Identifier: Apache-2.0
"""RViz's display file shows what the nodes publish, with qualities of service that match."""

from pathlib import Path

import pytest
import yaml
from smolvla_core.ros import qos
from smolvla_executor.visualization_node import markers

FILE = Path(__file__).parents[1] / "src/smolvla_description/rviz/so100.rviz"
CONTENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
DISPLAYS = {d["Name"]: d for d in CONTENT["Visualization Manager"]["Displays"]}


def topic(display):
    return display.get("Topic") or display["Description Topic"]


WITH_TOPIC = {n: d for n, d in DISPLAYS.items() if "Topic" in d or "Description Topic" in d}


@pytest.mark.parametrize("name", sorted(WITH_TOPIC))
def test_the_qualities_of_service_match_the_publishers(name):
    display = WITH_TOPIC[name]
    profile = {
        "RobotModel": qos.description_qos,
        "MarkerArray": qos.scene_qos,
        "Image": qos.image_qos,
    }[display["Class"].rpartition("/")[2]]()
    settings = topic(display)
    assert settings["Reliability Policy"].replace(" ", "_").upper() == profile.reliability.name
    assert settings["Durability Policy"].replace(" ", "_").upper() == profile.durability.name


def test_topics_are_relative_so_that_a_namespace_applies():
    assert not [d for d in WITH_TOPIC.values() if topic(d)["Value"].startswith("/")]


def test_each_part_of_the_path_can_be_switched_off():
    parts = {
        markers.AHEAD,
        markers.EXECUTED,
        markers.REPLACED,
        markers.SEAM,
        markers.SEAM_TEXT,
    }
    assert set(DISPLAYS["Predicted path"]["Namespaces"]) == parts
