"""The rules by which files of a source are ignored; docs/datasets.md lists them for users."""

from pathlib import PurePosixPath

HIDDEN, SYSTEM, DOCUMENTS, PACKED_COPIES, COLUMNS, RECORDS = (
    "hidden files",
    "system files",
    "documents",
    "packed copies",
    "columns",
    "records of this project",
)
"""The names of the rules, as the summary of a dataset shows them."""

# fmt: off
SYSTEM_NAMES = frozenset([
    "$recycle.bin", "#recycle", "#snapshot", "@eadir", "@recycle", "__macosx", "__pycache__", "lost+found", "system volume information",
    "desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db",
])
# fmt: on
"""Folders and files that operating systems and disk stations put beside the user's files, in lower case."""

# fmt: off
DOCUMENT_SUFFIXES = frozenset([
    ".cff", ".csv", ".html", ".json", ".jsonl", ".log", ".md", ".md5", ".rst", ".sha1", ".sha256", ".text", ".toml", ".tsv", ".txt", ".xml", ".yaml",
    ".yml",
])
# fmt: on
DOCUMENT_NAMES = frozenset(["authors", "changelog", "citation", "copying", "copyright", "licence", "license", "notice", "readme"])


def ignored_by(path: PurePosixPath) -> str | None:
    """The rule that ignores a file or folder because it, or a folder above it, is hidden or belongs to a system; None if there is none."""
    for part in path.parts:
        if part.casefold() in SYSTEM_NAMES:
            return SYSTEM
        if part.startswith("."):
            return HIDDEN
    return None


def is_document(path: PurePosixPath) -> bool:
    """Whether a file is text or a table about a dataset, by its name."""
    return path.suffix.casefold() in DOCUMENT_SUFFIXES or path.name.casefold() in DOCUMENT_NAMES
