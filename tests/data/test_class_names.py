"""Names of classes, for people and in WordNet."""

import unicodedata

import pytest

from dogbreed.data.class_names import breed_name, class_key, describe_unknown_classes, wordnet_id


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


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("n02085620-Chihuahua", "chihuahua"),
        ("CHIHUAHUA", "chihuahua"),
        ("n02088466-black-and-tan_coonhound", "black-and-tan_coonhound"),
        ("x2-Retriever", "x2-retriever"),
        ("10-Akita", "10-akita"),
        (unicodedata.normalize("NFD", "Épagneul"), "épagneul"),
        ("Großer Schweizer", "grosser schweizer"),
    ],
)
def test_a_class_is_selected_by_its_name_without_wordnet_id_case_and_form_of_accents(name: str, key: str) -> None:
    assert class_key(name) == key


def test_names_that_are_no_class_come_with_the_nearest_ones() -> None:
    classes = ["n02105641-Old_English_sheepdog", "n02110958-pug", *"abcde"]
    message = describe_unknown_classes(["old english sheepdog", "pugg"], classes)
    assert "no class old english sheepdog, pugg in the source" in message
    assert "did you mean n02105641-Old_English_sheepdog, n02110958-pug?" in message
    assert "its classes are a, b, c, d, e and 2 more;" in describe_unknown_classes(["zzz"], classes)
