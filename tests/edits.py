"""Edits of a project's files, as a user makes them."""

from conftest import Project

CORE_NUMBER = ("src/actgrad/monitor/names.py", "SATURATION = 0.05", "SATURATION = 0.06")


def edit_words_of_the_core(project: Project) -> None:
    """A docstring, an error sentence, and a comment."""
    project.edit("src/actgrad/monitor/steps.py", '"""The table of what each update did to each layer."""', '"""Updates."""')
    project.edit("src/actgrad/networks/own_code.py", "its module cannot be imported (", "its module cannot be read (")
    project.edit("src/actgrad/training/loop.py", "import keras\n", "import keras  # the library\n")


def append(project: Project, name: str) -> None:
    with (project.folder / name).open("a") as file:
        file.write("\nEDITED = 1\n")
