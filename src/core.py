"""Write runs/core.sha256: the sha256 of the code that decides numbers. The stages of dvc.yaml depend on it, not on the code's files."""

from actgrad.console import run_script, script_parser
from actgrad.files import write_bytes
from actgrad.results.fingerprint import CORE_SHA256
from actgrad.results.paths import CORE_PATH


def main() -> None:
    script_parser(__doc__, "  python src/core.py\n").parse_args()
    write_bytes(CORE_PATH, f"{CORE_SHA256}\n".encode())


if __name__ == "__main__":
    run_script(main)
