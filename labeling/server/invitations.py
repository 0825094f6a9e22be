"""Invitations: one owner-only file per annotator with address, name and password, which the owner passes on.

The password is generated; only this file has it in plain text.
"""

import re
from pathlib import Path

from labeling.server.home import Home, write_private

_ADDRESS = re.compile(r"(?m)^(Address +)(.*)$")


def invite(home: Path, where: str, name: str, password: str) -> Path:
    """Write one annotator's invitation and return its path."""
    place = Home(home)
    place.make()
    place.invitations.mkdir(mode=0o700, exist_ok=True)
    file = place.invitations / f"{name}.txt"
    write_private(
        file,
        f"Address    {where}\nName       {name}\nPassword   {password}\n\n"
        "Open the address in a browser, sign in, and open the project. Its guidelines are behind the button\n"
        '"Guidelines". Rank the answers, best first; equal ones may share a place. Then press Submit. You can stop at\n'
        "any time: what you have submitted is kept.\n",
    )
    return file


def withdraw(home: Path, name: str) -> None:
    (Home(home).invitations / f"{name}.txt").unlink(missing_ok=True)


def readdress(home: Path, before: str | None, where: str) -> int:
    """Write the new address `where` into the invitations to this home's server; return the number of changed files.

    `before` is the old address: an invitation to another server (a remote one) stays unchanged.
    """
    changed = 0
    for file in sorted(Home(home).invitations.glob("*.txt")):
        text = file.read_text(encoding="utf-8")
        found = _ADDRESS.search(text)
        if found and found[2] != where and found[2] == before:
            write_private(file, _ADDRESS.sub(lambda line: line[1] + where, text, count=1))
            changed += 1
    return changed
