"""Batching: what is queued is the next batch, nobody waits, nobody pays for another's fault."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from modelkit.serving.batching import Answer, Batcher, InvalidInput


class Echo:
    """Answers each input with itself. `gate` holds batches back; `sizes` are the batches that ran."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def preprocess(self, inputs: Sequence[Any]) -> list[Any]:
        if "invalid" in inputs:
            raise ValueError("an invalid text")
        return list(inputs)

    def token_counts(self, batch: list[Any]) -> list[int]:
        return [len(value) for value in batch]

    def uncut_token_counts(self, inputs: Sequence[Any]) -> list[int]:
        return [len(value) for value in inputs]

    def forward(self, batch: list[Any]) -> list[Any]:
        self.gate.wait(10)
        self.sizes.append(len(batch))
        if "fail" in batch:
            raise ValueError("inside the model")
        return batch

    def postprocess(self, raw: list[Any], *, scores: bool = True) -> list[dict[str, Any]]:
        return [{"label": value} for value in raw]


async def ask(batcher: Batcher, inputs: list[str]) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    assert batcher.submit(inputs, future.set_result)
    return await future


def labels(answer: Answer) -> list[str]:
    return [row["label"] for row in answer.outputs]


def test_what_queues_while_the_slot_is_busy_is_one_batch() -> None:
    async def scenario() -> None:
        model = Echo()
        model.gate.clear()
        batcher = Batcher(model, slots=1, max_batch=16)
        asks = [asyncio.create_task(ask(batcher, [f"t{i}"])) for i in range(9)]
        await asyncio.sleep(0.05)
        model.gate.set()
        answers = await asyncio.gather(*asks)
        assert [labels(answer) for answer in answers] == [[f"t{i}"] for i in range(9)]
        assert model.sizes == [1, 8]
        assert [(answer.batch, answer.tokens) for answer in answers] == [(1, 2), *[(8, 2)] * 8]
        assert batcher.in_flight == batcher.queued_inputs == 0

    asyncio.run(scenario())


def test_each_slot_takes_its_share() -> None:
    """Of eight texts each of two slots runs four: one request's as well as eight callers'."""

    async def scenario(requests: list[list[str]]) -> list[int]:
        model = Echo()
        model.gate.clear()
        batcher = Batcher(model, slots=2)
        waiting = [asyncio.create_task(ask(batcher, inputs)) for inputs in requests]
        await asyncio.sleep(0.05)
        model.gate.set()
        await asyncio.gather(*waiting)
        return sorted(model.sizes)

    assert asyncio.run(scenario([list("abcdefgh")])) == [4, 4]
    # The first two find nobody else there; of the six that wait, nobody takes all.
    assert asyncio.run(scenario([[text] for text in "abcdefgh"])) == [1, 1, 2, 4]


def test_a_large_request_is_cut_keeps_its_order_and_lets_others_through() -> None:
    async def scenario() -> None:
        model = Echo()
        model.gate.clear()
        batcher = Batcher(model, slots=1, max_batch=4)
        done: list[str] = []

        async def named(name: str, inputs: list[str]) -> list[str]:
            answer = await ask(batcher, inputs)
            done.append(name)
            return labels(answer)

        large = asyncio.create_task(named("large", [f"l{i}" for i in range(50)]))
        await asyncio.sleep(0.02)
        small = asyncio.create_task(named("small", ["s"]))
        await asyncio.sleep(0.02)
        model.gate.set()
        assert await large == [f"l{i}" for i in range(50)]
        assert await small == ["s"]
        assert done == ["small", "large"]
        assert max(model.sizes) <= 4

    asyncio.run(scenario())


def test_only_the_guilty_request_of_a_batch_fails() -> None:
    async def scenario() -> None:
        model = Echo()
        model.gate.clear()
        batcher = Batcher(model, slots=1)
        asks = [asyncio.create_task(ask(batcher, [text])) for text in ("first", "fail", "good", "invalid")]
        await asyncio.sleep(0.05)
        model.gate.set()
        first, failed, good, invalid = await asyncio.gather(*asks)
        assert labels(first) == ["first"]
        assert labels(good) == ["good"]
        # A ValueError of the model itself is our fault, one of preprocessing the caller's.
        assert isinstance(failed.error, ValueError)
        assert not isinstance(failed.error, InvalidInput)
        assert isinstance(invalid.error, InvalidInput)

    asyncio.run(scenario())


def test_the_queue_holds_half_a_second_of_work_and_recovers() -> None:
    class Slow(Echo):
        def forward(self, batch: list[Any]) -> list[Any]:
            time.sleep(0.005)
            return super().forward(batch)

    async def scenario() -> None:
        model = Slow()
        batcher = Batcher(model, slots=1, max_batch=1)
        for _ in range(3):
            await ask(batcher, ["learn the rate"])
        model.gate.clear()
        answers: list[Answer] = []
        taken = sum(batcher.submit(["a"], answers.append) for _ in range(1000))
        # One runs; what waits is 0.5 s at 5 ms each, or somewhat less where sleeping takes longer, and never below 64.
        assert 65 <= taken <= 101
        assert not batcher.submit(["too many"], answers.append)
        model.gate.set()
        while batcher.in_flight:
            await asyncio.sleep(0.01)
        assert len(answers) == taken
        assert labels(await ask(batcher, ["again"])) == ["again"]

    asyncio.run(scenario())


def test_an_idle_batcher_takes_a_request_larger_than_its_queue() -> None:
    async def scenario() -> None:
        many = [str(i) for i in range(10_000)]
        assert labels(await ask(Batcher(Echo(), slots=1), many)) == many

    asyncio.run(scenario())


def test_a_lone_caller_is_answered_on_the_loop_and_company_goes_to_the_slots() -> None:
    class Where(Echo):
        def forward(self, batch: list[Any]) -> list[Any]:
            threads.append(threading.get_ident())
            return super().forward(batch)

    threads: list[int] = []

    async def scenario() -> None:
        batcher = Batcher(Where(), slots=2)
        for _ in range(30):
            await ask(batcher, ["alone"])
            await asyncio.sleep(0.001)
        assert threading.get_ident() not in threads[:10]
        assert set(threads[-10:]) == {threading.get_ident()}
        threads.clear()
        # Company: the second is submitted as soon as the first has been answered.
        for _ in range(4):
            await asyncio.gather(ask(batcher, ["a"]), ask(batcher, ["b"]))
        assert set(threads[1:]).isdisjoint({threading.get_ident()})

    asyncio.run(scenario())


def test_a_hanging_batch_is_seen_by_its_age() -> None:
    async def scenario() -> None:
        model = Echo()
        batcher = Batcher(model, slots=1)
        assert batcher.oldest_run_s == 0.0
        model.gate.clear()
        task = asyncio.create_task(ask(batcher, ["hangs"]))
        await asyncio.sleep(0.05)
        first = batcher.oldest_run_s
        await asyncio.sleep(0.05)
        assert 0.0 < first < batcher.oldest_run_s
        model.gate.set()
        await task
        assert batcher.oldest_run_s == 0.0

    asyncio.run(scenario())


def test_a_predictor_that_loses_an_answer_is_an_error_not_a_shift() -> None:
    class Short(Echo):
        def postprocess(self, raw: list[Any], *, scores: bool = True) -> list[dict[str, Any]]:
            return super().postprocess(raw)[1:]

    async def scenario() -> None:
        answer = await ask(Batcher(Short(), slots=1), ["a", "b"])
        assert isinstance(answer.error, RuntimeError)

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["token_counts", "uncut_token_counts"])
def test_a_predictor_that_cannot_count_tokens_costs_no_slot(method: str) -> None:
    """Its requests fail, and the next ones find every slot free."""

    def fail(_inputs: object) -> list[int]:
        raise RuntimeError("no counts")

    async def scenario() -> None:
        model = Echo()
        batcher = Batcher(model, slots=1)
        setattr(model, method, fail)
        for _ in range(3):
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            assert batcher.submit(["text"], future.set_result, max_tokens=5)
            answer = await asyncio.wait_for(future, 10)
            assert isinstance(answer.error, RuntimeError)
        delattr(model, method)
        assert labels(await asyncio.wait_for(ask(batcher, ["text"]), 10)) == ["text"]
        assert batcher.in_flight == batcher.queued_inputs == 0

    asyncio.run(scenario())
