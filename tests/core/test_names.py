"""Names: which are valid, and which is suggested for a folder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogbreed.core.names import RULE, is_valid_name, require_valid_name, suggest_name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a b", "a:b", "a@b", "-a", "a\n", "a'b", "é", "a" * 101, "a\0b"]
)
def test_names_that_would_change_a_path_a_filter_or_a_uri_are_not_valid(name: str) -> None:
    assert not is_valid_name(name)
    with pytest.raises(ValueError, match=RULE):
        require_valid_name(name)


@pytest.mark.parametrize(
    ("folder", "suggested"),
    [("my-dogs", "my-dogs"), ("Meine Hunde (2)", "Meine-Hunde-2"), ("élevage", "elevage"), ("犬", "my-images"),
     (".", "my-images"), ("..", "my-images"), ("", "my-images"), ("_private", "private"), ("x" * 300, "x" * 100)],
)  # fmt: skip
def test_a_suggestion_resembles_the_folder(folder: str, suggested: str) -> None:
    assert suggest_name(folder) == suggested


@given(st.text())
def test_every_suggestion_is_valid(text: str) -> None:
    assert is_valid_name(suggest_name(text))
