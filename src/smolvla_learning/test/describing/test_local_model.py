# SPDX-License-Identifier: Apache-2.0
"""A model in this process: LLaVA's own class, tiny and with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smolvla_learning.describing.models import Local, ModelError, Prompt

transformers = pytest.importorskip("transformers")

SPECIAL = ["<pad>", "<end>", "<image>"]
TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint as the hub has them, of a tenth of a million parameters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {text: index for index, text in enumerate(SPECIAL + letters)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    side, patch = 28, 14
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        ),
        tokenizer=transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=SPECIAL[0],
            eos_token=SPECIAL[1],
            additional_special_tokens=SPECIAL[2:],
        ),
        patch_size=patch,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(
            vocab_size=len(ids), pad_token_id=0, bos_token_id=1, eos_token_id=1, **sizes
        ),
        vision_config=transformers.CLIPVisionConfig(
            image_size=side, patch_size=patch, projection_dim=32, **sizes
        ),
        image_token_id=2,
        image_token_index=2,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(value):
    return np.full((90, 120, 3), value, np.uint8)


def test_prompts_of_a_batch_are_answered_as_alone(folder):
    model = Local(str(folder), "cpu", batch=2)
    prompts = [
        Prompt([picture(0), picture(200)], "what is it?"),
        Prompt([picture(90)], "and this, in a longer question?"),
    ]
    together = model.answer(prompts)
    assert together == [model.answer([prompt])[0] for prompt in prompts]
    assert all(together)
    assert model.answer([Prompt([picture(90)], "?")]) != model.answer([Prompt([picture(5)], "?")])


def test_a_question_without_pictures_is_answered(folder):
    model = Local(str(folder), "cpu")
    (short,) = model.answer([Prompt((), "what to do?", tokens=3)])
    (long,) = model.answer([Prompt((), "what to do?", tokens=30)])
    assert len(short.encode("utf-8")) < len(long.encode("utf-8"))


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be loaded .*Qwen/Qwen2\.5-VL-3B-Instruct"):
        Local(str(tmp_path), "cpu")
