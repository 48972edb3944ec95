"""Text of messages, reports and figures: numbers with their nouns."""


def pluralize(count: int, noun: str) -> str:
    """Return `3 images`, `1 image`, `0 classes`."""
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"
