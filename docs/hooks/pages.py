"""Pages of the site that nobody writes by hand.

Those of commands and settings are made from the parsers, so that they say what the code does. Pages
of results, of contributing and so on stand elsewhere in the repository and are shown from there.
Notebooks become pages of Markdown, so that they look like the others and their links are checked.
"""

import importlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

from itrec_dist.cli.app import VERBS, parsers_of
from itrec_dist.config.listing import Option, listed, of_kinds
from itrec_dist.config.recipe_schema import recipe_schema

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "jobs" / "benchmarks" / "results"
NOTEBOOKS = ROOT / "docs" / "notebooks"

SHOWN = {
    "how-to/clusters.md": "cluster/README.md",
    "project/architecture.md": "ARCHITECTURE.md",
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/security.md": "SECURITY.md",
} | {
    f"results/{page.name}": f"jobs/benchmarks/results/{page.name}" for page in RESULTS.glob("*.md")
}
"""Page of the site -> file of the repository."""

WITH_RECIPES = ("train", "window", "sweep", "reproduce")
VARIANTS = {"window": ("Windows", "Histories", "Windows of ratings")}
"""Command with several parsers -> what each is for."""

ELSEWHERE = {
    "Model": "[Models](../models.md) lists the settings of each kind.",
    "Loss": "[Losses](../losses.md) lists the settings of each kind.",
}
"""Section with several kinds -> where its settings stand."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for place, source in SHOWN.items():
        files.append(File.generated(config, place, content=_shown(source)))
    for place, content in _made():
        files.append(File.generated(config, place, content=content))
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        place = f"{NOTEBOOKS.name}/{notebook.stem}.md"
        files.append(File.generated(config, place, content=_page_of(notebook)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Build anew when the package, or a page that is shown from elsewhere, changes."""
    config.watch += [str(ROOT / name) for name in ("itrec_dist", *SHOWN.values())]
    return config


def _shown(source: str) -> str:
    """A document of the repository, with its links to other documents leading to their pages."""
    pages = {name: place for place, name in SHOWN.items()}
    text = (ROOT / source).read_text(encoding="utf-8")

    def linked(match: re.Match[str]) -> str:
        name = match.group(2).removeprefix("../")
        place = name.removeprefix("docs/") if name.startswith("docs/") else pages.get(name)
        if place is None:
            return match.group(0)
        return f"[{match.group(1)}](../{place}{match.group(3)})"

    return re.sub(r"\[([^]]+)\]\(([\w./-]+\.md)((?:#[\w-]+)?)\)", linked, text)


def _page_of(notebook: Path) -> str:
    """A notebook with its outputs; links to other notebooks lead to their pages."""
    content = nbformat.read(notebook, as_version=nbformat.NO_CONVERT)
    text, _ = MarkdownExporter().from_notebook_node(content)
    text = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", text)
    title, _, rest = text.lstrip().partition("\n")
    return f"{title}\n\n[The notebook as a file]({notebook.name})\n{rest}"


def _made() -> Iterator[tuple[str, str]]:
    rows = [f"| [itrec {verb}]({_file(verb)}) | {line} |" for verb, (_, line) in VERBS.items()]
    yield "reference/commands/index.md", _lines("# Commands", ["| | |\n|---|---|", *rows])
    for verb in VERBS:
        yield f"reference/commands/{_file(verb)}", _command(verb)
    (train,) = parsers_of("train")
    for name, title in (("model", "Models"), ("loss", "Losses")):
        yield f"reference/{title.lower()}.md", _kinds(name, title, train)
    for verb in WITH_RECIPES:
        yield (
            f"reference/schemas/{verb}.json",
            json.dumps(recipe_schema(parsers_of(verb)), indent=1),
        )


def _file(verb: str) -> str:
    return f"{verb.replace(' ', '-')}.md"


def _command(verb: str) -> str:
    parsers = parsers_of(verb)
    places = [option for one in listed(parsers_of(verb)[0]).values() for option in one]
    words = " ".join(o.names[0] for o in places if not o.has_dashes)
    usage = " ".join(part for part in (f"itrec {verb}", words, "[options]") if part)
    parts = [f"# itrec {verb}", f"    {usage}", str(parsers[0].description)]
    if len(parsers) == 1:
        parts += _sections(listed(parsers[0]), "##")
    else:
        parts += _variants([listed(parser) for parser in parsers], VARIANTS[verb])
    return "\n\n".join(parts) + "\n"


def _variants(each: list[dict[str, list[Option]]], titles: tuple[str, ...]) -> Iterator[str]:
    """The options that all have, then those of each."""
    flat = [{option for options in one.values() for option in options} for one in each]
    common = set.intersection(*flat)
    yield "## Options of all"
    yield from _options(option for one in each[0].values() for option in one if option in common)
    for sections, title in zip(each, titles, strict=True):
        yield f"## {title}"
        yield from _options(o for one in sections.values() for o in one if o not in common)


def _sections(sections: dict[str, list[Option]], mark: str) -> Iterator[str]:
    for heading, options in sections.items():
        name = heading.partition(":")[0]
        if heading not in ("options", "positional arguments"):
            title = name if name in ELSEWHERE else heading
            yield f"{mark} {title[:1].upper()}{title[1:]}"
        if name in ELSEWHERE:
            yield ELSEWHERE[name]
        kinds = [option for option in options if option.names[0].endswith(".kind")]
        yield from _options(kinds if name in ELSEWHERE else options)


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.names)
        yield f"{names}\n:   {_escaped(option.description)}"


def _kinds(name: str, title: str, train: object) -> str:
    field = train.sections[name]  # type: ignore[attr-defined]
    classes = field.metadata["kinds"]
    parts = [
        f"# {title}",
        f"`--{name}.kind` chooses one of these; its settings are options of `itrec train`, a "
        f"section `{name}` of a recipe, and keywords of the class in `itrec_dist.{title.lower()}`.",
    ]
    for kind, parser in of_kinds(train)[name].items():  # type: ignore[arg-type]
        public = _public(title.lower(), kind)
        parts += [f"## {kind}", " ".join([_about(classes[kind]), public]).strip()]
        options = [option for one in listed(parser).values() for option in one]
        parts += _options(options) if options else ["It has no settings."]
    return "\n\n".join(parts) + "\n"


def _about(cls: type) -> str:
    module = importlib.import_module(cls.__module__)
    text = (module.__doc__ or "").strip().partition("\n\n")[0]
    return _escaped(" ".join(text.split()))


def _public(package: str, kind: str) -> str:
    """The short name of the class in the library, if it has one."""
    module = importlib.import_module(f"itrec_dist.{package}")
    name = next((n for n, k in module._KINDS.items() if k == kind), None)
    return f"In the library: `itrec_dist.{package}.{name}`." if name else ""


def _escaped(text: str) -> str:
    """Text whose signs mean themselves, apart from code in backticks."""

    def escape(match: re.Match[str]) -> str:
        code, sign = match.groups()
        return code or {"<": "&lt;", ">": "&gt;"}.get(sign, f"\\{sign}")

    return re.sub(r"(`[^`]*`)|([*_<>\[\]#|])", escape, text)


def _lines(title: str, lines: list[str]) -> str:
    return f"{title}\n\n" + "\n".join(lines) + "\n"
