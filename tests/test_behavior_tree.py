# SPDX-License-Identifier: Apache-2.0
"""The leaf of docs/examples in a tree of py_trees, with real nodes behind it."""

import importlib.util
from pathlib import Path

import pytest
from node_rig import SUCCESS
from py_trees.common import Status
from py_trees.composites import Selector, Sequence
from py_trees.decorators import Timeout
from py_trees.trees import BehaviourTree
from smolvla_executor.plan_node.node import PlanNode
from std_msgs.msg import Bool

from smolvla_msgs.action import RunPlan, RunTask
from smolvla_msgs.msg import ExecutorStatus, PlanStep

FILE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "run_task_leaf.py"


@pytest.fixture(scope="module")
def leaf_class():
    spec = importlib.util.spec_from_file_location("run_task_leaf", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.GoalLeaf


class Forest:
    """Makes leaves, ticks trees, and says when a task is done."""

    def __init__(self, graph, leaf_class):
        self.graph = graph
        self._leaf_class = leaf_class
        self._leaves = []
        self._done = graph.node.create_publisher(Bool, "done", 10)

    def leaf(self, sentence, time_limit=0.0):
        goal = RunTask.Goal(instruction=sentence, time_limit=time_limit)
        return self._leaf(sentence, RunTask, "smolvla/run_task", goal)

    def plan(self, *sentences):
        goal = RunPlan.Goal(steps=[PlanStep(instruction=one) for one in sentences])
        return self._leaf("plan", RunPlan, "smolvla/run_plan", goal)

    def _leaf(self, *arguments):
        name, action, topic, goal = arguments
        self._leaves.append(self._leaf_class(name, self.graph.node, action, topic, goal))
        return self._leaves[-1]

    def tick_until(self, tree, condition, what=""):
        def ticked():
            tree.tick()
            return condition()

        self.graph.until(ticked, what=what)

    def judge(self):
        self.graph.until(lambda: self._done.get_subscription_count() > 0)
        for verdict in (False, True):
            self._done.publish(Bool(data=verdict))

    def close(self):
        for leaf in self._leaves:
            leaf.shutdown()


@pytest.fixture
def robot(make_robot):
    return make_robot(wait_for_start=True, success_topic="done", instruction="")


@pytest.fixture
def forest(graph, robot, leaf_class):
    forest = Forest(graph, leaf_class)
    yield forest
    forest.close()


def moving(robot, sentence):
    return lambda: robot.status.chunk_instruction == sentence and robot.status.tick > 2


def test_a_sequence_does_one_sentence_after_the_other(robot, forest):
    root = Sequence("tidy up", memory=True)
    root.add_children([forest.leaf("pick up the cup"), forest.leaf("wipe the table")])
    tree = BehaviourTree(root)
    forest.tick_until(tree, moving(robot, "pick up the cup"), "the first leaf")
    assert root.status == Status.RUNNING
    forest.judge()
    forest.tick_until(tree, moving(robot, "wipe the table"), "the second leaf")
    forest.judge()
    forest.tick_until(tree, lambda: root.status == Status.SUCCESS, "the end")
    assert "said so" in root.children[1].feedback_message


def test_what_fails_lets_the_tree_do_something_else(robot, forest):
    root = Selector("either", memory=True)
    root.add_children([forest.leaf("thread the needle", 0.3), forest.leaf("wipe the table")])
    tree = BehaviourTree(root)
    forest.tick_until(tree, moving(robot, "wipe the table"), "the other leaf")
    assert "0.3 s" in root.children[0].feedback_message
    root.stop(Status.INVALID)


def test_a_rejected_goal_is_a_failure(forest):
    leaf = forest.leaf(" ")
    tree = BehaviourTree(leaf)
    forest.tick_until(tree, lambda: leaf.status == Status.FAILURE, "the failure")
    assert "rejected" in leaf.feedback_message


@pytest.mark.parametrize("by", ["the tree", "a timeout"])
def test_an_interrupted_leaf_stops_the_arm(graph, robot, forest, by):
    leaf = forest.leaf("pick up the cup")
    tree = BehaviourTree(leaf if by == "the tree" else Timeout("limit", leaf, duration=1.0))
    forest.tick_until(tree, moving(robot, "pick up the cup"), "motion")
    if by == "the tree":
        tree.root.stop(Status.INVALID)
        assert leaf.status == Status.INVALID
    else:
        forest.tick_until(tree, lambda: tree.root.status == Status.FAILURE, "the timeout")
    graph.until(robot.state(ExecutorStatus.IDLE), what="rest")
    assert "canceled" in robot.status.reason


def test_a_leaf_runs_a_whole_plan(graph, robot, forest):
    planner = graph.add(PlanNode(context=graph.context))
    assert planner.trigger_configure() == planner.trigger_activate() == SUCCESS
    leaf = forest.plan("pick up the cup", "wipe the table")
    tree = BehaviourTree(leaf)
    for sentence in ("pick up the cup", "wipe the table"):
        forest.tick_until(tree, moving(robot, sentence), sentence)
        forest.judge()
    forest.tick_until(tree, lambda: leaf.status == Status.SUCCESS, "the end")
    assert leaf.feedback_message == "all 2 steps are done"
