"""Rules on a table, checked by Great Expectations, with the offending rows by id and browsable Data Docs."""

import contextlib
import html
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pipeline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

IMAGE = re.compile(r"<img\b[^>]*\bgreat-expectations-web-assets\.[^>]*>")
STYLED = re.compile(r"url\([^)]*\bgreat-expectations-web-assets\.[^)]*\)")
INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Data Docs</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1120px; margin: 24px auto; padding: 0 20px; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; vertical-align: top; padding: 4px 10px; border-bottom: 1px solid #dfe4ea; }}
</style>
<h1>Data Docs</h1>
<table>
<tr><th>table</th><th>expectations</th><th>broken</th><th>which</th><th>pages</th></tr>
{rows}</table>
</html>
"""
Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Rule:
    """An expectation by its name in Great Expectations.

    Rows that break a rule with a `reason` go to quarantine. Breaking a critical rule, where `mostly` allows
    for some rows, stops the task with `advice`: what is expected and the way out, for one of the user's the way out
    alone. `origin` is where the user asked for it, empty for the project's own.
    """

    expectation: str
    arguments: dict[str, Any]
    severity: Severity = "warning"
    reason: str = ""
    advice: str = ""
    name: str = ""  # what the settings call it; a rule with a reason goes by that
    origin: str = ""

    @property
    def words(self) -> str:
        """What is expected, as a user writes it: `expect_column_mean_to_be_between (column length, min_value 5)`."""
        arguments = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
        return f"{snake(self.expectation)} ({arguments if len(arguments) <= 200 else arguments[:197] + '...'})"


def snake(expectation: str) -> str:
    """`ExpectColumnValuesToBeNull` as `expect_column_values_to_be_null`."""
    return re.sub("(?<=[a-z])(?=[A-Z])|(?<=[AL])(?=[TD][oi])", "_", expectation).lower()


@dataclass(frozen=True)
class Outcome:
    """What a rule found: `ids` of the rows that break it, or the `observed` value of a whole table."""

    rule: Rule
    success: bool
    ids: list[str] = field(default_factory=list)
    observed: Any = None

    @property
    def column(self) -> str | None:
        return self.rule.arguments.get("column")

    @property
    def unexpected(self) -> int:
        return len(self.ids) or int(not self.success)


class Session:
    """Checks tables one after the other, and writes the Data Docs of all."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # version 1.24 imports the deprecated sre_constants
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig

        self._folder = folder
        self._context: Any = gx.get_context(mode="file", project_root_dir=folder)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = self._context.data_sources.add_pandas("data")
        self._found: dict[str, tuple[Outcome, ...]] = {}

    def check(self, name: str, table: "pd.DataFrame", rules: Sequence[Rule]) -> list[Outcome]:
        """One outcome a rule, in order. The table has a column `id` of unique names."""
        import great_expectations as gx
        from great_expectations import expectations

        suite = self._context.suites.add(gx.ExpectationSuite(name=name))
        for number, rule in enumerate(rules):
            # A rule's number tells its result: equal expectations would be merged, and results come in any order.
            suite.add_expectation(_made(getattr(expectations, rule.expectation), rule, number))
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
        checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format=form)
        run = self._context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
        (report,) = run.run_results.values()
        outcomes = {result.expectation_config.meta["rule"]: _outcome(rules, result) for result in report.results}
        self._found[name] = tuple(outcomes[number] for number in range(len(rules)))
        return list(self._found[name])

    def write_docs(self, out: Path) -> None:
        """The library's pages, with an index of our own in place of its, which needs scripts from the network."""
        self._context.build_data_docs()
        shutil.copytree(self._folder / "gx/uncommitted/data_docs/local_site", out, dirs_exist_ok=True)
        for page in out.rglob("*.html"):
            page.write_text(without_tracking(page.read_text("utf-8")), "utf-8")
        (out / "index.html").write_text(_index(self._found, out), "utf-8")


def _index(found: Mapping[str, Sequence[Outcome]], out: Path) -> str:
    """A page that lists what was checked, with links to the pages in `out`."""
    rows = []
    pages = sorted((path.relative_to(out) for path in out.rglob("*.html")), reverse=True)  # validations first
    for name, outcomes in found.items():
        broken = [outcome for outcome in outcomes if not outcome.success]
        told = "<br>".join(html.escape(f"{outcome.rule.severity}: {outcome.rule.words}") for outcome in broken)
        mine = [page for page in pages if page.name in (f"data-{name}.html", f"{name}.html")]
        links = [f'<a href="{quote(str(page))}">{page.parts[0]}</a>' for page in mine]
        cells = [html.escape(name), f"{len(outcomes)}", f"{len(broken)}", told, ", ".join(links)]
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    return INDEX.format(rows="".join(f"<tr>{row}</tr>\n" for row in rows))


def without_tracking(page: str) -> str:
    """A page of the Data Docs without the library's images, whose address tells its server an id and the time."""
    return STYLED.sub("none", IMAGE.sub("", page))


def _made(make: Any, rule: Rule, number: int) -> Any:
    """Raises: ConfigError for arguments of the user's that the expectation does not take."""
    with contextlib.ExitStack() as stack:
        if rule.origin:
            stack.enter_context(_as_config_error(rule))
        return make(**rule.arguments, severity=rule.severity, meta={"rule": number})


@contextmanager
def _as_config_error(rule: Rule) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        told = "; ".join(" ".join(line.split()) for line in str(error).splitlines()[1:]) or str(error)
        raise ConfigError(f"{rule.origin}: {rule.expectation} {rule.arguments}: {told[:300]}") from None


def _outcome(rules: Sequence[Rule], result: Any) -> Outcome:
    rule = rules[result.expectation_config.meta["rule"]]
    if told := _raised(result.exception_info):
        if rule.origin:
            raise DataError(f"{rule.origin}: {rule.expectation} {rule.arguments} could not be checked: {told[:300]}")
        raise AssertionError(f"expectation could not run: {told}")
    rows = result.result.get("unexpected_index_list") or []
    return Outcome(rule, bool(result.success), [row["id"] for row in rows], result.result.get("observed_value"))


def _raised(found: Any) -> str:
    """The message of an expectation that could not run; of one about several columns there is one a metric."""
    for entry in [found, *found.values()] if isinstance(found, dict) else []:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return " ".join(str(entry.get("exception_message")).split())
    return ""


@contextmanager
def session() -> Iterator[Session]:
    """A session in a temporary folder, which goes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="danlu-expectations-") as folder:
        yield Session(Path(folder))
