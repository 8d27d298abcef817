"""What names of folders and files say about images: normal, anomalous, a mask, or a part of a data set.

Names are compared in any case, and as words: "Defect-Free", "defect_free" and "defectFree" are one. Nothing is read
from disk here. Read `listing.py` next.
"""

import re

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
NORMAL = "normal"
ANOMALOUS = "anomalous"
MASK = "mask"

_BAD = r"(bad|ko|nok|ng|defect\w*|anomal\w*|abnormal\w*|fault\w*|fail\w*|reject\w*|damage\w*|broken|outlier\w*)"
_GOOD = r"(good|ok|okay|normal|healthy|nominal|passed|intact|flawless|undamaged|unbroken)"
_MARK = r"(mask\w*|label\w*|gt|ground_?truths?|annotations?|segmentations?)"
_PATTERNS = (
    (NORMAL, rf"(\w+_)?(no|non|not|without)_?{_BAD}|(\w+_)?{_BAD}_?free|(\w+_)?free"),
    (ANOMALOUS, rf"(\w+_)?(un|no|non|not|not_|non_|no_){_GOOD}"),
    (MASK, rf"{_MARK}(_\w+)?|\w+_{_MARK}"),
    (TEST, r"tests?([a-z]*|[0-9]*)(_\w+)?"),
    (TRAIN, r"train(ing|set|data)?[0-9]*(_\w+)?"),
    (VALIDATION, r"val(id|idation)?[0-9]*(_\w+)?"),
    (ANOMALOUS, rf"{_BAD}([0-9]*|_\w+)|\w+_{_BAD}"),
    (NORMAL, rf"{_GOOD}([0-9]*|_\w+)|\w+_{_GOOD}"),
)
"""In their order: the first that matches the whole name counts."""
_COMPILED = tuple((role, re.compile(pattern)) for role, pattern in _PATTERNS)
_PLAIN_MARK = r"(masks?|labels?|gt|ground[\W_]?truths?|seg|segmentations?|annotations?)"
_MARKED = re.compile(rf"(?P<of>.+?)[\W_]+{_PLAIN_MARK}|{_PLAIN_MARK}[\W_]+(?P<other>.+)")


def words(name: str) -> str:
    """A name in small letters, its words joined by one underscore each.

    >>> words("Ground Truth"), words("TestImages"), words("IMG-01")
    ('ground_truth', 'test_images', 'img_01')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[\W_]+", "_", apart).strip("_").casefold()


def role_of(name: str) -> str | None:
    """What a name says: one of the constants above, or None for any other.

    >>> role_of("Train"), role_of("test_public"), role_of("NG"), role_of("defect_free"), role_of("crack")
    ('train', 'test', 'anomalous', 'normal', None)
    """
    text = words(name)
    return next((role for role, pattern in _COMPILED if pattern.fullmatch(text)), None)


def marked_stem(stem: str) -> str | None:
    """Stem of the image, in small letters, that a mask is of; None where the name of the file is not that of a mask.

    >>> marked_stem("000_mask"), marked_stem("IMG-7_GT"), marked_stem("mask-7"), marked_stem("000")
    ('000', 'img-7', '7', None)
    """
    found = _MARKED.fullmatch(stem.casefold())
    return None if found is None else found["of"] or found["other"]


def is_mask_folder(name: str) -> bool:
    """Whether a folder holds masks and nothing else by its name, as `ground_truth`, and is no kind of defect.

    >>> is_mask_folder("Masks"), is_mask_folder("label_torn")
    (True, False)
    """
    return re.fullmatch(_PLAIN_MARK, words(name)) is not None
