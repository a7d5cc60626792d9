"""What goes into a brief, and where it comes from.

The handbook (roles, preferences, the words of a brief) comes from the repository's default branch
and the package, never from a plan or an agent's branch.  A task's documentation comes from the
commit that its work begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache

from gitflow_agents import handoff, packaged, render, spec
from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.models import Config, DoneReport, Task, TaskRecord
from gitflow_agents.render import PACKAGED, Brief, Doc, Template
from gitflow_agents.render.prompt import Said
from gitflow_agents.roles import Handbook, Role
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import Entry, Repository
from gitflow_agents.store.repository import FOLDER, SUBMODULE, SYMLINK
from gitflow_agents.store.state import BRIEFING

PACKAGED_ROLE = "packaged"
"""Where a role comes from that is not the repository's own."""
MOST_OF_A_DOC = 32 * 1024
MOST_OF_DOCS = 128 * 1024
"""Bytes of all documentation in one brief; what does not fit is named."""
MOST_OF_A_TEXT = 256 * 1024
MOST_OF_A_LOG = 16 * 1024
MOST_OF_A_DIFF = 48 * 1024
"""Characters of a failure's log, of which the end is told, and of its diff."""
MOST_DOCS = 200
"""Files of documentation that are named."""


# --- the handbook ---------------------------------------------------------------------------------


class Roles(Mapping[str, Role]):
    """The repository's own roles, and those of the package, each read when it is asked for."""

    def __init__(self, own: Mapping[str, Role]) -> None:
        self._own = own
        self._names = dict.fromkeys(sorted({*packaged.roles(), *own}))

    def __getitem__(self, name: str) -> Role:
        if name not in self._names:
            raise KeyError(name)
        return self._own[name] if name in self._own else packaged_role(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@cache
def packaged_role(name: str) -> Role:
    """Return a role that comes with the package."""
    return spec.read_role(packaged.role(name), file=f"{name}.yaml")


def roles_of(repository: Repository, tree: str, config: Config) -> Roles:
    """Return all roles that can be read; of the others `read_handbook` tells."""
    own = {}
    for name, path, entry in _own_roles(repository, tree, config):
        with suppress(InvalidFile):
            own[name] = spec.read_role(repository.blob(entry.sha), file=path)
    return Roles(own)


def _own_roles(
    repository: Repository, tree: str, config: Config
) -> Iterator[tuple[str, str, Entry]]:
    """Yield (name, path, entry) of the repository's own roles."""
    folder = config.roles.strip("/")
    found = repository.find(tree, folder) if tree else None
    if found is None or found.mode != FOLDER:
        return
    for name, entry in repository.tree(found.sha).items():
        if name.endswith(".yaml") and entry.mode != FOLDER:
            yield name.removesuffix(".yaml"), f"{folder}/{name}", entry


def read_handbook(repository: Repository, tree: str, config: Config) -> Handbook:
    """Return what a commit's tree and the package say; InvalidFile with every problem of it.

    A file that the config names itself has to be there.
    """
    roles: dict[str, Role] = {}
    sources = dict.fromkeys(packaged.roles(), PACKAGED_ROLE)
    problems = list(_misplaced(repository, tree, config))
    for name, path, entry in _own_roles(repository, tree, config):
        try:
            roles[name] = spec.read_role(repository.blob(entry.sha), file=path)
            sources[name] = path
        except InvalidFile as e:
            problems += e.problems
        if why := spec.bad_slug(name):
            problems.append(Problem(path, 0, 0, "", f"`{name}` is no name of a role: {why}"))
    texts = {}
    for path in (config.preferences, config.brief_template):
        texts[path], wrong = _text(repository, tree, path)
        problems += [Problem(path, 0, 0, "", *wrong)] if wrong else []
    template = texts[config.brief_template]
    file = config.brief_template if template else ""
    book = Handbook(Roles(roles), sources, texts[config.preferences], template, file)
    try:
        if book.template:
            template_of(book)
    except InvalidFile as e:
        problems += e.problems
    if problems:
        what = problems[0].file if len({one.file for one in problems}) == 1 else "the handbook"
        hint = "mend it and commit it on the default branch: only what is committed there counts"
        raise InvalidFile(what, problems, hint=hint)
    return book


def _text(repository: Repository, tree: str, path: str) -> tuple[str, tuple[str, str] | None]:
    """Return the text of a file, empty when there is none, and what is wrong with it."""
    entry = repository.find(tree, path) if tree else None
    if entry is None or entry.mode == FOLDER:
        return "", None
    size = repository.size(entry.sha)
    if size > MOST_OF_A_TEXT:
        return "", (f"it has {size:,} bytes, and may have {MOST_OF_A_TEXT:,}", "")
    try:
        text = repository.blob(entry.sha).decode()
    except UnicodeDecodeError:
        return "", ("it is not UTF-8", "save it as UTF-8")
    return (text, None) if text.strip() else ("", ("it is empty", "write it, or remove it"))


def _misplaced(repository: Repository, tree: str, config: Config) -> Iterator[Problem]:
    """Yield what the config names and is not there, and what is there and would not be read."""
    for key in ("brief_template", "preferences", "roles"):
        path = getattr(config, key).strip("/")
        entry = repository.find(tree, path) if tree else None
        if entry is None and key in config.model_fields_set:
            reason = f"the config names it as `{key}`, and it is not on the default branch"
            yield Problem(path, 0, 0, "", reason, "commit it there, or take the key out")
        elif entry is not None and (entry.mode == FOLDER) != (key == "roles"):
            what = "a folder" if key == "roles" else "a file"
            yield Problem(path, 0, 0, "", f"`{key}` has to be {what}")
        elif entry is not None and key == "roles":
            for name in repository.tree(entry.sha):
                if name.endswith(".yml"):
                    mend = f"call it {name.removesuffix('.yml')}.yaml"
                    yield Problem(f"{path}/{name}", 0, 0, "", "it is not read", mend)


def template_of(handbook: Handbook) -> Template:
    """Return the words of a brief: the repository's own, or the packaged ones."""
    text = packaged.text(f"templates/{PACKAGED}")
    return Template(Brief, text, handbook.template, handbook.template_file)


# --- what a task begins with ----------------------------------------------------------------------


def docs_of(repository: Repository, tree: str, task: Task) -> tuple[tuple[Doc, ...], str]:
    """Return the documentation that a task names, and in a sentence what of it is missing."""
    docs: list[Doc] = []
    missing: list[str] = []
    left = MOST_OF_DOCS
    for named in dict.fromkeys(path.removeprefix("./").rstrip("/") for path in task.docs):
        entry = repository.find(tree, named) if named not in ("", ".") else Entry(FOLDER, tree)
        if entry is None:
            missing.append(named)
            docs.append(_doc(named, note="it is not there yet"))
            continue
        below = (
            repository.files(entry.sha, f"{named}/" if named else "")
            if entry.mode == FOLDER
            else iter([(named, entry)])
        )
        for path, file in below:
            if len(docs) >= MOST_DOCS:
                docs.append(_doc(named, note="it holds more files than can be named here"))
                break
            docs.append(_read(repository, path, file, left))
            left -= len(docs[-1].text)
    if not missing:
        return tuple(docs), ""
    be = "is" if len(missing) == 1 else "are"
    return tuple(docs), f"`docs` names {', '.join(missing)}, which {be} not there"


def _doc(path: str, text: str = "", note: str = "") -> Doc:
    return Doc(Said(path), Said(text), note)


def _read(repository: Repository, path: str, entry: Entry, left: int) -> Doc:
    if entry.mode in (SYMLINK, SUBMODULE):
        return _doc(path, note="read it there; it is no plain file")
    size = repository.size(entry.sha)
    if size > min(MOST_OF_A_DOC, left):
        return _doc(path, note=f"read it there; it has {size:,} bytes")
    data = repository.blob(entry.sha)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return _doc(path, note="read it there; it is no text")
    return _doc(path, text) if text.strip() else _doc(path, note="it is empty")


def repair_of(
    repository: Repository, record: TaskRecord, report: DoneReport | None
) -> render.Repair:
    """Return the end of the log and the work of a task's last attempt, for who has to mend it."""
    attempt = record.attempt
    if attempt is None:
        return render.Repair()
    broken = [ran for ran in (*(report.commands if report else ()), *record.evidence) if ran.code]
    parts = [f"$ {ran.command}\n{ran.tail}" for ran in broken]
    if report is not None and report.output_tail.strip():
        parts.append(f"the agent:\n{report.output_tail}")
    diff = ""
    if attempt.tip and repository.resolve(attempt.tip) is not None:
        plain = ("--no-ext-diff", "--no-textconv", "--no-color")
        ours = f":(top,exclude){BRIEFING}"
        _, out = repository.git.run("diff", *plain, attempt.base, attempt.tip, "--", ":/", ours)
        diff = out.decode(errors="replace")
    log = "\n\n".join(parts)
    return render.Repair(attempt.number, Said(log[-MOST_OF_A_LOG:]), Said(diff[:MOST_OF_A_DIFF]))


def unmet(repository: Repository, snapshot: Snapshot, tree: str, task: str) -> str:
    """Return in a sentence why an attempt at a task cannot begin, or an empty string."""
    _, missing = docs_of(repository, tree, snapshot.plan.by_id[task])
    if missing:
        return missing
    _, missing = handoff.inputs(snapshot.plan.by_id[task], snapshot.records)
    return missing


__all__ = [
    "PACKAGED_ROLE",
    "Roles",
    "docs_of",
    "read_handbook",
    "roles_of",
    "template_of",
    "unmet",
]
