# SPDX-License-Identifier: Apache-2.0
"""What a vision-language model is asked, and which of its answers are instructions."""

from __future__ import annotations

import re

MAX_WORDS = 30
_LABEL = re.compile(r"^(answer|instruction|sentence|task|new sentence)\s*:\s*", re.IGNORECASE)
_TEXT = """
a an the this that these those it its he she they you i we my your his her their there here
robot robotic arm gripper hand task video image images picture frame frames camera scene
first second then next finally now in on at of to from with by for into and or but as
is are was were be being been has have had does did can could will would should may might
yes no not sure okay ok certainly sorry unknown none nothing someone something
red green blue yellow black white
"""
_NO_VERBS = frozenset(_TEXT.split())
"""Words that begin no imperative. Of verbs there are too many to list."""


def question(present: str, problem: str = "") -> str:
    """Return what is asked about the pictures of an episode.

    Args:
        present: its sentence up to now.
        problem: what was wrong with the answer before; empty for none.
    """
    again = f" Your last answer was refused: {problem}." if problem else ""
    return (
        "The pictures show, in order of time, how a robot arm does a task. Its description up to "
        f'now is: "{present}". Write one sentence, an instruction in the imperative that begins '
        "with a verb, says what is done, and names the objects that are handled, with their "
        f"colors where that tells them apart. At most {MAX_WORDS} words; nothing but the sentence."
        f"{again}"
    )


def cleaned(answer: str) -> str:
    """Return an answer without what models put around a sentence: labels, quotes, a period.

    It begins with a capital letter.
    """
    text = " ".join(answer.replace("\u201c", '"').replace("\u201d", '"').split())
    text = _LABEL.sub("", text.strip("*_` ")).strip("*_` ")
    if len(text) > 1 and text[0] in "\"'" and text.rstrip(".")[-1:] == text[0]:
        text = text.rstrip(".")[1:-1].strip()
    text = text[:-1] if text.endswith(".") and not text.endswith("..") else text
    return text[:1].upper() + text[1:]


def problem_of(sentence: str) -> str:
    """Say why a cleaned answer is no instruction; empty where it is one.

    It must be one sentence in the imperative, of at most `MAX_WORDS` words, that names an object.
    """
    words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", sentence)
    if not words:
        return "it has no words"
    if len(words) > MAX_WORDS:
        return f"it has {len(words)} words, more than {MAX_WORDS}"
    if re.search(r"[<>{}]", sentence):
        return "it holds markup"
    if re.search(r"[.!?;:]\s", sentence) or sentence.endswith(("?", "!", ":", "..")):
        return "it is not one plain sentence"
    first = words[0].lower()
    gerund = first.endswith("ing") and first not in ("bring", "swing", "fling", "string", "sling")
    third = first.endswith("s") and not first.endswith(("ss", "focus"))
    if first in _NO_VERBS or gerund or third or not first.isalpha():
        return f"it does not begin with a verb in the imperative, but with '{words[0]}'"
    if not any(word.lower() not in _NO_VERBS for word in words[1:]):
        return "it names no object"
    return ""
