"""One tiny encoder, one dataset and one Instant bundle for all tests of the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelkit.contracts import BaseModelRef, DatasetRef
from tests.tiny.dataset import topic_words, write_topics
from tests.tiny.encoder import write_encoder
from tests.tiny.run import Trained, train


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    return write_topics(tmp_path_factory.mktemp("topics"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    return write_encoder(tmp_path_factory.mktemp("encoder"), topic_words())


@pytest.fixture(scope="session")
def instant(tmp_path_factory: pytest.TempPathFactory, topics: DatasetRef, tiny_base: BaseModelRef) -> Trained:
    scratch: Path = tmp_path_factory.mktemp("instant")
    return train("text_classification", scratch, topics, tiny_base, {"method": "instant", "max_length": 32})
