"""Names of classes, for people and in WordNet."""

import pytest

from dogbreed.data.class_names import breed_name, wordnet_id


@pytest.mark.parametrize(
    ("name", "breed", "synset"),
    [
        ("n02086240-Shih-Tzu", "Shih-Tzu", "n02086240"),
        ("n02088466-black-and-tan_coonhound", "black-and-tan coonhound", "n02088466"),
        ("my_own", "my own", None),
        ("n123-short", "n123-short", None),
    ],
)
def test_a_class_has_a_name_for_people_and_perhaps_one_in_wordnet(name: str, breed: str, synset: str | None) -> None:
    assert (breed_name(name), wordnet_id(name)) == (breed, synset)
