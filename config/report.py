"""What is wrong with a file, collected while reading goes on, each with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wakeful.config.nodes import ROOT, SEGMENT, Node, Problem, locate

_SERVICE_PATH = re.compile(rf"services\.(?:{SEGMENT})\.")


class Refused(Exception):
    """This value cannot be used; why is in the report."""


@dataclass(slots=True)
class Report:
    root: Node
    problems: list[Problem] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # paths whose value could not be read

    def refuse(self, node: Node, path: str, message: str) -> Refused:
        self.problems.append(Problem(node.line, node.column, path or ROOT, message))
        self.refused.add(path)
        return Refused()

    def refuse_at(self, path: str, message: str) -> None:
        """Report a rule that a file breaks, where its value comes from.

        What a service does not say itself was said by ``defaults``, and is
        then one mistake, however many services it reaches.
        """
        self.problems.append(problem_at(self.root, path, message))


def problem_at(root: Node, path: str, message: str) -> Problem:
    """A problem with the position of ``path``: its own, its default's, or the nearest above."""
    node, found = locate(root, path)
    if not found and (service := _SERVICE_PATH.match(path)):
        default = f"defaults.{path[service.end() :]}"
        place, found = locate(root, default)
        if found:
            return Problem(place.line, place.column, default, message)
    return Problem(node.line, node.column, path, message)
