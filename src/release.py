"""Check before a release that the committed results come from the committed code and configuration."""

from actgrad.console import run_script, script_parser
from actgrad.errors import UserError
from actgrad.pipeline import release


def main() -> None:
    script_parser(__doc__, "  python src/release.py\n").parse_args()
    if wrong := release.problems():
        raise UserError("stale-result", f"{'; '.join(wrong)}; dvc repro, and commit what it writes")
    print("the committed results are of the committed code and configuration")


if __name__ == "__main__":
    run_script(main)
