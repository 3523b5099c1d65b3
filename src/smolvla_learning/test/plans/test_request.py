# SPDX-License-Identifier: Apache-2.0
"""A plan made by a language model has only sentences that the checkpoint knows."""

import pytest
from smolvla_learning.describing.models import ModelError, Server
from smolvla_learning.plans.request import MAX_STEPS, RequestError, read_answer, sentences_for

KNOWN = ("put the red cube into the bowl", "put the blue cube into the bowl", "touch the bell")


@pytest.fixture
def ask(serve):
    def ask(*answers, request="tidy up the table"):
        stub = serve(lambda count, *_: answers[count - 1])
        return sentences_for(request, KNOWN, Server(stub.address, "")), stub.asked

    return ask


def test_the_request_and_what_is_known_are_in_the_question(ask):
    sentences, asked = ask(f"{KNOWN[1]}\n{KNOWN[0]}")
    assert sentences == [KNOWN[1], KNOWN[0]]
    ((_, images, question),) = asked
    assert images == []
    assert "tidy up the table" in question
    assert all(sentence in question for sentence in KNOWN)


def test_what_is_not_known_is_asked_again_with_the_reason(ask):
    sentences, asked = ask("wipe the table", KNOWN[2])
    assert sentences == [KNOWN[2]]
    assert "'wipe the table' is none of the instructions" in asked[1][2]


def test_after_the_last_try_it_says_why(ask):
    with pytest.raises(RequestError, match="no answer of 3 was a plan; the last one: 'sing'"):
        ask("wipe", "dance", "sing")


def test_what_cannot_be_done_is_said_at_once(ask):
    with pytest.raises(RequestError, match="cannot be done with what the checkpoint knows: put"):
        ask("None.")


def test_a_server_that_is_gone_is_an_error_of_the_server(ask):
    with pytest.raises(ModelError, match="status 500"):
        ask(None)


@pytest.mark.parametrize(
    ("answer", "sentences"),
    [
        ("1. Put the red cube into the bowl.\n2) touch the bell", [KNOWN[0], KNOWN[2]]),
        ("- touch the bell\n\n* touch  the bell", [KNOWN[2], KNOWN[2]]),
        ('"Touch the bell"', [KNOWN[2]]),
    ],
)
def test_what_models_put_around_a_sentence_does_not_matter(answer, sentences):
    assert read_answer(answer, KNOWN) == (sentences, "")


@pytest.mark.parametrize("answer", ["", "\n \n", "Sure:\ntouch the bell", "touch the\nbell"])
def test_what_is_no_plan_is_refused(answer):
    assert read_answer(answer, KNOWN)[1]


def test_an_endless_plan_is_refused():
    assert "more than" in read_answer("\n".join([KNOWN[0]] * (MAX_STEPS + 1)), KNOWN)[1]


def test_nothing_to_do_or_nothing_known_is_an_error():
    with pytest.raises(RequestError, match="blank"):
        sentences_for(" ", KNOWN, None)
    with pytest.raises(RequestError, match=r"robot\.json"):
        sentences_for("tidy up", (), None)
