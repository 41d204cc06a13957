"""List what a source holds. Each file is used by the reader, ignored by a named rule, or refused with its name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from actgrad.data.archives import entries, shown
from actgrad.data.ignored import DOCUMENTS, ignored_by, is_document
from actgrad.errors import UserError, first_named


@dataclass(frozen=True)
class Listing:
    """The entries of a source.

    Attributes:
        source: the folder or archive.
        files: the files that no rule has ignored yet, in the order of their paths; the reader uses or refuses each.
        folders: the folders that no rule ignores, empty ones too.
        ignored: rule -> number of files that it ignored.
    """

    source: Path
    files: list[PurePosixPath]
    folders: set[PurePosixPath]
    ignored: Counter[str]

    def without_documents(self, used: Iterable[PurePosixPath]) -> list[PurePosixPath]:
        """The files that are not in `used`, without documents, which are counted as ignored."""
        taken = set(used)
        others = [path for path in self.files if path not in taken]
        self.ignored[DOCUMENTS] += sum(map(is_document, others))
        return [path for path in others if not is_document(path)]

    def refuse(self, code: str, path: PurePosixPath, why: str) -> NoReturn:
        """Raise UserError about an entry."""
        raise UserError(code, f"{self.source}: {shown(path)} {why}")

    def refuse_others(self, used: Iterable[PurePosixPath], why: str) -> None:
        """Raise UserError if there are files that are not in `used`, apart from documents; it names the first few."""
        if others := self.without_documents(used):
            self.refuse("unexpected-part", others[0], f"{why}{likewise(others[1:])}")


def likewise(others: Sequence[PurePosixPath]) -> str:
    """The end of a sentence about a file, for others of which the same is true."""
    return f" (the same is true of {first_named([*map(shown, others)])})" if others else ""


def listed(source: Path) -> Listing:
    """List a folder, tar or zip archive, and ignore hidden and system files.

    Raises:
        UserError: if the archive is damaged or above the limits, if an entry is a link that cannot be followed, or if a file is there twice.
    """
    listing = Listing(source, [], set(), Counter())
    seen = set()
    for entry in entries(source):
        rule = ignored_by(entry.path)
        if rule:
            listing.ignored[rule] += not entry.is_folder
        elif not entry.is_folder:
            if entry.path in seen:
                listing.refuse("file-twice", entry.path, "is in the archive twice; make the archive again, with each file once")
            seen.add(entry.path)
            listing.files.append(entry.path)
        folders = (entry.path, *entry.path.parents) if entry.is_folder else entry.path.parents
        listing.folders.update(folder for folder in folders if folder.parts and not (rule and ignored_by(folder)))
    listing.files.sort()
    return listing


def ignored_counts(listing: Listing) -> Mapping[str, int]:
    """Rule -> number of ignored files, without rules that ignored none."""
    return {rule: count for rule, count in sorted(listing.ignored.items()) if count}
