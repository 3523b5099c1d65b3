# SPDX-License-Identifier: Apache-2.0
"""Vision-language models: behind a server on the network, or in this process."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from smolvla_core.settings import SettingError, Settings, setting

Picture = NDArray[np.uint8]
TOKENS = 80
"""Longest answer; a sentence of 30 words has about 40."""
TIMEOUT = 120.0
"""For an answer of a server [s]."""


API_KEY = "OPENAI_API_KEY"
"""Environment variable of a server's key."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings(Settings):
    """Which model, and how large the pictures are that it is shown."""

    model: str = setting(
        "",
        "Model: a hub id such as Qwen/Qwen2.5-VL-3B-Instruct or a folder, run here by "
        "transformers; with --server its name there.",
    )
    server: str = setting(
        "",
        "Address of a server with OpenAI's chat completions (llama.cpp, vLLM, Ollama), such as "
        f"http://localhost:8000/v1. A key is read from {API_KEY}.",
    )
    size: int = setting(448, "Longest side of the pictures [pixels].", 32, 4096)
    device: str = setting("auto", "Of a model in this process: auto, cpu, cuda, cuda:1, mps.")


class ModelError(ValueError):
    """A model cannot be used, or does not answer; the text says what to do."""


@dataclass(frozen=True)
class Prompt:
    """Pictures, (height, width, 3) RGB in order of time, and a question about them.

    Attributes:
        tokens: of the longest answer.
    """

    pictures: Sequence[Picture]
    question: str
    tokens: int = TOKENS


class VisionLanguageModel(Protocol):
    """Answers prompts.

    Attributes:
        batch: so many prompts are answered at once.
    """

    batch: int

    def answer(self, prompts: Sequence[Prompt]) -> list[str]:
        """Return an answer for each prompt.

        Raises:
            ModelError: it does not answer.
        """
        ...


def fitted(image: Picture, size: int) -> Picture:
    """Return a picture with a longest side of `size` pixels at most."""
    height, width = image.shape[:2]
    scale = min(1.0, size / max(height, width))
    if scale == 1.0:
        return image
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)


def beside(images: Sequence[Picture]) -> Picture:
    """Return pictures side by side."""
    height = max(image.shape[0] for image in images)
    padded = [np.pad(image, ((0, height - len(image)), (0, 0), (0, 0))) for image in images]
    return np.concatenate(padded, axis=1)


def jpeg(picture: Picture, quality: int = 90) -> bytes:
    """Compress an RGB picture."""
    made, data = cv2.imencode(
        ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert made
    return data.tobytes()


class Server:
    """A server with OpenAI's chat completions, as llama.cpp, vLLM and Ollama have them.

    Args:
        address: ``http://localhost:8000/v1``.
        model: its name there; empty where the server has only one.
        api_key: where the server asks for one.
        timeout: for an answer [s].

    Raises:
        ModelError: the address is none.
    """

    batch = 1

    def __init__(self, address: str, model: str, api_key: str = "", timeout: float = TIMEOUT):
        from huggingface_hub import InferenceClient

        if not address.startswith(("http://", "https://")):
            # The client would take it for a model of the hub, and send the pictures there.
            raise ModelError(
                f"server is '{address}', but must begin with http:// or https://, such as "
                "http://localhost:8000/v1"
            )
        self._address, self._model = address, model or "default"
        self._client = InferenceClient(
            base_url=address, api_key=api_key or "none", timeout=timeout
        )

    def answer(self, prompts: Sequence[Prompt]) -> list[str]:
        """See `VisionLanguageModel`."""
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> str:
        pictures = [
            f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture)).decode()}"
            for picture in prompt.pictures
        ]
        content: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        content.append({"type": "text", "text": prompt.question})
        try:
            completion = self._client.chat_completion(
                [{"role": "user", "content": content}],
                model=self._model,
                max_tokens=prompt.tokens,
                temperature=0.0,
            )
            return completion.choices[0].message.content or ""
        except Exception as error:  # of httpx, of the hub's client, or of what it returned
            raise ModelError(
                f"the server at {self._address} {_reason(error)}: does it run, and does it serve "
                f"'{self._model}', which takes pictures?"
            ) from error


def _reason(error: Exception) -> str:
    """Say what a server did instead of answering."""
    response = getattr(error, "response", None)
    if response is not None:
        body = " ".join(response.text.split())[:200]
        return f"answered with status {response.status_code} ({body})"
    if isinstance(error, ValueError):  # no JSON
        return (
            "answered something else than OpenAI's interface does (often its address ends in /v1)"
        )
    text = (str(error).splitlines() or [""])[0]
    return f"gave no answer ({text.partition('] ')[2] or text or type(error).__name__})"


class Local:
    """A model of the Hugging Face hub or a folder, by transformers.

    Args:
        model: hub id or folder.
        device: of PyTorch; ``auto`` for the fastest there is.
        batch: prompts at once.

    Raises:
        ModelError: transformers is not installed, or the model cannot be loaded.
    """

    def __init__(self, model: str, device: str = "auto", batch: int = 1) -> None:
        try:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor
        except ImportError as error:
            raise ModelError(
                f"{error}; pip install -r requirements/describe.txt, or name a --server"
            ) from error
        from smolvla_policy.model.sizes import choose_device

        self.batch = batch
        try:
            self._device = choose_device(device)
            self._processor = AutoProcessor.from_pretrained(model)
            kind = torch.float32 if self._device.type == "cpu" else torch.bfloat16
            loaded: Any = AutoModelForImageTextToText.from_pretrained(model, dtype=kind)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"model '{model}' cannot be loaded ({reason}); give a folder, or a hub id of an "
                "image-text-to-text model such as Qwen/Qwen2.5-VL-3B-Instruct"
            ) from error
        self._model = loaded.to(self._device).eval()
        # Answers begin behind the longest prompt.
        self._processor.tokenizer.padding_side = "left"

    def answer(self, prompts: Sequence[Prompt]) -> list[str]:
        """See `VisionLanguageModel`."""
        import torch
        from PIL import Image

        texts, pictures = [], []
        for prompt in prompts:
            images = [Image.fromarray(picture) for picture in prompt.pictures]
            content: list[Any] = [{"type": "image"} for _ in images]
            content.append({"type": "text", "text": prompt.question})
            message = [{"role": "user", "content": content}]
            texts.append(self._processor.apply_chat_template(message, add_generation_prompt=True))
            pictures.append(images)
        shown = {"images": pictures} if any(pictures) else {}
        inputs = self._processor(text=texts, **shown, padding=True, return_tensors="pt")
        tokens = max(prompt.tokens for prompt in prompts)
        inputs = inputs.to(self._device)
        with torch.inference_mode():
            made = self._model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        answers = made[:, inputs["input_ids"].shape[1] :]
        return list(self._processor.batch_decode(answers, skip_special_tokens=True))


def make_model(
    settings: ModelSettings, batch: int = 1, timeout: float = TIMEOUT
) -> VisionLanguageModel:
    """Return the model that settings name.

    Args:
        settings: which.
        batch: prompts at once, of a model in this process.
        timeout: for an answer of a server [s].

    Raises:
        SettingError: they name none.
        ModelError: it cannot be used.
    """
    if settings.server:
        return Server(settings.server, settings.model, os.environ.get(API_KEY, ""), timeout)
    if not settings.model:
        raise SettingError("model", "is not given: name a model, or a server's address")
    return Local(settings.model, settings.device, batch)
