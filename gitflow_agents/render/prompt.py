"""What the template of a brief may say, and the text that comes of it.

A template is Jinja2, less what could run away or reach out: it calls nothing, keeps no variables
and builds no values, so it ends, and its output is no longer than its loops over what is given.
Every name in it is held against the types of the values before anything is rendered, so that a
misspelt one is an error with its line; and text that people or agents wrote is a `Said`, which may
only be put out through a filter that keeps it data.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NewType, Union, get_args, get_origin, get_type_hints

from gitflow_agents.errors import FlowError, InvalidFile, Problem
from gitflow_agents.render.text import clean, code, fence, inline, one_line, shortened
from gitflow_agents.spec.wording import near

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

Said = NewType("Said", str)
"""Text that people or agents wrote; a template puts it out through a filter only."""

PACKAGED = "brief.md.j2"
"""The name under which a template extends or includes the packaged one."""
MOST_TEMPLATE = 64 * 1024
MOST_BRIEF = 8 * 1024 * 1024
MOST_ROUNDS = 400_000
"""Rounds of all loops of one brief together."""
_LEFT = "_rounds_left"
_AT_A_TIME = 32
"""Parts of a brief that are made before anybody asks how long it has become."""


def listed(items: tuple[str, ...]) -> str:
    """Return texts as a list, one item a line; further lines of an item are indented."""
    return "\n".join(f"- {clean(item).strip()}".replace("\n", "\n  ") for item in items)


@dataclass(frozen=True)
class Filter:
    """A filter: what it takes, what it gives, and what its argument has to be if it has one."""

    apply: Callable[..., Any]
    takes: tuple[Any, ...]
    gives: Any
    argument: type | None = None
    about: str = ""


Texts = tuple[Said, ...]
FILTERS: Mapping[str, Filter] = {
    "fence": Filter(
        fence, (Said, str), str, str, "in a fence that it cannot end; the argument is its language"
    ),
    "code": Filter(code, (Said, str), str, None, "on one line, as a code span"),
    "inline": Filter(
        inline, (Said, str), str, None, "on one line, with all marks of markdown escaped"
    ),
    "listed": Filter(
        listed,
        (Texts, tuple[str, ...]),
        Said,
        None,
        "a list of texts as one, an item a line; put it in a fence",
    ),
    "shortened": Filter(
        shortened, (Said,), Said, int, "at most so many characters, and how many more there are"
    ),
    "one_line": Filter(
        one_line, (Said, str), Said, None, "on one line, white space folded; still data"
    ),
    "length": Filter(len, (Said, str, tuple), int, None, "how many items, or characters"),
    "lower": Filter(str.lower, (str,), str, None, "in small letters"),
    "upper": Filter(str.upper, (str,), str, None, "in capitals"),
}
"""All that a template can do with a value."""
TESTS = ("true", "false", "even", "odd")


@dataclass(frozen=True)
class Loop:
    """What `loop` is in a `for`."""

    index: int = 0
    first: bool = False
    last: bool = False
    length: int = 0


class Template:
    """A template that was looked through; `render` fills it in."""

    def __init__(self, values: type, packaged: str, own: str = "", file: str = PACKAGED) -> None:
        """Raise InvalidFile with every problem of `own`, or of the packaged text without it."""
        self.file = file if own else PACKAGED
        self._values = values
        self._own = _compiled(values, packaged, own, self.file)

    def render(self, values: object) -> str:
        """Return the text; FlowError when the template cannot be filled in with these values."""
        given = {name: getattr(values, name) for name in _fields_of(self._values)}
        filled = self._own.root_render_func(self._own.new_context({**given, _LEFT: [MOST_ROUNDS]}))
        parts: list[str] = []
        size = 0
        try:
            try:
                # Some at a time: to look at each part takes longer than to make it.
                while some := list(islice(filled, _AT_A_TIME)):
                    size += sum(map(len, some))
                    if size > MOST_BRIEF:
                        raise _TooMuch(f"the brief is over {MOST_BRIEF:,} characters")
                    parts += some
            except Exception:
                # It tells the lines of the template, and not those of what was compiled of it.
                self._own.environment.handle_exception()
        except Exception as e:
            line = _line(e, self.file)
            where = f"{self.file}:{line}" if line else self.file
            raise TemplateFailed(
                f"the brief's template {where} cannot be filled in: {one_line(str(e))}",
                hint=f"mend {self.file}, or remove it",
            ) from e
        return "".join(parts)


class TemplateFailed(FlowError):
    """A template that nothing was wrong with could not be filled in."""


class _TooMuch(Exception):
    """A template asked for more than a brief can be."""


def _line(error: BaseException, file: str) -> int:
    """Return the line of the template in which an error was raised; 0 when that is not known."""
    found, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


@cache
def _fields_of(kind: type) -> frozenset[str]:
    """Return the fields that a template may read of values of a type: those of a dataclass."""
    return frozenset(each.name for each in fields(kind)) if is_dataclass(kind) else frozenset()


@cache
def _environment() -> Environment:
    from jinja2 import StrictUndefined, pass_context
    from jinja2.sandbox import SandboxedEnvironment

    @pass_context
    def counted(context: Any, items: Any) -> Iterator[Any]:
        left = context[_LEFT]
        for item in items:
            left[0] -= 1
            if left[0] < 0:
                raise _TooMuch(f"its loops go round over {MOST_ROUNDS:,} times")
            yield item

    class Sandbox(SandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            # What a brief is full of: a field of a value of ours, which needs no second look.
            if attribute in _fields_of(obj.__class__):
                return getattr(obj, attribute)
            return super().getattr(obj, attribute)

    made = Sandbox(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        cache_size=0,
    )
    made.globals.clear()
    made.tests = {name: made.tests[name] for name in TESTS}
    made.filters = {name: each.apply for name, each in FILTERS.items()}
    made.filters["counted"] = counted
    return made


@cache
def _compiled(values: type, packaged: str, own: str, file: str) -> Any:
    """Return the compiled template; a run asks for the same one again and again."""
    from jinja2 import BaseLoader, nodes
    from jinja2 import Template as Compiled

    environment = _environment()

    def compiled(text: str, name: str, known: frozenset[str] | None) -> Any:
        tree = _parsed(environment, text, name)
        if known is not None:
            _look_through(tree, values, name, known)
        for choice in tree.find_all(nodes.CondExpr):
            choice.expr2 = choice.expr2 or nodes.Const("", lineno=choice.lineno)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(
                loop.iter,
                "counted",
                [],
                [],
                None,
                None,
                lineno=loop.lineno,
                environment=environment,
            )
        try:
            made = environment.compile(tree, name, name)
        except (RecursionError, SyntaxError):  # what Python itself cannot nest
            raise _invalid(name, Problem(name, 0, 0, "", "it is nested too deeply")) from None
        return Compiled.from_code(environment, made, {}, None)

    class Packaged(BaseLoader):
        def load(self, environment: Any, name: str, globals: Any = None) -> Any:
            return base

    base = compiled(packaged, PACKAGED, None)  # a test has looked through it
    if not own:
        return base
    environment = environment.overlay(loader=Packaged())
    return compiled(own, file, frozenset(base.blocks))


def check(values: type, text: str, file: str, blocks: frozenset[str] = frozenset()) -> None:
    """Raise InvalidFile with every problem of a template; `blocks` are those of the packaged."""
    _look_through(_parsed(_environment(), text, file), values, file, blocks)


def _look_through(tree: nodes.Template, values: type, file: str, blocks: frozenset[str]) -> None:
    problems = _Reader(values, file, blocks).problems(tree)
    if problems:
        problems.sort(key=lambda problem: problem.line)
        raise _invalid(file, *dict.fromkeys(problems))


def _invalid(file: str, *problems: Problem) -> InvalidFile:
    hint = "docs/briefs.md lists what a template can say; mend it and commit it"
    return InvalidFile(f"the brief's template {file}", problems, hint=hint)


def _parsed(environment: Environment, text: str, file: str) -> nodes.Template:
    from jinja2 import TemplateSyntaxError

    if len(text) > MOST_TEMPLATE:
        reason = f"the template has over {MOST_TEMPLATE:,} characters"
        raise _invalid(file, Problem(file, 0, 0, "", reason))
    try:
        return environment.parse(text, file, file)
    except TemplateSyntaxError as e:
        reason = one_line(e.message or "it is no template")
        raise _invalid(file, Problem(file, e.lineno, 1, "", reason)) from None
    except RecursionError:
        raise _invalid(file, Problem(file, 0, 0, "", "it is nested too deeply")) from None


_ANY: Any = object()
"""The type of what is wrong already: one mistake is told once."""


class _Reader:
    """Looks through a template: what it says, and what each name in it is."""

    def __init__(self, values: type, file: str, blocks: frozenset[str] | None) -> None:
        self.file = file
        self.top = _fields(values)
        self.blocks = blocks
        self.found: list[Problem] = []

    def problems(self, tree: nodes.Template) -> list[Problem]:
        from jinja2 import nodes

        is_child = any(True for _ in tree.find_all(nodes.Extends))
        if not is_child:
            self.blocks = None
        self._body(tree.body, self.top, outermost=is_child)
        return self.found

    def _say(self, node: nodes.Node, reason: str, mend: str = "") -> Any:
        self.found.append(Problem(self.file, node.lineno, 1, "", reason, mend))
        return _ANY

    def _body(
        self, body: list[nodes.Node], names: Mapping[str, Any], *, outermost: bool = False
    ) -> None:
        from jinja2 import nodes

        for node in body:
            match node:
                case nodes.Output():
                    for part in node.nodes:
                        self._put_out(part, names, outermost)
                case nodes.Block():
                    if self.blocks is not None and node.name not in self.blocks:
                        other = near(node.name, self.blocks)
                        mend = f"did you mean `{other}`?" if other else ""
                        known = f"{PACKAGED} has no block `{node.name}`"
                        self._say(node, known, mend or f"it has {', '.join(sorted(self.blocks))}")
                    self._body(node.body, self.top)
                case nodes.If():
                    self._type(node.test, names)
                    self._body(node.body, names, outermost=outermost)
                    for other_if in node.elif_:
                        self._body([other_if], names, outermost=outermost)
                    self._body(node.else_, names, outermost=outermost)
                case nodes.For():
                    self._loop(node, names)
                case nodes.Extends() | nodes.Include():
                    self._other(node)
                case _:
                    tag = _TAGS.get(type(node).__name__, type(node).__name__.lower())
                    self._say(node, f"`{tag}` cannot stand in the template of a brief", _TAGS_ARE)

    def _put_out(self, node: nodes.Expr, names: Mapping[str, Any], outermost: bool) -> None:
        from jinja2 import nodes

        if isinstance(node, nodes.TemplateData):
            if outermost and node.data.strip():
                reason = "this text stands outside of every block, and would not be shown"
                self._say(node, reason, "put it into a block")
            return
        kind = self._type(node, names)
        if kind is Said:
            reason = f"{_named(node)} is text that people or agents wrote"
            self._say(node, reason, "put it out with `| fence`, `| code` or `| inline`")
        elif kind not in (str, int, _ANY):
            what = "has parts" if is_dataclass(kind) else "is no text"
            self._say(node, f"{_named(node)} {what}, and cannot be put out as it is")

    def _loop(self, node: nodes.For, names: Mapping[str, Any]) -> None:
        from jinja2 import nodes

        kind = self._type(node.iter, names)
        item = _ANY
        if get_origin(kind) is tuple:
            item = get_args(kind)[0]
        elif kind is not _ANY:
            self._say(node, f"{_named(node.iter)} is no list")
        if node.recursive:
            self._say(node, "`recursive` cannot stand in the template of a brief")
        if not isinstance(node.target, nodes.Name) or node.target.name.startswith("_"):
            self._say(node, "a `for` names one item", "write `{% for item in … %}`")
            return
        inner = {**names, node.target.name: item, "loop": Loop}
        if node.test is not None:
            self._type(node.test, inner)
        self._body(node.body, inner)
        self._body(node.else_, names)

    def _other(self, node: nodes.Extends | nodes.Include) -> None:
        from jinja2 import nodes

        name = node.template
        if self.file == PACKAGED or not (isinstance(name, nodes.Const) and name.value == PACKAGED):
            self._say(node, "there is no such template", f'there is "{PACKAGED}"')

    def _type(self, node: nodes.Node, names: Mapping[str, Any]) -> Any:
        """Return what an expression is: a type, or `_ANY` when it was found to be wrong."""
        from jinja2 import nodes

        match node:
            case nodes.Const():
                return type(node.value)
            case nodes.Name():
                if node.name in names:
                    return names[node.name]
                return self._unknown(node, f"`{node.name}` is not defined", node.name, names)
            case nodes.Getattr():
                kind = self._type(node.node, names)
                if kind is _ANY:
                    return _ANY
                parts = _fields(kind) if isinstance(kind, type) and is_dataclass(kind) else {}
                if node.attr in parts:
                    return parts[node.attr]
                reason = f"{_named(node.node)} has no `{node.attr}`"
                return self._unknown(node, reason, node.attr, parts)
            case nodes.Filter(node=inner) if inner is not None:
                return self._filter(node, self._type(inner, names))
            case nodes.Test():
                kind = self._type(node.node, names)
                if node.name in ("even", "odd") and kind not in (int, _ANY):
                    self._say(node, f"only a number is {node.name}")
                if node.name not in TESTS:
                    self._say(
                        node, f"there is no test `{node.name}`", f"there are {', '.join(TESTS)}"
                    )
                return bool
            case nodes.Not():
                self._type(node.node, names)
                return bool
            case nodes.And() | nodes.Or():
                left, right = self._type(node.left, names), self._type(node.right, names)
                return left if left is right else self._either(left, right)
            case nodes.CondExpr():
                self._type(node.test, names)
                one = self._type(node.expr1, names)
                other = self._type(node.expr2, names) if node.expr2 is not None else str
                return one if one is other else self._either(one, other)
            case nodes.Compare():
                left = self._type(node.expr, names)
                for operand in node.ops:
                    right = self._type(operand.expr, names)
                    if operand.op in ("gt", "gteq", "lt", "lteq") and not (
                        {left, right} <= {int, _ANY}
                    ):
                        self._say(node, "only numbers are more or less than one another")
                    elif operand.op in ("in", "notin") and not _can_hold(right):
                        self._say(node, "`in` wants a list or a text behind it")
                    elif right in (str, Said) and left not in (str, Said, _ANY):
                        self._say(node, "only a text can be in a text")
                return bool
            case nodes.Call(node=nodes.Name(name="super"), args=[], kwargs=[]):
                return str
            case nodes.Call():
                return self._say(node, "a template of a brief calls nothing but `super()`", _FILTER)
        what = type(node).__name__.lower()
        return self._say(node, f"a template of a brief cannot compute anything ({what})", _FILTER)

    def _either(self, one: Any, other: Any) -> Any:
        if _ANY in (one, other):
            return _ANY
        return Said if Said in (one, other) else bool if bool in (one, other) else str

    def _filter(self, node: nodes.Filter, given: Any) -> Any:
        from jinja2 import nodes

        known = FILTERS.get(node.name)
        if known is None:
            there = dict.fromkeys(FILTERS)
            return self._unknown(node, f"there is no filter `{node.name}`", node.name, there)
        wants = 0 if known.argument is None else 1
        args = [arg for arg in node.args if isinstance(arg, nodes.Const)]
        is_fit = all(type(arg.value) is known.argument for arg in args)
        least = wants if known.argument is int else 0
        if not least <= len(node.args) <= wants or len(args) < len(node.args) or not is_fit:
            what = {str: "a word in quotes", int: "a number"}.get(known.argument or bool)
            return self._say(node, f"`{node.name}` takes {what or 'nothing'} in brackets")
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            return self._say(node, f"`{node.name}` takes no names in brackets")
        plain = tuple if get_origin(given) is tuple else given
        if given is not _ANY and given not in known.takes and plain not in known.takes:
            return self._say(node, f"`{node.name}` cannot be used on {_named(node.node)}")
        return known.gives

    def _unknown(self, node: nodes.Node, reason: str, name: str, known: Mapping[str, Any]) -> Any:
        names = [one for one in known if not one.startswith("_")]
        other = near(name, names)
        mend = f"did you mean `{other}`?" if other else f"there are {', '.join(sorted(names))}"
        return self._say(node, reason, mend if names else "it has no parts")


_FILTER = "docs/briefs.md lists what a template can say"
_TAGS_ARE = "there are `if`, `for`, `block`, `extends` and `include`"
_TAGS = {
    "Assign": "set",
    "AssignBlock": "set",
    "Macro": "macro",
    "Import": "import",
    "FromImport": "from",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "With": "with",
}


def _can_hold(kind: Any) -> bool:
    return kind in (str, Said, _ANY) or get_origin(kind) is tuple


def _named(node: Any) -> str:
    """Return an expression as it stands in the template, as far as it is a name."""
    parts: list[str] = []
    while type(node).__name__ == "Getattr":
        parts.insert(0, node.attr)
        node = node.node
    name = getattr(node, "name", "") if type(node).__name__ == "Name" else ""
    return f"`{'.'.join([name, *parts])}`" if name else "this"


@cache
def _fields(kind: type) -> Mapping[str, Any]:
    """Return the parts of a value with their types; where None is allowed, that is left out."""
    hints = get_type_hints(kind)
    return {each.name: _plain(hints[each.name]) for each in fields(kind)}


def _plain(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def variables(kind: type, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (name, type in words) of every value that a template can name, parts after wholes."""
    for name, hint in _fields(kind).items():
        item = get_args(hint)[0] if get_origin(hint) is tuple else hint
        yield f"{above}{name}", _in_words(hint)
        if isinstance(item, type) and is_dataclass(item):
            dots = "[]." if item is not hint else "."
            yield from variables(item, f"{above}{name}{dots}")


def _in_words(hint: Any) -> str:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return "list" if is_dataclass(item) else f"list of {_in_words(item)}s"
    words = {Said: "text", str: "word", int: "number", bool: "yes or no"}
    return words.get(hint, "parts")
