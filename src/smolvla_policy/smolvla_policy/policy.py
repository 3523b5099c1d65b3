# SPDX-License-Identifier: Apache-2.0
"""The public class: a SmolVLA checkpoint that turns observations into actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig, read_config
from smolvla_policy.checkpoint.contents import constant_remarks, settle, weights_file
from smolvla_policy.checkpoint.processors import Processors, read_processors
from smolvla_policy.checkpoint.robot import RobotFacts, robot_of, write_robot
from smolvla_policy.checkpoint.save import save_checkpoint
from smolvla_policy.checkpoint.source import find_checkpoint, source_remarks
from smolvla_policy.checkpoint.statistics import Statistics
from smolvla_policy.checkpoint.tensor_file import TensorFile
from smolvla_policy.checkpoint.text import (
    FAKE_IMAGE_TOKEN,
    GLOBAL_IMAGE_TOKEN,
    InstructionTokenizer,
    find_tokenizer,
)
from smolvla_policy.checkpoint.vlm import model_sizes, read_vlm_config, vlm_dtype
from smolvla_policy.checkpoint.weights import LoadReport, load_weights
from smolvla_policy.model.engine import Engine
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.precision import choose_device, choose_precision
from smolvla_policy.preprocess import (
    Floats,
    Images,
    ObservationEncoder,
    expected_cameras,
    make_normalizers,
)

Adaptation = Callable[[SmolVLAConfig, Processors], tuple[SmolVLAConfig, Processors]]


class SmolVLAPolicy:
    """A checkpoint with everything around it: images in, actions in the robot's units out.

    Made by `from_pretrained`. One object serves one thread at a time.

    Attributes:
        config: what the checkpoint says about itself.
        cameras: feature names of the cameras that it expects, in the network's order: those
            that it was trained with, as far as its files tell. Fewer may be given.
        state_dim: numbers in the state.
        action_dim: numbers in an action.
        chunk_size: actions in a chunk.
        joint_names: names of the action's dimensions, None if the checkpoint has none.
        tokenizer: of the instructions.
        load_report: what happened while loading.
        network: the weights.
        normalizers: feature name -> normalizer.
        statistics: the statistics in force.
        processors: settings of the pre- and post-processing in force.
        robot: what the checkpoint says beyond LeRobot's files; saved with it.
    """

    def __init__(
        self,
        network: SmolVLANetwork,
        config: SmolVLAConfig,
        processors: Processors,
        tokenizer: InstructionTokenizer,
        statistics: Statistics,
        load_report: LoadReport,
    ) -> None:
        self.network = network
        self.config = config
        self.processors = processors
        self.tokenizer = tokenizer
        self.statistics = statistics
        self.load_report = load_report
        self.robot = RobotFacts()
        self.cameras = expected_cameras(config, processors)
        self.state_dim = config.state_dim
        self.action_dim = config.action_dim
        self.chunk_size = int(config.chunk_size)
        self.joint_names = config.outputs[ACTION].names
        self.normalizers = make_normalizers(config, processors, statistics)
        start: tuple[int, ...] = ()
        end: tuple[int, ...] = ()
        if config.add_image_special_tokens:
            end = (tokenizer.token_id(FAKE_IMAGE_TOKEN),)
            start = (*end, tokenizer.token_id(GLOBAL_IMAGE_TOKEN))
        self._encoder = ObservationEncoder(
            config, processors, tokenizer, self.normalizers, network.sizes
        )
        self._engine = Engine(
            network,
            side=config.image_side or network.sizes.vision.image,
            resize=config.image_side is not None,
            image_start=start,
            image_end=end,
        )

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo_id: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        tokenizer: str | Path | None = None,
        stats: str | Path | Mapping[str, Any] | None = None,
        revision: str | None = None,
        adapt: Adaptation | None = None,
    ) -> SmolVLAPolicy:
        """Load a checkpoint.

        Args:
            path_or_repo_id: folder of a checkpoint, output folder of a LeRobot training, or a
                hub id. Checkpoints of all versions of LeRobot are read, LoRA adapters are
                merged, pickles are refused.
            device: ``cpu``, ``cuda``, ``cuda:0``, ``mps`` or ``auto``.
            dtype: ``float32``, ``bfloat16`` (the mix of released checkpoints), or None or
                ``auto``: what LeRobot would run.
            tokenizer: folder, ``tokenizer.json`` or hub id instead of the checkpoint's own.
            stats: statistics instead of the checkpoint's own: name of a set in the
                checkpoint (``so100``, ``so100,state=action``, ``so100,state=identity``), a
                dataset's folder or ``meta/stats.json``, or a mapping of that form.
            revision: branch, tag or commit on the hub.
            adapt: changes configuration and processors before anything is made from them, as a
                training does that goes on from another robot's checkpoint.

        Returns:
            The policy, ready to predict.

        Raises:
            CheckpointError: the checkpoint cannot be used; the text says why and what to do.
            ValueError: `device` or `dtype` cannot be had.
        """
        chosen_device = choose_device(device)
        folder = find_checkpoint(path_or_repo_id, revision)
        config = read_config(folder)
        processors = read_processors(folder, config)
        if adapt is not None:
            config, processors = adapt(config, processors)
        text = find_tokenizer(folder, config, processors, tokenizer)
        with TensorFile(weights_file(folder, config)) as file:
            vlm = read_vlm_config(config, folder, file)
            precision = choose_precision(
                dtype,
                chosen_device,
                load_vlm_weights=bool(config.load_vlm_weights),
                vlm_dtype=vlm_dtype(vlm),
            )
            sizes = model_sizes(config, vlm, str(folder))
            config, processors, statistics, remarks = settle(
                config, processors, file, stats, str(folder)
            )
            normalizers = make_normalizers(config, processors, statistics)
            robot, about_robot = robot_of(folder, config.action_dim)
            network = SmolVLANetwork(sizes, precision)
            report = load_weights(network, folder, file, chosen_device)
        report = replace(
            report,
            unknown_fields=config.unknown,
            statistics="checkpoint" if stats is None else str(stats)[:200],
            remarks=(
                *source_remarks(path_or_repo_id, folder),
                *remarks,
                *about_robot,
                *(f"{k}: {v}" for k, v in constant_remarks(config, normalizers).items()),
            ),
        )
        policy = cls(network, config, processors, text, statistics, report)
        policy.robot = robot
        return policy

    @property
    def image_tokens_around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids before and behind every image; empty for most checkpoints."""
        return self._engine.image_start, self._engine.image_end

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.network.device

    @property
    def dtype(self) -> str:
        """Number type in words, ``float32`` or ``bfloat16`` with what differs from it."""
        return self.network.precision.name

    @property
    def num_parameters(self) -> int:
        """Weights in memory; the checkpoint's unused ``lm_head`` is not among them."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def stage_times(self) -> dict[str, float]:
        """Seconds of the stages of the latest chunk: images, prefix, steps, total."""
        return dict(self._engine.stage_times)

    @property
    def profile(self) -> bool:
        """Whether each stage waits for the GPU, which makes `stage_times` exact there."""
        return self._engine.profile

    @profile.setter
    def profile(self, value: bool) -> None:
        self._engine.profile = value

    def predict_chunk(
        self,
        images: Images,
        state: Floats,
        task: str,
        noise: Floats | None = None,
        *,
        decided: Floats | None = None,
        delay: int = 0,
    ) -> Floats:
        """Predict the next actions.

        Args:
            images: camera -> uint8 (height, width, 3) RGB of any size. Cameras go by their
                feature name, by a name that the checkpoint's ``rename_map`` knows, or by the
                last part of the feature name (``top``) where that is clear. As in LeRobot, a
                camera that is not given is left out; at least one must be there.
            state: (state_dim,) in the checkpoint's own units.
            task: the instruction.
            noise: (chunk_size, max_action_dim) standard normal; the same noise gives the same
                actions. Drawn afresh if None.
            decided: (rows, action_dim) actions in the checkpoint's own units that are queued
                for the ticks of the chunk's first rows. The chunk continues them (real-time
                chunking, see `model.guidance`). None: it is drawn freely.
            delay: so many of the decided rows will have been executed when the chunk arrives.

        Returns:
            (chunk_size, action_dim) float32 in the checkpoint's own units.

        Raises:
            ValueError: no camera is given or one is unknown, a shape or type is wrong, the state
                holds NaN, or the instruction is empty.
        """
        arrays = {name: np.asarray(image) for name, image in images.items()}
        for name, image in arrays.items():
            if image.ndim != 3:
                raise ValueError(
                    f"image of camera {name!r} has shape {image.shape}, "
                    "expected (height, width, 3)"
                )
        return self.predict_batch(
            {name: image[None] for name, image in arrays.items()},
            np.asarray(state)[None],
            [task],
            None if noise is None else np.asarray(noise)[None],
            decided=None if decided is None else np.asarray(decided)[None],
            delay=delay,
        )[0]

    def predict_batch(
        self,
        images: Images,
        states: Floats,
        tasks: Sequence[str],
        noise: Floats | None = None,
        *,
        decided: Floats | None = None,
        delay: int = 0,
    ) -> Floats:
        """Predict actions for several observations at once; see `predict_chunk`.

        Args:
            images: camera -> uint8 (batch, height, width, 3).
            states: (batch, state_dim).
            tasks: one instruction per observation.
            noise: (batch, chunk_size, max_action_dim), or None.
            decided: (batch, rows, action_dim), or None.
            delay: the same for all.

        Returns:
            (batch, chunk_size, action_dim) float32 in the checkpoint's own units.

        Raises:
            ValueError: see `predict_chunk`.
        """
        inputs = self._encoder.encode(images, states, tasks, noise, decided, delay)
        actions = self._engine.run(inputs)[:, :, : self.action_dim]
        if not np.isfinite(actions).all():
            raise ValueError(
                f"the network of {self.load_report.folder} produced NaN or infinite actions; "
                "its weights are damaged"
            )
        return self.normalizers[ACTION].unnormalize(actions).astype(np.float32, copy=False)

    def warm_up(self, cameras: Sequence[str] | None = None) -> float:
        """Predict once on black images, so that the first real chunk is not slower.

        Args:
            cameras: features of those that will be given; `cameras` of the policy if None.

        Returns:
            Seconds it took.
        """
        started = time.perf_counter()
        image = np.zeros((480, 640, 3), np.uint8)
        if not self._engine.resize:
            image = np.zeros((self._engine.side, self._engine.side, 3), np.uint8)
        mean = self.normalizers[STATE].low
        state = mean if mean.size == self.state_dim else np.zeros(self.state_dim, np.float32)
        chosen = self.cameras if cameras is None else cameras
        self.predict_chunk(dict.fromkeys(chosen, image), state, "warm up")
        return time.perf_counter() - started

    def camera_feature(self, name: str) -> str:
        """Return the feature name of a camera that may go by a shorter name.

        Raises:
            ValueError: the name is unknown or fits several cameras.
        """
        return self._encoder.camera_feature(name)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a checkpoint that LeRobot loads.

        Merged adapters and chosen statistics are written as such; weights get the number
        types they have here. ``lm_head``, which is not in memory, is copied from the file
        that was loaded if that still exists, and is left out otherwise (LeRobot then logs one
        missing key and never uses it).

        Args:
            folder: created if needed; not the one that was loaded.

        Raises:
            CheckpointError: `folder` is the one that was loaded.
        """
        save_checkpoint(
            Path(folder),
            self.network,
            self.config,
            self.processors,
            self.statistics,
            self.tokenizer,
            self.load_report.weights,
        )
        write_robot(Path(folder), self.robot)
