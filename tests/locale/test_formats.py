"""Figures look alike wherever they stand on a page: in a table, where Django formats them, and in a sentence."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils import translation


@pytest.mark.parametrize("language", [code for code, _ in settings.LANGUAGES])
def test_a_table_groups_digits_as_sentences_do(language: str) -> None:
    with translation.override(language):
        assert [intcomma(n) for n in (7, 1301, 12_345_678)] == [f"{n:,}" for n in (7, 1301, 12_345_678)]
