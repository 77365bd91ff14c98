"""Reads a Dockerfile into stages of instructions.

Knows as much of the format as ours uses: continued lines, comments, ARG before the first FROM, stages by name, JSON
lists. An instruction outside of that is an error, not skipped: what is not understood here is not checked either.
"""

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = ("ARG", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "USER", "WORKDIR")


@dataclass(frozen=True)
class Instruction:
    line: int
    name: str
    text: str

    def words(self) -> list[str]:
        """As a JSON list if it is one, else as a shell would split it."""
        if self.text.startswith("["):
            words: list[str] = json.loads(self.text)
            return words
        return shlex.split(self.text)

    def pairs(self) -> dict[str, str]:
        """Of ENV, LABEL and ARG: name to value. Raises ValueError for a name without one."""
        words = [word.partition("=") for word in self.words()]
        if not all(equals for _, equals, _ in words):
            raise ValueError(f"line {self.line}: {self.name} without a value")
        return {name: value for name, _, value in words}

    def copied(self) -> tuple[str | None, list[str], str]:
        """Of COPY: (stage it is from, if any; sources; destination)."""
        words = self.words()
        options = [word for word in words if word.startswith("--")]
        if any(not option.startswith("--from=") for option in options):
            raise ValueError(f"line {self.line}: COPY with {options}")
        *sources, destination = words[len(options) :]
        return (options[0].removeprefix("--from=") if options else None), sources, destination


@dataclass
class Stage:
    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, *names: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name in names]


@dataclass(frozen=True)
class Dockerfile:
    arguments: dict[str, str]
    stages: dict[str, Stage]

    def lineage(self, name: str) -> list[Stage]:
        """The stages that `name` is built on, the first one first, and itself."""
        stage = self.stages[name]
        return [*self.lineage(stage.base), stage] if stage.base in self.stages else [stage]


def parse(path: Path) -> Dockerfile:
    """Raises ValueError, with the line."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for instruction in _instructions(path.read_text()):
        if instruction.name not in KNOWN:
            raise ValueError(f"line {instruction.line}: unknown instruction {instruction.name}")
        if instruction.name == "FROM":
            base, word, name = instruction.words()
            if word != "AS" or name in stages:
                raise ValueError(f"line {instruction.line}: every stage has a name of its own")
            current = stages[name] = Stage(name, base)
        elif current is not None:
            current.instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments |= instruction.pairs()
        else:
            raise ValueError(f"line {instruction.line}: {instruction.name} before FROM")
    return Dockerfile(arguments, stages)


def _instructions(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    begun, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        name, _, rest = (begun + line).strip().partition(" ")
        found.append(Instruction(start, name, rest.strip()))
        begun = ""
    if begun:
        raise ValueError(f"line {start}: continued past the end of the file")
    return found
