"""One line about a run of the tests: what was skipped, and why. Reads pytest's JUnit reports."""

from __future__ import annotations

import sys
from collections import Counter
from xml.etree import ElementTree


def main(*reports: str) -> str:
    try:
        tests = [test for report in reports for test in ElementTree.parse(report).iter("testcase")]
        reasons = Counter(
            skip.get("message", "no reason given")
            for test in tests
            for skip in test.iterfind("skipped")
            if skip.get("type") == "pytest.skip"  # the other type is an expected failure
        )
    except (FileNotFoundError, ElementTree.ParseError):
        return "skipped: not known, since the run left no report"
    if not reasons:
        return "nothing was skipped"
    return "skipped: " + ", ".join(
        f"{count} test{'' if count == 1 else 's'} ({reason})"
        for reason, count in reasons.most_common()
    )


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
