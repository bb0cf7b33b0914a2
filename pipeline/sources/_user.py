"""What every source of a user's own data lets the user state: where it lies, where it is from, under which terms."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass

from pipeline.config import setting
from pipeline.sources import _place
from pipeline.targets import Kind


@dataclass(frozen=True)
class UserSource:
    """The settings that come with each; the source's own follow."""

    path: str = setting()  # relative to the project's root, or absolute
    _: KW_ONLY
    licence: str = setting("the user's own")
    origin: str | None = setting(None)  # such as the address of the data's page; the path where nothing is said

    def __post_init__(self) -> None:
        _place.check_inside(self.path)


@dataclass(frozen=True)
class OneClassEach(UserSource):
    """Of a source whose files' places say what each example is, which can only be one class."""

    _: KW_ONLY
    target: Kind = "classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target != "classes":
            raise ValueError(
                f"target: found {self.target!r}; expected classes: a folder's or a file's name is one class; name the "
                "examples in a table, and read it with source.name: image_table or text_table"
            )


def describe(config: UserSource) -> Mapping[str, str]:
    return {"licence": config.licence, "origin": config.origin or config.path, "version": ""}
