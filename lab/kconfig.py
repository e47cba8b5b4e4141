"""What a kernel tree's Kconfig files rule out before anything is configured: can this architecture have that symbol? Pure.

Only a few files of a tree are read, so the logic has three values, as kconfig's own has (there the third is "m"): True, False,
and None for what these files leave open (a user's choice, a compiler's answer, a symbol of another file). Only False is said
aloud; whatever stays open is found out by make olddefconfig.

Source: Documentation/kbuild/kconfig-language.rst; arch/Kconfig, LTO_CLANG_THIN and HAS_LTO_CLANG (since Linux 5.12:
dc5723b02e52, "kbuild: add support for Clang LTO").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.model import Lto

LTO_SYMBOL = {Lto.THIN: "LTO_CLANG_THIN", Lto.FULL: "LTO_CLANG_FULL"}
LTO_SINCE = "5.12"  # before that, arch/Kconfig has no LTO_CLANG
DEPTH_MAX = 20  # of symbols that depend on symbols
_ENTRY = re.compile(r"(?:menu)?config\s+(\w+)$")
_END = re.compile(r"(?:choice|endchoice|menu|endmenu|if|endif|source|comment|mainmenu)\b")
_TYPED = re.compile(r"(?:bool|tristate|string|int|hex)(?:\s+(.*))?$")
_WORD = re.compile(r'\s*(&&|\|\||!=|=|!|\(|\)|"[^"]*"|\$\((?:[^()]|\([^()]*\))*\)|[\w.$()-]+?(?=[\s=!&|()]|$))')

Truth = bool | None


@dataclass(slots=True)
class Symbol:
    """What the files say of one symbol. Each text is an expression. defaults: (value, condition)."""

    depends: list[str] = field(default_factory=list)
    defaults: list[tuple[str, str]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)  # the condition under which a user is asked
    selected: list[tuple[str, str]] = field(default_factory=list)  # (by symbol, condition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Symbols of some files, for one ARCH=."""

    symbols: Mapping[str, Symbol]
    arch: str

    def value(self, name: str, depth: int = 0) -> Truth:
        """Return whether a symbol is set, None if these files leave it open."""
        symbol = self.symbols.get(name)
        if symbol is None or depth > DEPTH_MAX:
            return None
        allowed = _all(self.truth(text, depth) for text in symbol.depends)
        asked = _any(self.truth(text, depth) for text in symbol.prompts)
        given = _any(
            _all((self.truth(value, depth), self.truth(condition, depth))) for value, condition in symbol.defaults
        )
        own = _all((allowed, None if asked is not False else given))
        forced = (_all((self.value(by, depth + 1), self.truth(why, depth))) for by, why in symbol.selected)
        return _any((own, *forced))

    def truth(self, expression: str, depth: int = 0) -> Truth:
        """Return what an expression amounts to; "" is True. What cannot be read is None."""
        words = _WORD.findall(expression)
        if not words:
            return True if not expression.strip() else None
        try:
            value = self._either(words, depth)
        except IndexError:
            return None
        return None if words else value

    def _either(self, words: list[str], depth: int) -> Truth:
        found = [self._both(words, depth)]
        while words and words[0] == "||":
            words.pop(0)
            found.append(self._both(words, depth))
        return _any(found)

    def _both(self, words: list[str], depth: int) -> Truth:
        found = [self._one(words, depth)]
        while words and words[0] == "&&":
            words.pop(0)
            found.append(self._one(words, depth))
        return _all(found)

    def _one(self, words: list[str], depth: int) -> Truth:
        word = words.pop(0)
        if word == "!":
            inner = self._one(words, depth)
            return None if inner is None else not inner
        if word == "(":
            inner = self._either(words, depth)
            words.pop(0)
            return inner
        if words and words[0] in ("=", "!="):
            same, other = words.pop(0) == "=", words.pop(0)
            left, right = self._text(word), self._text(other)
            return None if left is None or right is None else (left == right) is same
        if word in ("y", "n"):
            return word == "y"
        return self.value(word, depth + 1) if re.fullmatch(r"\w+", word) else None

    def _text(self, word: str) -> str | None:
        """Return a quoted text with ARCH put in, None if it is none or asks for more than that."""
        text = word[1:-1].replace("$(ARCH)", self.arch) if word[0] == '"' else ""
        return text if text and "$" not in text else None


def rules(texts: Iterable[str], arch: str) -> Rules:
    """Read Kconfig files. arch: make's ARCH=. Lines that are not understood are passed over; nothing is raised."""
    symbols: dict[str, Symbol] = {}
    for text in texts:
        _read(text, symbols)
    return Rules(symbols=symbols, arch=arch)


def lacks_lto(texts: Iterable[str], *, lto: Lto, arch: str) -> str:
    """Return why a tree's kernels cannot be built with an LTO, "" if its files do not rule it out.

    texts: arch/Kconfig and arch/<srcarch>/Kconfig. arch: make's ARCH=. Lto.NONE is always possible.
    """
    wanted = LTO_SYMBOL.get(lto)
    if wanted is None:
        return ""
    found = rules(texts, arch)
    if wanted not in found.symbols:
        return f"its arch/Kconfig has no {wanted} (Linux has it since {LTO_SINCE})"
    if found.value(wanted) is not False:
        return ""
    missing = [
        name for name in ("ARCH_SUPPORTS_LTO_CLANG", "ARCH_SUPPORTS_LTO_CLANG_THIN") if found.value(name) is False
    ]
    return (
        f"{wanted} depends on {missing[0]}, which ARCH={arch} does not select" if missing else f"{wanted} cannot be set"
    )


def _read(text: str, symbols: dict[str, Symbol]) -> None:
    """Take the entries of one file. Help texts are known by their indentation, as kconfig does it."""
    name, symbol, help_at = "", None, -1
    for raw in text.replace("\\\n", " ").splitlines():
        line = raw.expandtabs()
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        if help_at >= 0 and (not words or indent > help_at):
            continue
        help_at = -1
        words = re.sub(r"\s+#.*", "", words)
        if match := _ENTRY.fullmatch(words):
            name = match[1]
            symbol = symbols.setdefault(name, Symbol())
        elif _END.match(words):
            symbol = None
        elif words in ("help", "---help---"):
            help_at = indent
        elif symbol is not None and words and not words.startswith("#"):
            _property(words, name, symbol, symbols)


def _property(words: str, name: str, symbol: Symbol, symbols: dict[str, Symbol]) -> None:
    if words.startswith("depends on "):
        symbol.depends.append(words.removeprefix("depends on "))
    elif words.startswith("select "):
        target, condition = _condition(words.removeprefix("select "))
        symbols.setdefault(target, Symbol()).selected.append((name, condition))
    elif words.startswith(("default ", "def_bool ", "def_tristate ")):
        symbol.defaults.append(_condition(words.partition(" ")[2]))
    elif words.startswith("prompt "):
        symbol.prompts.append(_condition(words)[1])
    elif (match := _TYPED.match(words)) and match[1]:
        symbol.prompts.append(_condition(match[1])[1])


def _condition(text: str) -> tuple[str, str]:
    """Split "VALUE if CONDITION"; a quoted value may hold the word."""
    match = re.fullmatch(r'("(?:[^"\\]|\\.)*"|.*?)(?:\s+if\s+(.*))?', text.strip())
    return (match[1], match[2] or "") if match else (text, "")


def _all(values: Iterable[Truth]) -> Truth:
    found = list(values)
    return False if False in found else None if None in found else True


def _any(values: Iterable[Truth]) -> Truth:
    found = list(values)
    return True if True in found else None if None in found else False
