# SPDX-License-Identifier: Apache-2.0
"""The public class: a SmolVLA checkpoint that turns observations into actions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.contents import (
    Adaptation,
    CheckpointContents,
    constant_notes,
    read_contents,
)
from smolvla_policy.checkpoint.processors import camera_feature, expected_cameras
from smolvla_policy.checkpoint.robot import write_robot
from smolvla_policy.checkpoint.save import save_checkpoint
from smolvla_policy.checkpoint.source import CheckpointError
from smolvla_policy.checkpoint.statistics import Normalizer
from smolvla_policy.checkpoint.text import (
    FAKE_IMAGE_TOKEN,
    GLOBAL_IMAGE_TOKEN,
    InstructionTokenizer,
    find_tokenizer,
)
from smolvla_policy.checkpoint.vlm import model_sizes, read_vlm_config, vlm_dtype
from smolvla_policy.checkpoint.weights import TensorFile, load_weights, weight_files
from smolvla_policy.model.engine import Engine, TorchEngine, check_int8, choose_engine
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.preprocess import PixelScale
from smolvla_policy.model.sizes import Precision, choose_device, choose_precision
from smolvla_policy.model.static_engine import StaticTorchEngine

Floats = NDArray[np.float32]
Images = Mapping[str, NDArray[np.uint8]]

logger = logging.getLogger(__name__)


class SmolVLAPolicy:
    """A checkpoint with everything around it: images in, actions in the robot's units out.

    Made by `from_pretrained`. One object serves one thread at a time.

    Attributes:
        config: what the checkpoint says about itself.
        cameras: feature names of the cameras that it expects, in the network's order: those
            that it was trained with, as far as its files say. Fewer may be given.
        state_dim: numbers in the state.
        action_dim: numbers in an action.
        chunk_size: actions in a chunk.
        joint_names: names of the action's dimensions, None if the checkpoint has none.
        tokenizer: of the instructions.
        folder: of the checkpoint.
        notes: what a user should know of how the checkpoint was read, a line each.
        network: the weights.
        normalizers: feature name -> normalizer.
        statistics: the active statistics.
        processors: active settings of the pre- and post-processing.
        robot: what the checkpoint says beyond LeRobot's files; saved with it.
        engine: runs the network; has the times of its stages.
    """

    def __init__(
        self,
        network: SmolVLANetwork,
        contents: CheckpointContents,
        tokenizer: InstructionTokenizer,
        cameras: Mapping[str, str] = {},
        make_engine: Callable[..., Engine] = TorchEngine,
    ) -> None:
        self.network = network
        self.tokenizer = tokenizer
        self.folder = contents.folder
        self.config = config = contents.config
        self.processors = contents.processors
        self.statistics = contents.statistics
        self.normalizers = contents.normalizers
        self.robot = contents.robot
        constant = constant_notes(config, self.normalizers)
        self.notes = (*contents.notes, *(f"{name}: {note}" for name, note in constant.items()))
        self.cameras = expected_cameras(config, self.processors)
        self.state_dim = config.state_dim
        self.action_dim = config.action_dim
        self.chunk_size = int(config.chunk_size)
        self.joint_names = config.outputs[ACTION].names
        start: tuple[int, ...] = ()
        end: tuple[int, ...] = ()
        if config.add_image_special_tokens:
            end = (tokenizer.token_id(FAKE_IMAGE_TOKEN),)
            start = (*end, tokenizer.token_id(GLOBAL_IMAGE_TOKEN))
        self.engine = make_engine(
            network,
            side=config.image_side or network.sizes.vision.image,
            resize=config.image_side is not None,
            image_start=start,
            image_end=end,
        )
        self._scales = {name: _pixel_scale(self.normalizers.get(name)) for name in config.images}
        self._weights = contents.weights
        self._names = dict(cameras)  # camera -> feature
        self._reported: set[tuple[str, ...]] = set()  # cameras whose absence has been logged

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
        engine: str = "torch",
        cuda_graph: bool = False,
    ) -> SmolVLAPolicy:
        """Load a checkpoint.

        Args:
            path_or_repo_id: folder of a checkpoint, output folder of a LeRobot training, or a
                hub id. Checkpoints of all versions of LeRobot are read, LoRA adapters are
                merged, pickles are refused.
            device: ``cpu``, ``cuda``, ``cuda:0``, ``mps``, ``xpu`` or ``auto``.
            dtype: ``float32``, ``bfloat16`` (the mix of released checkpoints), or None or
                ``auto``: what LeRobot would run. ``int8``, of OpenVINO alone: what ``smolvla
                quantize`` made of the checkpoint.
            tokenizer: folder, ``tokenizer.json`` or hub id instead of the checkpoint's own.
            stats: statistics instead of the checkpoint's own: name of a set in the
                checkpoint (``so100``, ``so100,state=action``, ``so100,state=identity``), a
                dataset's folder or ``meta/stats.json``, or a mapping of that form.
            revision: branch, tag or commit on the hub.
            adapt: changes configuration and processors before anything is made from them, as a
                training does that goes on from another robot's checkpoint.
            engine: what computes the network: ``torch`` (the reference), ``openvino`` or ``auto``:
                OpenVINO on a CPU where it is installed.
            cuda_graph: whether the torch engine captures chunks as CUDA graphs, see
                `model.static_engine`; of no effect on other devices.

        Returns:
            The policy, ready to predict.

        Raises:
            CheckpointError: the checkpoint cannot be used; the message says why and what to do.
            ValueError: `device` or `dtype` cannot be had.
        """
        contents = read_contents(path_or_repo_id, stats, revision, adapt)
        return cls.from_contents(
            contents,
            device=device,
            dtype=dtype,
            tokenizer=tokenizer,
            engine=engine,
            cuda_graph=cuda_graph,
        )

    @classmethod
    def from_contents(
        cls,
        contents: CheckpointContents,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        tokenizer: str | Path | None = None,
        cameras: Mapping[str, str] = {},
        engine: str = "torch",
        cuda_graph: bool = False,
    ) -> SmolVLAPolicy:
        """Load the weights of a checkpoint whose other files were read; see `from_pretrained`.

        Args:
            contents: the checkpoint.
            device: see `from_pretrained`.
            dtype: see there.
            tokenizer: see there.
            cameras: name -> feature of cameras that go by other names than in the checkpoint.
            engine: see `from_pretrained`.
            cuda_graph: see there.
        """
        chosen_device = choose_device(device)
        config, folder = contents.config, contents.folder
        contents.normalizers  # noqa: B018  bad statistics are an error before the weights are read
        text = find_tokenizer(folder, config, contents.processors, tokenizer)
        chosen_engine = choose_engine(engine, chosen_device)
        with TensorFile(contents.weights) as file:
            vlm = read_vlm_config(config, folder, file)
        precision = choose_precision(
            dtype,
            chosen_device,
            load_vlm_weights=bool(config.load_vlm_weights),
            vlm_dtype=vlm_dtype(vlm),
        )
        check_int8(precision, engine, chosen_engine, chosen_device)
        sizes = model_sizes(config, vlm, str(folder))
        host = torch.device("cpu") if chosen_engine == "openvino" else chosen_device

        def load(precision: Precision) -> SmolVLANetwork:
            network = SmolVLANetwork(sizes, precision)
            with TensorFile(contents.weights) as file:
                load_weights(network, folder, file, host)
            return network

        if chosen_engine == "torch":
            make_engine: Callable[..., Engine] = TorchEngine
            if cuda_graph and chosen_device.type == "cuda":
                make_engine = partial(StaticTorchEngine, capture=True)
            return cls(load(precision), contents, text, cameras, make_engine)
        from smolvla_policy.model.openvino_engine import OpenVINOEngine
        from smolvla_policy.model.openvino_graphs import (
            INTEL_GPU,
            GraphSource,
            NotQuantizedError,
            load_graphs,
        )

        files = weight_files(folder, contents.weights)
        side = config.image_side or sizes.vision.image
        target = INTEL_GPU if chosen_device.type == "xpu" else "CPU"
        source = GraphSource(folder.name, files, sizes, side, precision, target, load)
        try:
            graphs = load_graphs(source)
        except NotQuantizedError as error:
            raise CheckpointError(
                f"{contents.source}: {error}; quantize it with smolvla quantize --checkpoint "
                f"{contents.source} --dataset DATASET, where DATASET is of its robot and tasks"
            ) from error
        network = SmolVLANetwork(sizes, precision)
        network.load_state_dict(dict(graphs.weights), strict=False, assign=True)
        return cls(network, contents, text, cameras, partial(OpenVINOEngine, graphs=graphs))

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.network.device

    @property
    def dtype(self) -> str:
        """Number type as text, ``float32`` or ``bfloat16`` with what differs from it."""
        return self.engine.precision

    @property
    def num_parameters(self) -> int:
        """Weights in memory; the checkpoint's unused ``lm_head`` is not among them."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict_chunk(
        self,
        images: Images,
        state: Floats,
        task: str,
        noise: Floats | None = None,
        *,
        decided: Floats | None = None,
        delay: int = 0,
        trained: bool = False,
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
                chunking, see `model.sampler`; through the network's Jacobian if
                `engine.jacobian`). None: it is drawn freely.
            delay: so many of the decided rows will have been executed when the chunk arrives.
            trained: the network reads these rows, as it was trained to (`robot.rtc_delay`),
                instead of being guided to the decided ones.

        Returns:
            (chunk_size, action_dim) float32 in the checkpoint's own units.

        Raises:
            ValueError: no camera is given or one is unknown, a shape or type is wrong, the state
                holds NaN, or the instruction is empty.
        """

        return self.predict_batch(
            {name: np.asarray(image)[None] for name, image in images.items()},
            np.asarray(state)[None],
            [task],
            None if noise is None else np.asarray(noise)[None],
            decided=None if decided is None else np.asarray(decided)[None],
            delay=delay,
            trained=trained,
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
        trained: bool = False,
    ) -> Floats:
        """Predict actions for several observations at once; see `predict_chunk`.

        Args:
            images: camera -> uint8 (batch, height, width, 3).
            states: (batch, state_dim).
            tasks: one instruction per observation.
            noise: (batch, chunk_size, max_action_dim), or None.
            decided: (batch, rows, action_dim), or None.
            delay, trained: the same for all.

        Returns:
            (batch, chunk_size, action_dim) float32 in the checkpoint's own units.

        Raises:
            ValueError: see `predict_chunk`.
        """
        batch = len(tasks)
        frames = self._frames(images, batch)
        tokens, token_valid = self._tokens(tasks)
        # LeRobot fills so many absent cameras with an empty image, and leaves out the rest.
        absent = min(len(self.config.images) - len(frames), int(self.config.empty_cameras))
        actions = self.engine.run(
            list(frames.values()),
            tokens,
            self.normalizers[STATE].normalize(self._check_state(states, batch)),
            self._check_noise(noise, batch),
            scales=[self._scales[name] for name in frames],
            absent=absent,
            token_valid=token_valid,
            decided=self._check_decided(decided, batch),
            delay=delay,
            trained=trained,
        )[:, :, : self.action_dim]
        if not np.isfinite(actions).all():
            raise ValueError(
                f"the network of {self.folder} produced NaN or infinite actions; "
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
        if not self.engine.resize:
            image = np.zeros((self.engine.side, self.engine.side, 3), np.uint8)
        mean = self.normalizers[STATE].low
        state = mean if mean.size == self.state_dim else np.zeros(self.state_dim, np.float32)
        chosen = self.cameras if cameras is None else cameras
        self.predict_chunk(dict.fromkeys(chosen, image), state, "warm up")
        return time.perf_counter() - started

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
            ValueError: the weights are not in memory but in the graphs of another engine.
        """
        if self.engine.name == "openvino":
            raise ValueError("to save a checkpoint load it with engine='torch'")
        save_checkpoint(
            Path(folder),
            self.network,
            self.config,
            self.processors,
            self.statistics,
            self.tokenizer,
            self._weights,
        )
        write_robot(Path(folder), self.robot)

    def _frames(self, images: Images, batch: int) -> Images:
        """Return feature -> (batch, height, width, 3), in the network's order."""
        found: dict[str, NDArray[np.uint8]] = {}
        for name, image in images.items():
            if name not in self._names:
                self._names[name] = camera_feature(self.config, self.processors, name)
            feature = self._names[name]
            array = np.asarray(image)
            if feature in found:
                raise ValueError(f"camera {feature!r} is given twice")
            if array.dtype != np.uint8:
                raise ValueError(
                    f"image of camera {name!r} is {array.dtype}, expected uint8 0-255"
                )
            if array.ndim != 4 or array.shape[::3] != (batch, 3) or 0 in array.shape:
                raise ValueError(
                    f"image of camera {name!r} has shape {array.shape[1:]}, "
                    "expected (height, width, 3)" + (f", times {batch}" if batch > 1 else "")
                )
            found[feature] = array
        if not found:
            raise ValueError(
                "no image is given; this checkpoint needs at least one of "
                f"{', '.join(self.config.cameras)}"
            )
        missing = tuple(feature for feature in self.cameras if feature not in found)
        if missing and missing not in self._reported:
            self._reported.add(missing)
            logger.warning(
                "no image of %s: left out, as LeRobot does, though the checkpoint expects it",
                ", ".join(missing),
            )
        return {feature: found[feature] for feature in self.config.images if feature in found}

    def _check_state(self, states: Floats, batch: int) -> Floats:
        values = np.array(states, dtype=np.float32)
        if values.shape != (batch, self.config.state_dim):
            raise ValueError(
                f"state has shape {values.shape[1:]} ({batch} wanted, {values.shape[0]} given), "
                f"this checkpoint needs ({self.config.state_dim},)"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"state holds NaN or infinity: {values.tolist()}")
        return values

    def _tokens(self, tasks: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        for task in tasks:
            if not isinstance(task, str) or not task.strip():
                raise ValueError("the task is empty; say what the robot shall do")
        encoded = [self.tokenizer.encode(task) for task in tasks]
        highest = max(max(ids, default=0) for ids in encoded)
        if highest >= self.network.sizes.vocabulary:
            raise ValueError(
                f"{self.tokenizer.path} makes token {highest}, but the network knows only "
                f"{self.network.sizes.vocabulary}: it is not this checkpoint's tokenizer"
            )
        length = max(map(len, encoded))
        padded = [self.tokenizer.pad(ids, length) for ids in encoded]
        tokens = np.array([ids for ids, _ in padded], dtype=np.int64)
        valid = np.array([real for _, real in padded], dtype=np.bool_)
        return tokens, None if valid.all() else valid

    def _check_noise(self, noise: Floats | None, batch: int) -> Floats:
        shape = (batch, self.config.chunk_size, self.network.sizes.action_dim)
        if noise is None:
            return np.random.default_rng().standard_normal(shape, dtype=np.float32)
        values = np.array(noise, dtype=np.float32)
        if values.shape != shape:
            raise ValueError(f"noise has shape {values.shape[1:]}, expected {shape[1:]}")
        if not np.isfinite(values).all():
            raise ValueError("noise holds NaN or infinity")
        return values

    def _check_decided(self, decided: Floats | None, batch: int) -> Floats | None:
        if decided is None:
            return None
        values = np.asarray(decided, dtype=np.float32)
        if values.ndim != 3 or (values.shape[0], values.shape[2]) != (
            batch,
            self.config.action_dim,
        ):
            raise ValueError(
                f"decided actions have shape {values.shape[1:]}, expected (rows, "
                f"{self.config.action_dim})"
            )
        if not np.isfinite(values).all():
            raise ValueError("decided actions hold NaN or infinity")
        if not values.shape[1]:
            return None
        normalizer = self.normalizers[ACTION]
        normalized = normalizer.normalize(values)
        # Divided by the epsilon, rounding in a constant dimension would become a huge number.
        still = list(normalizer.constant)
        normalized[..., still] = normalizer.normalize(normalizer.low)[still]
        return normalized


def _pixel_scale(normalizer: Normalizer | None) -> PixelScale | None:
    if normalizer is None or normalizer.mode == "IDENTITY":
        return None
    # Every mode is affine, so two values give all of it.
    offset = normalizer.normalize(np.zeros(3, np.float32))
    return PixelScale(normalizer.normalize(np.ones(3, np.float32)) - offset, offset)
