"""What augmentation must know of a token: whether it negates, and whether a clause ends with it."""

NEGATING = frozenset("不没沒无無别別非未莫勿毋弗甭否")
ENGLISH = frozenset(
    ["no", "not", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "cannot"]
)
CLAUSE_ENDS = frozenset("。！？；!?;\n")


def negates(token: str) -> bool:
    """Whether it is a negator, or a word that contains one: 不错 is no synonym of 不利."""
    word = bare(token)
    return not NEGATING.isdisjoint(word) or word.lower() in ENGLISH or word.lower().endswith(("n't", "n’t"))


def ends_clause(token: str) -> bool:
    """Whether it is made of nothing but signs that end a clause."""
    word = bare(token)
    return bool(word) and CLAUSE_ENDS.issuperset(word)


def bare(token: str) -> str:
    """A piece without what its tokeniser marks the start or the inside of a word with."""
    return token.removeprefix("##").lstrip("▁Ġ")
