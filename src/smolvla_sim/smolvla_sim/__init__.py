# SPDX-License-Identifier: Apache-2.0
"""A MuJoCo simulation of the SO-100 and SO-101 arms with cameras, tasks and an expert.

`env.SmolVLASimEnv` is a Gymnasium environment without ROS; `sim_node` speaks the topics of
the real arm; `scripted_backend` lets the scripted expert act as a policy.
"""
