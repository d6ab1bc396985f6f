# SPDX-License-Identifier: Apache-2.0
"""Makes docs/conformance.md from the tests that name a row of the SPIFFE standards.

    make test 2>&1 | tee log; conformance.py write log     write it from a run
    conformance.py check                                    fail when the committed file is old

A test belongs to the rows that its name begins with: `A-3 A-6 the first message is whole`. The
check needs no run: it takes every test for passed, so a file that tells of a failure, or of tests
that are not there any more, is not current.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
DOCUMENT = os.path.join(ROOT, "docs", "conformance.md")
ROW = r"(?:ID|X|J|W|E|A|B|F)-\d+"
NAMED = re.compile(r"func `((?:%s )+)([^`]+)`" % ROW)
RESULT = re.compile(r'^. Test "((?:%s )+[^"]+)" (?:with \d+ test cases )?(passed|failed) ' % ROW)

INTRODUCTION = """# Conformance with the SPIFFE standards

Generated from a test run by `Tests/ConformanceTests/generate/conformance.py`; do not edit.

Each row is a rule of the standards of spiffe/spiffe. A rule is "pass" when every test named after
it passes. Tests of `ConformanceTests` ask the real programs through another gRPC library (grpcio);
`EndToEndTests` adds py-spiffe, openssl, pyca/cryptography and pkilint as peers.

Level: M must, S should, m may, - a question that the standard leaves open.
"""


def declared():
    """The tests in the sources that name rows: {row: {(target, name)}}."""
    rows = {}
    tests = os.path.join(ROOT, "Tests")
    for folder, folders, files in os.walk(tests):
        folders[:] = [name for name in folders if not name.startswith(".")]
        target = os.path.relpath(folder, tests).split(os.sep)[0]
        for file in files:
            if file.endswith(".swift"):
                with open(os.path.join(folder, file), encoding="utf-8") as text:
                    for names, rest in NAMED.findall(text.read()):
                        for row in names.split():
                            rows.setdefault(row, set()).add((target, names + rest))
    return rows


def outcomes(log):
    """How the tests of a run ended: {name: passed or failed}."""
    found = {}
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = RESULT.match(line.strip())
            # A test of the same name in another target counts against both.
            if match and found.get(match[1]) != "failed":
                found[match[1]] = match[2]
    return found


def result(tests, found, reason):
    if not tests:
        return "not built"
    if found is not None:
        if any(found.get(name) == "failed" for _, name in tests):
            return "**fail**"
        if any(name not in found for _, name in tests):
            return "**not run**"
    return "pass in part" if reason else "pass"


def document(found):
    rows = declared()
    lines = [INTRODUCTION]
    known = set()
    missing = None
    with open(os.path.join(HERE, "rows.txt"), encoding="utf-8") as text:
        for line in text:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            fields = [field.strip() for field in line.removeprefix("=").split("|")]
            if line.startswith("="):
                missing = fields[2] if len(fields) > 2 else None
                lines += ["", "## %s (`%s`)" % (fields[0], fields[1].split()[0]), ""]
                if missing:
                    lines += [missing + ".", ""]
                lines += ["| Row | Level | Rule | Result | Tests |", "|---|---|---|---|---|"]
                continue
            row, level, rule = fields[:3]
            known.add(row)
            reason = fields[3] if len(fields) > 3 else missing
            tests = sorted(rows.get(row, ()))
            if not tests and not reason:
                raise SystemExit("rows.txt: %s has neither a test nor a reason" % row)
            proof = "<br>".join("%s: %s" % (target, name) for target, name in tests)
            if reason and reason != missing:
                proof = "<br>".join(filter(None, [proof, "*%s*" % reason]))
            elif not tests:
                proof = "*Unimplemented in this version*"
            cells = (row, level, rule, result(tests, found, reason), proof)
            lines.append("| " + " | ".join(cells) + " |")
    strange = sorted(set(rows) - known)
    if strange:
        raise SystemExit("tests name rows that rows.txt does not have: " + ", ".join(strange))
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def main(arguments):
    if arguments[:1] == ["write"] and len(arguments) == 2:
        found = outcomes(arguments[1])
        if not found:
            raise SystemExit("the log holds no test that names a row; is it of `swift test`?")
        with open(DOCUMENT, "w", encoding="utf-8") as file:
            file.write(document(found))
    elif arguments == ["check"]:
        with open(DOCUMENT, encoding="utf-8") as file:
            if file.read() != document(None):
                raise SystemExit(
                    "docs/conformance.md is not current; after a green run of the tests:\n"
                    "  swift test 2>&1 | tee log && "
                    "python3 Tests/ConformanceTests/generate/conformance.py write log")
    else:
        raise SystemExit(__doc__)


main(sys.argv[1:])
